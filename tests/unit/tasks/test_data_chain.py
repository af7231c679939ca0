"""Laws that the stages from text to shards keep together: ledgers, splits, hostile text, digests, bad input."""

import json
import random
from itertools import product

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer
from tasks import signing
from tasks.clean import CleanConfig, clean
from tasks.deduplicate import DeduplicateConfig, deduplicate
from tasks.lineage.errors import DataError
from tasks.stage import Resources
from tasks.text import shards
from tasks.text.encoder import BatchEncoder
from tasks.tokenize import TokenizeConfig, tokenize
from tests.unit.tasks.corpora import corpus, document, ledger, read

VOCABULARY = ["".join(letters) for letters in product("bdgklmnprst", "aeiou", "bdgklmnprst", "aeiou")]
# Letters of scripts with and without spaces, right to left and with marks of their own.
SCRIPTS = {
    "Cyrillic": (0x430, 32), "Greek": (0x3B1, 17), "Arabic": (0x627, 20), "Hebrew": (0x5D0, 27),
    "Devanagari": (0x915, 30), "Han": (0x4E00, 3000), "Hangul": (0xAC00, 3000), "Thai": (0xE01, 40),
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def sentence(seed: int, length: int = 60) -> list[str]:
    words = random.Random(seed).choices(VOCABULARY, k=length)
    return [word if place % 9 else "the" for place, word in enumerate(words)]


def mixed() -> list[dict]:
    """Good, short, copied and nearly copied documents of both splits."""
    rows = []
    for number in range(60):
        words = sentence(number)
        split = "evaluation" if number % 10 == 0 else "train"
        name = "z" if split == "evaluation" else "a"  # by its source alone, evaluation text would come last
        rows.append(document(" ".join(words), f"file:///{name}{number:03d}", split=split))
        if number % 4 == 0:
            rows.append(document(" ".join([*words[:-1], "end"]), f"file:///near{number:03d}"))
        if number % 7 == 0:
            rows.append(document(" ".join(words).upper(), f"file:///copy{number:03d}"))
    return [*rows, document("Too short.", "file:///short"), document("1 2 3 " * 40, "file:///digits")]


def chain(rows: list[dict], workers: int | None = None) -> list:
    resources = Resources(workers=workers)
    cleaned = clean(corpus=corpus(rows), config=CleanConfig(), resources=resources)
    kept = deduplicate(corpus=cleaned, config=DeduplicateConfig(), resources=resources)
    config = TokenizeConfig(vocab_size=300, train_bytes=5000, validation_share=0.2)
    return [cleaned, kept, tokenize(corpus=kept, config=config, resources=resources)]


def test_the_number_of_threads_changes_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BATCH_BYTES", 3000)  # many batches
    monkeypatch.setattr(shards, "PIECE_BYTES", 6000)
    monkeypatch.setattr(signing, "SIGNED_BYTES", 3000)
    digests = set()
    for workers in (1, 3):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / str(workers)))
        cleaned, *others = chain(mixed(), workers)
        assert len(shards.shard_paths(cleaned.path)) > 2
        digests.add(tuple(made.digest for made in (cleaned, *others)))
    assert len(digests) == 1


def test_the_number_of_files_of_a_corpus_changes_no_document_and_no_token(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BATCH_BYTES", 3000)
    found = []
    for size, left_pieces in ((shards.PIECE_BYTES, 1), (3000, shards.LEFT_PIECES)):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / str(size)))
        monkeypatch.setattr(shards, "PIECE_BYTES", size)
        monkeypatch.setattr(shards, "LEFT_PIECES", left_pieces)
        cleaned, kept, tokens = chain(mixed())
        index = pq.read_table(tokens.path / "index.parquet").sort_by([("split", "ascending"), ("offset", "ascending")])
        written = {path.name: path.read_bytes() for path in tokens.path.glob("*.bin")}
        assert written
        found.append((len(shards.shard_paths(kept.path)), read(cleaned), read(kept), index.to_pylist(), written))
    (one, *first), (several, *second) = found
    assert one == 1 and several > 2
    assert first == second


def test_every_stage_accounts_for_what_the_stage_before_kept():
    rows = mixed()
    arrived = {row["doc_id"]: row for row in rows}
    for stage, result in zip(("clean", "deduplicate", "tokenize"), chain(rows), strict=True):
        entries = ledger(result)
        assert set(entries) == set(arrived), stage
        dropped = [entry for entry in entries.values() if entry["decision"] == "dropped"]
        assert dropped and all(entry["reason"] and entry["bytes_out"] == 0 for entry in dropped), stage
        kept = {doc_id for doc_id, entry in entries.items() if entry["decision"] == "kept"}
        written = [row["doc_id"] for row in read(result, "index.parquet" if stage == "tokenize" else "documents-*")]
        assert sorted(written) == sorted(kept), stage
        arrived = {doc_id: arrived[doc_id] for doc_id in kept}


def test_the_kept_document_is_named_kept_and_of_the_evaluation_split_where_its_cluster_has_one():
    rows = {row["doc_id"]: row for row in mixed()}
    _, result, _ = chain(list(rows.values()))
    entries = ledger(result)
    copies = [
        (rows[doc_id], rows[entry["duplicate_of"]])
        for doc_id, entry in entries.items()
        if entry["decision"] == "dropped"
    ]
    assert any(keeper["split"] == "evaluation" for _, keeper in copies)
    for dropped, keeper in copies:
        assert entries[keeper["doc_id"]]["decision"] == "kept"
        first, last = ((row["split"] != "evaluation", row["source"]) for row in (keeper, dropped))
        assert first < last


def test_no_near_copy_lies_across_the_split_into_training_and_validation():
    *_, tokens = chain(mixed())
    rows = {row["doc_id"]: row for row in mixed()}
    sides: dict[str, list[set]] = {"train": [], "validation": []}
    for row in read(tokens, "index.parquet"):
        words = rows[row["doc_id"]]["text"].lower().split()
        sides[row["split"]].append(set(zip(*(words[start:] for start in range(5)), strict=False)))
    assert sides["train"] and sides["validation"]
    assert max(len(a & b) / len(a | b) for a in sides["train"] for b in sides["validation"]) < 0.8


def test_the_chain_gives_the_same_digests_in_another_home(tmp_path, monkeypatch):
    first = [result.digest for result in chain(mixed())]
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "elsewhere"))
    assert [result.digest for result in chain(mixed())] == first


@pytest.mark.parametrize("script", SCRIPTS)
def test_near_copies_are_found_in_every_script(script):
    first, count = SCRIPTS[script]
    generator = random.Random(script)
    words = ["".join(chr(first + generator.randrange(count)) for _ in range(5)) for _ in range(120)]
    other = ["".join(chr(first + generator.randrange(count)) for _ in range(5)) for _ in range(120)]
    near = [*words[:60], words[0], *words[61:]]
    blank = "" if script in ("Han", "Thai") else " "
    rows = [document(blank.join(text), f"file:///{name}") for name, text in (("a", words), ("b", near), ("c", other))]
    result = deduplicate(corpus=corpus(rows), config=DeduplicateConfig(), resources=Resources())
    assert [row["source"] for row in read(result)] == ["file:///a", "file:///c"]


@pytest.mark.parametrize(("stage", "config"), [(clean, CleanConfig()), (deduplicate, DeduplicateConfig()),
                                               (tokenize, TokenizeConfig(vocab_size=300))])  # fmt: skip
def test_an_empty_corpus_stops_every_stage_with_a_remedy(stage, config):
    with pytest.raises(DataError, match=r"name a source of text|add text"):
        stage(corpus=corpus([]), config=config, resources=Resources())


def test_one_document_passes_the_rules_and_is_too_few_for_shards():
    with pytest.raises(DataError, match=r"has 1 training document.*add text"):
        chain([document(" ".join(sentence(1)))])


HOSTILE = [
    "\u0301", "\u0301\u0323", "\u093f", " \u0301", "\u0301 ", "'\u0301s", "\u200d", "\u3000", "\ufffe", "\x00", "'ll",
    "\n\n", "\t ", "a",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308",  # joined by U+200D
    "\u05e9\u05dc\u05d5\u05dd", "\u202eabc\u202c", "\u0645\u0631\u062d\u0628\u0627\u200f",  # right to left
    "x" * 3000, "\u00e9" * 500, *SPECIAL_TOKENS, "<|im_end|",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    """As another program would read it: from the file."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(["The cat's hat isn't here; שלום naïve 東京 <|im_end|>"] * 4, 320).save(path)
    assert json.loads(path.read_text(encoding="utf-8"))["model"]["type"] == "BPE"
    return Tokenizer.load(path)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(HOSTILE), max_size=8).map("".join), min_size=1, max_size=4))
def test_hostile_text_has_the_ids_of_the_exported_tokenizer_and_comes_back_whole(tokenizer, texts):
    ids, lengths = BatchEncoder(tokenizer.backend).encode(texts)
    parts = [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]
    assert parts == [tokenizer.encode(text) for text in texts]
    assert [tokenizer.decode(part, skip_special_tokens=False) for part in parts] == texts
    assert not any(set(part) & set(range(len(SPECIAL_TOKENS))) for part in parts)
