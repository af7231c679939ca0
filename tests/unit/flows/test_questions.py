"""Lineage, verify, why and names of models, answered from records alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import cli, latest, questions
from flows.errors import NothingFound
from flows.settings import Settings, Start
from flows.starting import starting_point
from tasks.lineage import journal
from tasks.lineage.artifact import Artifact
from tasks.lineage.record import Record
from tasks.lineage.store import Store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    yield tmp_path
    for folder in (tmp_path / "objects").glob("*"):
        folder.chmod(0o755)


def make(
    stage: str, content: str, created: str, *, config: dict[str, object] | None = None, **inputs: Artifact
) -> Artifact:
    """A piece of finished work in the store, as the engine leaves it."""
    store = Store()
    folder = store.root / "making"
    folder.mkdir(parents=True)
    (folder / "content.txt").write_text(content)
    output = store.commit(folder, kind=stage)
    key = (content.encode().hex() + "0" * 64)[:64]
    record = Record(
        key=key, stage=stage, inputs=inputs, config=config or {}, code={"tasks:it": "a" * 64}, code_digest="b" * 64,
        versions={"numpy": "2"}, output=output, wall_seconds=1, cpu_seconds=1, energy_wh=0, numerics={},
        metrics={"eval/gold": 0.1}, created=created,
    )  # fmt: skip
    store.write_record(record)
    return record.artifact


def course() -> dict[str, Artifact]:
    made = {"snapshot": make("snapshot", "s", "2026-01-01")}
    made["collect"] = make("collect", "c", "2026-01-02", snapshot=made["snapshot"])
    made["pair"] = make("pair", "p", "2026-01-02", snapshot=made["snapshot"])
    made["tokenize"] = make("tokenize", "t", "2026-01-03", corpus=made["collect"])
    made["pretrain"] = make("pretrain", "m", "2026-01-04", tokens=made["tokenize"], config={"steps": 1})
    made["ppo"] = make("ppo", "a", "2026-01-05", model=made["pretrain"], pairs=made["pair"])
    return made


def test_lineage_of_a_registered_model_reaches_the_snapshot() -> None:
    made = course()
    make("pretrain", "another", "2026-01-09", tokens=made["tokenize"])
    graph = questions.lineage("pedigree-aligned")
    stages = {node["id"]: node["stage"] for node in graph["nodes"]}
    assert sorted(stages.values()) == ["collect", "pair", "ppo", "pretrain", "snapshot", "tokenize"]
    assert [made["snapshot"].key, made["collect"].key] in graph["edges"]
    assert len(graph["edges"]) == 6
    assert graph == questions.lineage("ppo") == questions.lineage(made["ppo"].digest[:10])
    assert {"id", "stage", "kind", "digest", "config", "code"} <= graph["nodes"][0].keys()


def test_in_brief_descendants_say_the_same_and_read_their_records_late() -> None:
    made = course()
    whole = questions.lineage("snapshot", up=True, down=True)
    brief = questions.lineage("snapshot", up=True, down=True, brief=True)
    late = {node["stage"]: node for node in brief["nodes"]}
    assert "config" not in late["pretrain"] and late["pretrain"]["created"] == "2026-01-04"
    assert [{name: node[name] for name in whole["nodes"][0]} for node in brief["nodes"]] == whole["nodes"]
    assert brief["edges"] == whole["edges"] and len(whole["nodes"]) == 6
    with pytest.raises(KeyError, match="colour"):
        late["pretrain"]["colour"]
    removed = questions.lineage("snapshot", up=False, down=True, brief=True)
    Store().record_path(made["ppo"].key).unlink()
    with pytest.raises(NothingFound, match="removed while"):
        next(node for node in removed["nodes"] if node["stage"] == "ppo")["metrics"]


def test_documents_are_counted_by_origin_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    store = Store()
    folder = store.root / "making"
    folder.mkdir(parents=True)
    rows = {
        "doc_id": ["3", "1", "2"],
        "source": ["s", "t", "u"],
        "origin": ["numpy", "rich", "rich"],
        "license": ["BSD-3-Clause", "MIT", None],
    }
    pq.write_table(pa.table(rows), folder / "documents-00000.parquet")
    output = store.commit(folder, kind="corpus")
    record = Record(
        key="d" * 64, stage="collect", inputs={}, config={}, code={}, code_digest="b" * 64, versions={}, output=output,
        wall_seconds=1, cpu_seconds=1, energy_wh=0, numerics={}, created="2026-01-02",
    )  # fmt: skip
    store.write_record(record)
    make("pretrain", "m", "2026-01-03", corpus=record.artifact)
    answer = questions.documents("collect")
    assert answer["target"] == {"stage": "collect", "kind": "corpus", "digest": output.digest}
    assert answer["documents"] == 3
    assert list(answer["origins"].items()) == [("rich", 2), ("numpy", 1)]
    assert answer["licenses"] == {"BSD-3-Clause": 1, "MIT": 1, "unknown": 1}
    assert answer["ids"] == ["1", "2", "3"]
    assert cli.main(["lineage", "collect", "--documents", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert cli.main(["lineage", "collect", "--documents"]) == 0
    shown = capsys.readouterr().out
    assert "3 documents" in shown and "2  rich" in shown and "1  unknown" in shown


def test_an_unknown_name_says_which_names_there_are() -> None:
    with pytest.raises(NothingFound, match="none yet"):
        questions.lineage("pedigree-aligned")
    course()
    with pytest.raises(NothingFound, match=r"pedigree-pretrained.*snapshot, tokenize"):
        questions.lineage("nonsense")


def test_verify_finds_a_flipped_byte_and_a_lost_object() -> None:
    made = course()
    assert Store().verify() == {"objects": 6, "damaged": [], "missing": [], "foreign": []}
    file = made["collect"].path / "content.txt"
    file.chmod(0o644)
    file.write_text("d")
    assert [entry["digest"] for entry in Store().verify()["damaged"]] == [made["collect"].digest]
    made["ppo"].path.rename(Store().root / "elsewhere")
    assert [entry["stage"] for entry in Store().verify()["missing"]] == ["ppo"]


def test_the_latest_is_what_the_last_flow_met_even_if_cached() -> None:
    made = course()
    make("pretrain", "newer", "2026-03-01", tokens=made["tokenize"])
    assert latest.named("pretrain", None).output.digest != made["pretrain"].digest
    journal.begin_flow("train", "run-1")
    journal.write_stage("run-1", "pretrain", state="cached", key=made["pretrain"].key, ended=journal.now())
    assert latest.named("pretrain", None).artifact == made["pretrain"]


def test_align_starts_from_the_named_model_with_what_it_was_made_of() -> None:
    made = course()
    make("pretrain", "newer", "2026-03-01", tokens=made["tokenize"])
    model, data = starting_point(Settings(start=Start(pretrained=made["pretrain"].digest[:8])))
    assert model == made["pretrain"]
    assert (data.tokens, data.corpus, data.pairs) == (made["tokenize"], made["collect"], made["pair"])
    with pytest.raises(NothingFound, match="beginning with 'ffff'"):
        starting_point(Settings(start=Start(pretrained="ffff")))
