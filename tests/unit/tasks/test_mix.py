"""The mixture that is written is the one that was asked for, and lineage stays exact in it."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.diff.side import Side
from tasks.impact.census import StoreView
from tasks.impact.steps import steps_seeing
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import ConfigError, DataError
from tasks.lineage.sorted_ids import short_id
from tasks.lineage.store import Store
from tasks.mix import MixConfig, gather, mix
from tasks.pretrain import PretrainConfig, make_windows, pretrain
from tasks.stage import Resources
from tasks.text import shards, token_shards
from tasks.tokenize import TokenizeConfig, tokenize
from tasks.tokens import Tokens
from tasks.trace.training_text import training_texts
from tests.unit.tasks.corpora import corpus, document, ledger, read

RESOURCES = Resources(threads=1, workers=1)
TOKENIZE = TokenizeConfig(vocab_size=300, train_bytes=5000, validation_share=0.1)
BOOKS = {"name": "books", "kind": ("text",), "weight": 3.0}
CODE = {"name": "code", "kind": ("code",), "weight": 1.0, "epochs": 2.0}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def rows(count: int = 90):
    kinds = ("text", "code", "html")
    return [
        document(f"Document {n} of {kinds[n % 3]}, " + f"with words {n * 7} naïve 東京. " * (1 + n % 5),
                 kind=kinds[n % 3], license="MIT" if n % 2 else None, split="evaluation" if n % 10 == 0 else "train")
        for n in range(count)
    ]  # fmt: skip


def made(**config) -> tuple[Artifact, Artifact, Artifact]:
    """The corpus, its tokens, and the mixture of them."""
    texts = corpus(rows())
    tokens = tokenize(corpus=texts, config=TOKENIZE, resources=RESOURCES)
    config = MixConfig.model_validate({"sources": [BOOKS, CODE], **config})
    return texts, tokens, mix(tokens=tokens, corpus=texts, config=config, resources=RESOURCES)


def texts_of(tokens: Artifact, split: str) -> list[tuple[str, str]]:
    """(doc_id, text) of every row of the index, in its order, read back from the shards."""
    source = Tokens(tokens.path)
    shards = source.shards(split).shards
    return [
        (
            row["doc_id"],
            source.tokenizer.decode(shards[row["shard"]][row["offset"] : row["offset"] + row["length"] - 1]),
        )
        for row in read(tokens, "index.parquet")
        if row["split"] == split
    ]


def mixture(tokens: Artifact) -> dict[str, dict]:
    return {row["name"]: row for row in map(json.loads, (tokens.path / "mixture.jsonl").read_text().splitlines())}


def test_the_shares_are_those_of_the_weights_and_every_document_reads_as_it_was():
    texts, tokens, mixed = made()
    kinds = {row["doc_id"]: (row["kind"], row["text"]) for row in read(texts)}
    index = [row for row in read(mixed, "index.parquet") if row["split"] == "train"]
    read_back = texts_of(mixed, "train")
    assert all(kinds[doc_id][1] == text for doc_id, text in read_back)
    lengths = {
        kind: sum(row["length"] for row in index if kinds[row["doc_id"]][0] == kind) for kind in ("text", "code")
    }
    assert sum(lengths.values()) == sum(row["length"] for row in index) == Tokens(mixed.path).shards("train").num_tokens
    assert abs(lengths["text"] / sum(lengths.values()) - 0.75) < 0.02
    told = mixture(mixed)
    assert (told["books"]["tokens"], told["code"]["tokens"]) == (lengths["text"], lengths["code"])
    assert told["books"]["share"] == pytest.approx(lengths["text"] / sum(lengths.values()))
    assert told["books"]["wanted_share"] == pytest.approx(0.75, abs=1e-3)
    assert told["code"]["epochs"] <= 2 and told["books"]["epochs"] <= 4
    assert texts_of(mixed, "validation") == texts_of(tokens, "validation")
    assert (mixed.path / "tokenizer.json").read_bytes() == (tokens.path / "tokenizer.json").read_bytes()


def test_a_document_is_read_three_times_or_never_and_the_ledger_says_so():
    texts, tokens, mixed = made(sources=[{**BOOKS, "epochs": 3.0}, {**CODE, "epochs": 0.5, "weight": 0.25}])
    times = {doc_id: 0 for doc_id, _ in texts_of(tokens, "train")}
    for doc_id, _ in texts_of(mixed, "train"):
        times[doc_id] += 1
    kinds = {row["doc_id"]: row["kind"] for row in read(texts)}
    assert {times[doc_id] for doc_id in times if kinds[doc_id] == "text"} <= {2, 3}
    assert {times[doc_id] for doc_id in times if kinds[doc_id] == "code"} == {0, 1}
    sizes = {row["doc_id"]: row["bytes"] for row in read(tokens, "index.parquet")}
    entries = ledger(mixed)
    assert set(entries) == set(sizes)
    for doc_id, entry in entries.items():
        expected = {"html": "no_source_of_mixture"}.get(kinds[doc_id], "not_drawn") if times.get(doc_id) == 0 else None
        assert entry["reason"] == expected
        assert entry["bytes_out"] == sizes[doc_id] * times.get(doc_id, 1)
    assert {entry["license"] for entry in entries.values()} == {"MIT", None}


def test_seeds_draw_other_documents_and_the_same_seed_the_same_bytes(tmp_path, monkeypatch):
    tokens = [made(tokens=600, seed=seed)[2] for seed in (0, 1)]
    drawn = [{doc_id for doc_id, _ in texts_of(mixed, "train")} for mixed in tokens]
    assert drawn[0] != drawn[1]
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "elsewhere"))
    assert made(tokens=600)[2].digest == tokens[0].digest


def test_the_order_mixes_the_sources():
    texts, _, mixed = made()
    kinds = {row["doc_id"]: row["kind"] for row in read(texts)}
    order = [kinds[doc_id] for doc_id, _ in texts_of(mixed, "train")]
    assert "code" in order[: len(order) // 3] and "code" in order[-len(order) // 3 :]


def test_a_mixture_over_several_shards_and_batches(monkeypatch):
    plain = texts_of(made()[2], "train")
    monkeypatch.setattr(token_shards.ShardWriter.__init__, "__defaults__", (100,))
    monkeypatch.setattr("tasks.mix.BATCH_TOKENS", 64)
    monkeypatch.setattr(shards, "BATCH_BYTES", 1000)
    texts = corpus(rows(99))
    tokens = tokenize(corpus=texts, config=TOKENIZE.model_copy(update={"seed": 7}), resources=RESOURCES)
    mixed = mix(tokens=tokens, corpus=texts, config=MixConfig(sources=[BOOKS, CODE], seed=5), resources=RESOURCES)
    assert len(list(tokens.path.glob("train-*.bin"))) > 1 and len(list(mixed.path.glob("train-*.bin"))) > 5
    known = {row["doc_id"]: row["text"] for row in read(texts)}
    again = texts_of(mixed, "train")
    assert all(known[doc_id] == text for doc_id, text in again) and len(again) > len(plain) // 2


def test_gathering_from_several_shards():
    tokens = [np.arange(10), np.arange(100, 120)]
    found = gather(tokens, np.array([1, 0, 1]), np.array([5, 2, 0]), np.array([2, 3, 1]))
    assert found.tolist() == [105, 106, 2, 3, 4, 100]


def test_impact_names_the_steps_that_read_a_repeated_document_and_none_for_one_left_out():
    _, _, mixed = made()
    small = PretrainConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32,
        context_length=16, steps=40, batch_size=2, evaluations=1, evaluation_tokens=500, ngram_tokens=500, samples=1,
        precision="fp32",
    )  # fmt: skip
    model = pretrain(tokens=mixed, config=small, resources=RESOURCES)
    store = Store()
    record = store.maker(model)
    windows = make_windows(Tokens(mixed.path), small)
    places: dict[str, list[dict]] = {}
    for row in read(mixed, "index.parquet"):
        if row["split"] == "train":
            places.setdefault(row["doc_id"], []).append(row)
    often = [doc_id for doc_id, rows in places.items() if len(rows) > 1]
    assert often
    for doc_id in [*often[:5], *list(places)[:5]]:
        brute = [
            step for step in range(40)
            if any(span.shard == row["shard"] and span.start < row["offset"] + row["length"]
                   and row["offset"] < span.stop for span in windows.spans_at(step) for row in places[doc_id])
        ]  # fmt: skip
        found = steps_seeing(StoreView(store), record, np.array([short_id(doc_id)], np.uint64))
        assert found.unknown is None and found.steps.tolist() == brute
    left_out = next(doc_id for doc_id, entry in ledger(mixed).items() if entry["reason"])
    assert not len(steps_seeing(StoreView(store), record, np.array([short_id(left_out)], np.uint64)).steps)


def test_trace_and_diff_know_a_repeated_document():
    texts, _, mixed = made()
    store = Store()
    record = store.maker(mixed)
    side = Side(store, record)
    index = read(mixed, "index.parquet")
    assert side.tokens is not None and side.tokens.sum() == sum(row["length"] for row in index)
    (text,) = training_texts(store, record, lambda *_: None)
    assert text.num_documents == sum(row["split"] == "train" for row in index)
    sources = {row["doc_id"]: row["source"] for row in read(texts)}
    place = text.places(np.array([3]), spaced=False)[0]
    assert place.source == sources[place.doc_id]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"sources": [BOOKS, {"name": "none", "kind": ("rst",)}]},
            r"'none' of the mixture \(kind rst\) has no training",
        ),
        ({"sources": [{"name": "all"}, BOOKS]}, "'books'.*no earlier source takes"),
        ({"tokens": 3}, "no document fits"),
        ({"sources": []}, "names no source"),
    ],
)
def test_what_cannot_be_mixed_says_what_to_do(config, message):
    with pytest.raises(ConfigError, match=message):
        made(**config)


def test_another_corpus_is_refused():
    _, tokens, _ = made()
    other = corpus(rows(30))
    with pytest.raises(DataError, match="belong together"):
        mix(tokens=tokens, corpus=other, config=MixConfig(sources=[BOOKS]), resources=RESOURCES)


def test_validation_rows_stay_behind_the_training_rows():
    mixed = made()[2]
    splits = pq.read_table(mixed.path / "index.parquet")["split"].to_pylist()
    assert splits == sorted(splits) and splits[-1] == "validation"
