"""Which documents an artifact is made of: small stages with the layouts that real ones write."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.lineage.ancestry import ancestors
from tasks.lineage.documents import Document, documents_of
from tasks.lineage.errors import NotFound
from tasks.lineage.files import remove_tree
from tasks.lineage.ledger import Ledger
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.stage import Artifact, StageConfig, StageRun, stage

LEARNED_FROM = {
    "study": {"tokens": frozenset({"train"})},
    "tune": {"pairs": frozenset({"tune"})},
    "weigh": {"rankings": frozenset({"train"})},
}


def ledger(run: StageRun, kept: list[str], dropped: list[str]) -> None:
    rows = [(name, True) for name in kept] + [(name, False) for name in dropped]
    with Ledger(run.output / "ledger.parquet") as written:
        written.add_table(
            pa.Table.from_pylist(
                [
                    {"doc_id": name, "source": f"s:{name}", "license": "MIT", "language": None,
                     "reason": None if keeps else "short", "duplicate_of": None, "bytes_in": 1, "bytes_out": int(keeps)}
                    for name, keeps in rows
                ]
            )
        )  # fmt: skip


def texts(names: list[str], identity: str, splits: list[str]) -> pa.Table:
    return pa.table(
        {
            identity: names,
            "text": ["words"] * len(names),
            "source": [f"s:{name}" for name in names],
            "origin": [name[0] for name in names],
            "license": pa.array([None if name == "b1" else "MIT" for name in names], pa.string()),
            "split": splits,
        }
    )


@stage(output="corpus")
def gather(run: StageRun) -> None:
    pq.write_table(texts(["a1", "a2"], "doc_id", ["train"] * 2), run.output / "documents-00000.parquet")
    pq.write_table(texts(["b1", "c1"], "doc_id", ["train"] * 2), run.output / "documents-00001.parquet")
    pq.write_table(texts(["d1"], "doc_id", ["evaluation"]), run.output / "documents-00002.parquet")
    ledger(run, ["a1", "a2", "b1", "c1", "d1"], ["x1"])


@stage(output="corpus")
def sift(run: StageRun, corpus: Artifact) -> None:
    """Drops c1, and keeps the others' descriptions only in what it was made from."""
    ledger(run, ["a1", "a2", "b1", "d1"], ["c1"])


@stage(output="tokens")
def split_up(run: StageRun, corpus: Artifact) -> None:
    index = {"doc_id": ["a1", "a2", "b1"], "split": ["train", "validation", "train"]}
    pq.write_table(pa.table(index), run.output / "index.parquet")
    ledger(run, ["a1", "a2", "b1"], ["d1"])


@stage(output="pairs")
def ask(run: StageRun) -> None:
    pq.write_table(texts(["p1", "p2", "q1"], "pair_id", ["tune", "tune", "evaluation"]), run.output / "pairs.parquet")


@stage(output="model")
def study(run: StageRun, tokens: Artifact, config: StageConfig) -> None:
    (run.output / "weights").write_text("1")


@stage(output="model")
def tune(run: StageRun, model: Artifact, pairs: Artifact, config: StageConfig) -> None:
    (run.output / "weights").write_text("2")


@stage(output="rankings")
def order(run: StageRun, model: Artifact, pairs: Artifact) -> None:
    """Ranks two of the three prompts, one of them to measure with."""
    table = {"prompt_id": ["p1", "q1"], "split": ["train", "validation"], "origin": ["p", "q"]}
    pq.write_table(pa.table(table), run.output / "rankings.parquet")


@stage(output="model")
def weigh(run: StageRun, rankings: Artifact) -> None:
    (run.output / "weights").write_text("3")


@stage(output="report")
def judge(run: StageRun, pretrained: Artifact, tuned: Artifact, again: Artifact) -> None:
    (run.output / "page").write_text("fine")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    yield
    remove_tree(tmp_path / "home")


@pytest.fixture
def made() -> dict[str, Artifact]:
    made = {"gather": gather()}
    made["sift"] = sift(corpus=made["gather"])
    made["split_up"] = split_up(corpus=made["sift"])
    made["study"] = study(tokens=made["split_up"])
    made["ask"] = ask()
    made["tune"] = tune(model=made["study"], pairs=made["ask"])
    made["judge"] = judge(pretrained=made["study"], tuned=made["tune"], again=made["study"])
    return made


def record_of(artifact: Artifact) -> Record:
    record = Store().record(artifact.key)
    assert record is not None
    return record


def ids(artifact: Artifact, learned_from: Any = LEARNED_FROM) -> list[str]:
    return [document.doc_id for document in documents_of(Store(), record_of(artifact), learned_from)]


def test_each_layout_tells_its_documents(made: dict[str, Artifact]) -> None:
    assert ids(made["gather"]) == ["a1", "a2", "b1", "c1", "d1"]
    assert ids(made["sift"]) == ["a1", "a2", "b1", "d1"]
    assert ids(made["split_up"]) == ["a1", "a2", "b1"]
    assert ids(made["ask"]) == ["p1", "p2", "q1"]


def test_a_model_is_made_of_what_it_learned_from(made: dict[str, Artifact]) -> None:
    assert ids(made["study"]) == ["a1", "b1"]
    assert ids(made["tune"]) == ["a1", "b1", "p1", "p2"]
    assert ids(made["tune"], {}) == ["a1", "a2", "b1", "p1", "p2", "q1"]


def test_rankings_narrow_the_prompts_and_inherit_what_the_model_that_answered_learned_from(
    made: dict[str, Artifact],
) -> None:
    rankings = order(model=made["study"], pairs=made["ask"])
    assert ids(rankings) == ["a1", "b1", "p1", "q1"]
    assert ids(weigh(rankings=rankings)) == ["a1", "b1", "p1"]


def test_a_list_that_a_model_s_stage_left_narrows_what_it_learned_from(made: dict[str, Artifact]) -> None:
    """As if `tune` had been told to use one pair only and had written so; then who takes the model inherits that."""

    @stage(output="model")
    def tune_on_one(run: StageRun, model: Artifact, pairs: Artifact) -> None:
        pq.write_table(pa.table({"doc_id": ["p2"], "split": ["tune"]}), run.output / "index.parquet")

    tuned = tune_on_one(model=made["study"], pairs=made["ask"])
    assert ids(tuned) == ["a1", "b1", "p2"]
    assert ids(order(model=tuned, pairs=made["ask"])) == ["a1", "b1", "p1", "q1"]


def test_a_document_comes_with_its_source_origin_and_licence(made: dict[str, Artifact]) -> None:
    found = list(documents_of(Store(), record_of(made["study"]), LEARNED_FROM))
    assert found == [Document("a1", "s:a1", "a", "MIT", "train"), Document("b1", "s:b1", "b", None, "train")]


def test_documents_that_come_by_two_ways_are_told_once(made: dict[str, Artifact]) -> None:
    assert ids(made["judge"]) == ["a1", "b1", "p1", "p2"]


def test_a_missing_output_or_record_is_named(made: dict[str, Artifact]) -> None:
    made["gather"].path.rename(Store().root / "elsewhere")
    with pytest.raises(NotFound, match=f"corpus {made['gather'].digest[:12]} is no longer in the store"):
        ids(made["study"])
    Store().record_path(made["split_up"].key).unlink()
    with pytest.raises(NotFound, match=f"the record of tokens {made['split_up'].digest[:12]} is gone"):
        ids(made["study"])


def test_ancestors_reach_back_to_the_first_stage_each_once(made: dict[str, Artifact]) -> None:
    graph = ancestors(Store(), record_of(made["judge"]))
    assert sorted(record.stage for record in graph["nodes"].values()) == sorted(made)
    assert next(iter(graph["nodes"])) == made["judge"].key
    assert (made["gather"].key, made["sift"].key) in graph["edges"]
    assert len(graph["edges"]) == len(set(graph["edges"])) == 7


def test_an_ancestor_whose_record_is_gone_stays_as_an_edge(made: dict[str, Artifact]) -> None:
    Store().record_path(made["sift"].key).unlink()
    graph = ancestors(Store(), record_of(made["split_up"]))
    assert list(graph["nodes"]) == [made["split_up"].key]
    assert graph["edges"] == [(made["sift"].key, made["split_up"].key)]


def test_a_superseded_record_still_tells_what_its_output_was_made_of(made: dict[str, Artifact]) -> None:
    store, record = Store(), record_of(made["sift"])
    other = record.model_copy(update={"output": record_of(made["gather"]).output, "inputs": {}})
    store.write_record(other)
    assert ids(made["study"]) == ["a1", "b1"]
