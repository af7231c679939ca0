"""Shards, index and split of the tokenize stage."""

import json
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.tokenizer import SPECIAL_TOKENS, Tokenizer, tokenizer_of_words
from tasks.lineage.errors import DataError, StageError
from tasks.lineage.parallel import in_threads
from tasks.lineage.sorted_ids import short_ids
from tasks.stage import Resources
from tasks.text.encoded_groups import Chosen, check_identity, encode_group
from tasks.text.fertility import BY
from tasks.text.least_points import Sample
from tasks.text.points import points_of
from tasks.text.pretokens import count_words
from tasks.text.shards import SCHEMA, row_groups
from tasks.text.spans import TextBatch
from tasks.text.token_shards import ShardWriter
from tasks.tokenize import TokenizeConfig, tokenize
from tests.unit.tasks.corpora import corpus, document, ledger, read

SMALL = {"vocab_size": 300, "train_bytes": 5000}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def rows(count: int = 200):
    texts = [f"Document {n} says: it's <|endoftext|> that ends naïve 東京 texts {n * 7}." for n in range(count)]
    return [document(text, split="evaluation" if number % 10 == 0 else "train") for number, text in enumerate(texts)]


def run(documents, **config):
    return tokenize(corpus=corpus(documents), config=TokenizeConfig(**{**SMALL, **config}), resources=Resources())


def test_every_document_can_be_read_back_by_the_index():
    documents = rows()
    result = run(documents)
    tokenizer, meta = Tokenizer.load(result.path), json.loads((result.path / "meta.json").read_text())
    texts = {row["doc_id"]: row["text"] for row in documents if row["split"] == "train"}
    index = read(result, "index.parquet")
    assert {row["doc_id"] for row in index} == set(texts)
    used = {"train": 0, "validation": 0}
    for row in index:
        shard = np.fromfile(result.path / f"{row['split']}-{row['shard']:05d}.bin", meta["dtype"])
        ids = shard[row["offset"] : row["offset"] + row["length"]].tolist()
        assert ids[-1] == tokenizer.endoftext_id and ids[:-1] == tokenizer.encode(texts[row["doc_id"]])
        assert row["bytes"] == len(texts[row["doc_id"]].encode())
        assert row["offset"] == used[row["split"]]
        used[row["split"]] += row["length"]
    assert (meta["train_tokens"], meta["validation_tokens"]) == (used["train"], used["validation"])
    assert meta["train_bytes"] == sum(row["bytes"] for row in index if row["split"] == "train")


def test_threads_give_the_ids_of_one(tmp_path):
    """An encoder that several threads shared would give words the numbers of others."""
    tokenizer_of_words(count_words([TextBatch(["the words"])]), 300).save(tmp_path / "tokenizer.json")
    letters = str.maketrans("0123456789", "abcdefghij")
    texts = [[f"it is {batch * 1000 + n} {n}".translate(letters) for n in range(500)] for batch in range(30)]
    with pq.ParquetWriter(tmp_path / "documents-00000.parquet", SCHEMA) as writer:
        for part in texts:
            row = {"text": part, **dict.fromkeys(BY.values(), part)}
            writer.write_table(pa.table({field.name: pa.array(row.get(field.name, [None] * 500), field.type)
                                         for field in SCHEMA}))  # fmt: skip
    chosen = [Chosen(group, (np.ones(500, bool), np.zeros(500, bool))) for group in row_groups(tmp_path)]
    encode = partial(encode_group, folder=tmp_path, compiled=False)
    several, one = (list(mapper(encode, chosen)) for mapper in (in_threads(4), map))
    assert [made.tokens[0].tolist() for made in one] == [made.tokens[0].tolist() for made in several]
    for made, part in zip(one, texts, strict=True):
        assert not len(made.tokens[1]) and made.sizes.tolist() == [len(text) for text in part]


def test_special_tokens_have_the_first_ids_and_are_not_read_from_text():
    result = run(rows())
    meta = json.loads((result.path / "meta.json").read_text())
    assert meta["special_tokens"] == {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    shard = np.fromfile(result.path / "train-00000.bin", "<u2")
    documents = [row for row in read(result, "index.parquet") if row["split"] == "train"]
    assert (shard == 0).sum() == len(documents) and not np.isin(shard, [1, 2, 3]).any()


def test_splits_are_disjoint_stable_and_without_evaluation_text():
    documents = rows()
    index = read(run(documents, validation_share=0.2), "index.parquet")
    split = {row["doc_id"]: row["split"] for row in index}
    assert len(split) == len(index) == 180
    assert 15 <= sum(side == "validation" for side in split.values()) <= 60
    fewer = {row["doc_id"]: row["split"] for row in read(run(documents[:100], validation_share=0.2), "index.parquet")}
    assert fewer.items() <= split.items()
    other = {row["doc_id"]: row["split"] for row in read(run(documents, validation_share=0.2, seed=1), "index.parquet")}
    assert other != split


def test_a_small_corpus_still_has_a_validation_document():
    index = read(run(rows(12), validation_share=1e-6), "index.parquet")
    assert sorted(row["split"] for row in index).count("validation") == 1


def test_the_ledger_names_what_was_held_out():
    documents = rows()
    entries = ledger(run(documents))
    for row in documents:
        assert entries[row["doc_id"]]["reason"] == ("evaluation_split" if row["split"] == "evaluation" else None)


def test_text_to_learn_from_is_capped_and_chosen_by_hash_in_any_order():
    texts = [f"{number:03d}".ljust(40 + number % 7, "é") for number in range(300)]
    points = points_of(short_ids(pa.array([row["doc_id"] for row in map(document, texts)])), 0, "vocabulary")
    points[::2] = np.inf
    chosen = []
    mixed = np.random.default_rng(0).permutation(300)
    for order, size in ((np.arange(300), 300), (np.arange(300)[::-1], 7), (mixed, 1)):
        sample = Sample(limit=1000)
        for begin in range(0, 300, size):
            rows = order[begin : begin + size]
            sample.add(points[rows], pa.chunked_array([[texts[row] for row in rows]]))
        chosen.append(sample.texts())
    assert chosen[0] == chosen[1] == chosen[2]
    sizes = [len(text.encode()) for text in chosen[0]]
    assert sum(sizes[:-1]) < 1000 <= sum(sizes)
    assert all(int(text[:3]) % 2 for text in chosen[0])
    assert max(points[int(text[:3])] for text in chosen[0]) == np.sort(points)[len(sizes) - 1]


def test_seeds_and_uses_give_other_points():
    heads = short_ids(pa.array([document(str(number))["doc_id"] for number in range(2000)]))
    first, second = points_of(heads, 0, "a"), points_of(heads, 0, "b")
    assert abs(first.mean() - 0.5) < 0.03 and abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert abs(np.corrcoef(first, points_of(heads, 1, "a"))[0, 1]) < 0.1


def test_shards_roll_over(tmp_path):
    writer = ShardWriter(tmp_path, "train", np.dtype("<u2"), shard_tokens=5)
    rows = []
    for number in range(4):
        ids = np.arange(3) + 10 * number
        rows += writer.write(pa.array([str(number)]), ids, np.array([3]), np.array([7])).to_pylist()
    writer.close()
    assert [(row["shard"], row["offset"]) for row in rows] == [(0, 0), (0, 3), (1, 0), (1, 3)]
    assert np.fromfile(tmp_path / "train-00001.bin", "<u2").tolist() == [20, 21, 22, 30, 31, 32]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_documents_say_what_to_do(count):
    with pytest.raises(DataError, match=r"at least 2 are needed.*add text"):
        run(rows(count))  # the first is in the evaluation split


def test_a_disagreeing_encoder_is_caught():
    result = run(rows())
    tokenizer = Tokenizer.load(result.path)
    ids = np.array(tokenizer.encode("good text"))
    check_identity(tokenizer, ["good text"], ids, np.array([len(ids)]))
    with pytest.raises(StageError, match="disagree"):
        check_identity(tokenizer, ["good text"], ids[::-1], np.array([len(ids)]))


def test_same_input_gives_same_digest(tmp_path, monkeypatch):
    first = run(rows())
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "elsewhere"))
    assert run(rows()).digest == first.digest
