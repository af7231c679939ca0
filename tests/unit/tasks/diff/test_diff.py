"""Two courses on texts that were edited, dropped, forgotten, prepared in another way: each is told as what it is."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flows import cli
from tasks.adopt.adopt import Asked, adopt
from tasks.clean import CleanConfig, clean
from tasks.collect import collect
from tasks.deduplicate import deduplicate
from tasks.diff.metrics import figures
from tasks.forget.exclusions import ExcludeConfig, exclude
from tasks.lineage import sources
from tasks.lineage.artifact import Artifact
from tasks.lineage.fingerprint import digest_of
from tasks.lineage.store import Store
from tasks.lineage.tombstone import bury
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.text.documents import Draft
from tasks.text.sources import Source
from tasks.tokenize import TokenizeConfig, tokenize
from tests.small_course import RESOURCES, text

SCHEMA = Path(__file__).resolve().parents[4] / "docs" / "schemas" / "diff.json"
EDITED, GONE, NEW, COPIED, FORGOTTEN, MASKED = "t03", "t05", "t90", "t09", "t11", "t13"


@dataclass
class World:
    home: Path
    folder: Path
    a: dict[str, Artifact]
    b: dict[str, Artifact]

    def doc_id(self, name: str, content: str) -> str:
        address = f"{(self.folder / 'texts.jsonl').resolve().as_uri()}#{name}"
        return Draft(content, address, "", None, "text", None).doc_id


def write(folder: Path, rows: dict[str, str]) -> None:
    lines = [json.dumps({"id": name, "text": content}) + "\n" for name, content in sorted(rows.items())]
    (folder / "texts.jsonl").write_text("".join(lines))


def data(folder: Path, masked: bool, seed: int, forgotten: Artifact | None = None) -> dict[str, Artifact]:
    config = SnapshotConfig(sources=(Source(kind="files", path=str(folder / "texts.jsonl")),), evaluation_share=0)
    made = {"snapshot": snapshot(config=config, resources=RESOURCES)}
    made["collect"] = collect(snapshot=made["snapshot"], exclusions=forgotten, resources=RESOURCES)
    cleaning = CleanConfig(mask=["email"]) if masked else CleanConfig(mask=[])
    made["clean"] = clean(corpus=made["collect"], config=cleaning, resources=RESOURCES)
    made["deduplicate"] = deduplicate(corpus=made["clean"], resources=RESOURCES)
    config = TokenizeConfig(vocab_size=300, train_bytes=5000, validation_share=0.2, seed=seed)
    made["tokenize"] = tokenize(corpus=made["deduplicate"], config=config, resources=RESOURCES)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("diff")
    folder = root / "texts"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(root / "home"))
        rows = {f"t{number:02d}": text(number) for number in range(60)}
        rows[MASKED] += " Write to anna.kovacs@post.hu for the rest of the story."
        write(folder, rows)
        world = World(root / "home", folder, data(folder, masked=True, seed=0), {})
        forgotten = exclude(config=ExcludeConfig(docs=(world.doc_id(FORGOTTEN, rows[FORGOTTEN]),), exact=True))
        rows |= {EDITED: text(1003), NEW: text(1090), "a-copy": rows[COPIED]}
        del rows[GONE]
        write(folder, rows)
        world.b = data(folder, masked=False, seed=1, forgotten=forgotten)
    yield world
    for path in (root / "home" / "objects").glob("*"):
        path.chmod(0o755)


@pytest.fixture
def world(made: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PEDIGREE_HOME", str(made.home))
    return made


def ask(capsys: pytest.CaptureFixture[str], a: Artifact, b: Artifact) -> dict[str, Any]:
    assert cli.main(["diff", a.digest, b.digest, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(answer)
    return answer


def told(answer: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Name of a document → how it changed and why, those that were only set apart for another split left out."""
    return {
        entry["source"].partition("#")[2]: (entry["change"], entry["stage"], entry["reason"])
        for entry in answer["documents"]
        if entry["change"] != "moved"
    }


def test_every_document_that_changed_is_told_with_its_reason(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, world.a["tokenize"], world.b["tokenize"])
    assert told(answer) == {
        EDITED: ("changed", "snapshot", "its text changed at the source"),
        MASKED: ("changed", "clean", "its text was prepared in another way"),
        GONE: ("removed", "snapshot", "no longer in its file"),
        FORGOTTEN: ("removed", "collect", "forgotten"),
        COPIED: ("removed", "deduplicate", "exact_duplicate"),
        NEW: ("added", "snapshot", "new in its file"),
        "a-copy": ("added", "snapshot", "new in its file"),
    }
    (edited,) = (entry for entry in answer["documents"] if entry["was"] and entry["stage"] == "snapshot")
    assert edited["doc_id"] == world.doc_id(EDITED, text(1003))
    assert world.doc_id(EDITED, text(3)).startswith(edited["was"])


def test_counts_add_up(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = ask(capsys, world.a["tokenize"], world.b["tokenize"])["data"]["collections"]
    a, b = found["a"], found["b"]
    counts = {change: found[change]["documents"] for change in ("added", "removed", "changed", "moved")}
    assert counts["added"] == 2 and counts["removed"] == 3 and counts["changed"] == 2 and counts["moved"] > 0
    assert a["documents"] == found["same"] + counts["removed"] + counts["changed"] + counts["moved"]
    assert b["documents"] == found["same"] + counts["added"] + counts["changed"] + counts["moved"]
    for side, made in ((a, world.a), (b, world.b)):
        record = Store().maker(made["tokenize"])
        assert record is not None
        assert side["splits"]["train"]["tokens"] == record.metrics["train_tokens"]
        assert side["tokens"] == record.metrics["train_tokens"] + record.metrics["validation_tokens"]
    (origin,) = found["origins"]
    assert (origin["a"]["tokens"], origin["b"]["tokens"]) == (a["tokens"], b["tokens"])
    assert {reason["reason"] for reason in found["moved"]["by_reason"]} <= {"train → validation", "validation → train"}


def test_the_first_cause_and_what_differs_by_itself(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, world.a["tokenize"], world.b["tokenize"])
    stages = {stage["stage"]: stage for stage in answer["stages"]}
    assert stages["exclude"]["verdict"] == "only b"
    assert (answer["first_cause"]["kind"], answer["first_cause"]["stage"]) == ("stage", "exclude"), "the older of two"
    assert stages["snapshot"]["changed"] == ["outside world"]
    assert stages["collect"]["inputs"] == ["exclusions", "snapshot"]
    assert answer["data"]["sources"] == {
        "changed": [(world.folder / "texts.jsonl").resolve().as_uri()], "removed": [], "added": [],
    }  # fmt: skip
    assert [(entry["stage"], entry["name"], entry["old"], entry["new"]) for entry in answer["config"]] == [
        ("clean", "mask.0", "email", None), ("tokenize", "seed", 0, 1),
    ]  # fmt: skip
    assert answer["code"] == answer["dependencies"] == answer["numerics"] == []


def test_a_thing_is_as_itself_and_the_other_way_round_mirrors(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    same = ask(capsys, world.a["tokenize"], world.a["tokenize"])
    assert same["identical"] and same["first_cause"] is None and same["documents"] == []
    assert {stage["verdict"] for stage in same["stages"]} == {"same"}
    back = told(ask(capsys, world.b["tokenize"], world.a["tokenize"]))
    assert back[COPIED][0] == "added" and back[NEW][0] == "removed" and back[FORGOTTEN][0] == "added"
    assert back["a-copy"] == ("removed", "snapshot", "no longer in its file")


def test_corpora_are_compared_where_nothing_was_tokenised(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(ask(capsys, world.a["collect"], world.b["collect"]))
    assert found[COPIED[:0] + "a-copy"][0] == "added"
    assert COPIED not in found and MASKED not in found and found[FORGOTTEN] == ("removed", "collect", "forgotten")


def test_changed_code_is_shown_and_other_machines_are_told_apart(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store()
    record = store.maker(world.a["tokenize"])
    assert record is not None
    name = next(name for name in record.code if name.endswith(":with_ends"))
    earlier = (sources.read(store, record.code[name]) or "").replace("+ 1", "+ 2")
    sources.path_of(store, digest_of(earlier)).write_text(earlier)
    changes: dict[str, Any] = {
        "key": "e" * 64, "code": {**record.code, name: digest_of(earlier)},
        "versions": {**record.versions, "numpy": "1.0"}, "numerics": {**record.numerics, "threads": 64},
    }  # fmt: skip
    store.write_record(record.model_copy(update=changes))
    try:
        assert cli.main(["diff", "e" * 64, world.a["tokenize"].key, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert cli.main(["diff", "e" * 64, world.a["tokenize"].key]) == 0
        shown = capsys.readouterr().out
    finally:
        store.record_path("e" * 64).unlink()
    (changed,) = answer["code"]
    assert (changed["stage"], changed["name"]) == ("tokenize", name) and "+ 2" in changed["diff"]
    assert [(entry["name"], entry["old"]) for entry in answer["dependencies"]] == [("numpy", "1.0")]
    assert [(entry["name"], entry["old"]) for entry in answer["numerics"]] == [("threads", 64)]
    assert answer["stages"][-1]["verdict"] == "same output"
    assert f"{name} changed (tokenize)" in shown and "numpy 1.0 →" in shown


def test_a_person_reads_it_in_the_order_of_what_matters(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", world.a["tokenize"].digest, world.b["tokenize"].digest]) == 0
    shown = capsys.readouterr().out
    assert "First cause: exclude: only B has it" in shown
    assert "clean: mask.0 email → none" in shown
    assert "1  collect: forgotten" in shown
    assert f"#{EDITED}" in shown


def test_what_is_no_longer_stored_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store()
    for stage in ("tokenize", "clean", "snapshot"):
        bury(store.root, world.a[stage].digest, "unreachable")
    answer = ask(capsys, world.a["tokenize"], world.b["tokenize"])
    (found,) = answer["data"]["collections"]
    assert found["same"] is None and found["added"] is None and "deleted by `pedigree gc`" in found["notes"][0]
    assert found["a"]["documents"] == 60 and found["b"]["tokens"] > 0
    assert answer["data"]["sources"] is None and answer["documents"] == []
    assert answer["config"], "records still tell"
    assert cli.main(["diff", world.a["tokenize"].digest, world.b["tokenize"].digest]) == 0
    assert "the output of A is not whole: deleted by" in capsys.readouterr().out


def test_an_unknown_name_is_answered_with_what_to_do(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", world.b["tokenize"].digest, "ffffffff00000000"]) == 1
    assert "Nothing is called" in capsys.readouterr().err


def test_two_adoptions_differ_in_what_was_declared_and_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    write(tmp_path, {f"t{number}": text(number) for number in range(4)})
    file, said = tmp_path / "texts.jsonl", {"because": "tested", "correct": True}
    first = adopt(Store(), Asked("text", file, "urn:first", made_from=("letters",), **said)).record.artifact
    second = adopt(Store(), Asked("text", file, "urn:second", **said)).record.artifact
    answer = ask(capsys, first, second)
    assert answer["first_cause"]["note"] == "declared origin: urn:first → urn:second"
    assert [entry["name"] for entry in answer["config"]] == ["origin", "made_from.0"]
    assert {(entry["stage"], entry["reason"]) for entry in answer["documents"]} == {
        ("adopt_text", "new among what was adopted"), ("adopt_text", "no longer among what was adopted"),
    }  # fmt: skip
    write(tmp_path, {f"t{number}": text(number + number // 3) for number in range(4)})
    third = adopt(Store(), Asked("text", file, "urn:second", **said)).record.artifact
    answer = ask(capsys, second, third)
    assert answer["first_cause"]["note"] == "the files that were given are not the same"
    assert told(answer) == {"t3": ("changed", "adopt_text", "its text changed in the files that were adopted")}
    assert cli.main(["diff", first.digest, third.digest]) == 0
    out = capsys.readouterr().out
    assert "First cause: adopt_text: declared origin: urn:first → urn:second" in out
    assert "snapshot" not in out and "→ []" not in out
    config = SnapshotConfig(sources=(Source(kind="files", path=str(file)),), evaluation_share=0)
    outside = snapshot(config=config, resources=RESOURCES)
    made = [collect(snapshot=outside, adopted=adopted, resources=RESOURCES) for adopted in (first, third)]
    answer = ask(capsys, *made)
    assert {entry["stage"] for entry in answer["documents"]} == {"adopt_text"} and len(answer["documents"]) == 8
    assert answer["first_cause"]["stage"] == "adopt_text"
    for path in (tmp_path / "home" / "objects").glob("*"):
        path.chmod(0o755)


def test_intervals_are_apart_only_where_they_have_no_point_in_common() -> None:
    a = {"x": 1.0, "x_low": 0.5, "x_high": 1.5, "y": 2.0, "z": float("nan"), "gone": 1.0, "w_low": 3.0}
    rows = {row["name"]: row for row in figures("ppo", a, {"x": 2.0, "x_low": 1.5, "x_high": 2.5, "y": 2.0, "z": 1.0})}
    assert sorted(rows) == ["gone", "w_low", "x", "y", "z"]
    assert rows["x"]["apart"] is False and rows["x"]["change"] == 1.0
    assert rows["y"]["apart"] is None and rows["z"]["a"]["value"] is None and rows["z"]["change"] is None
    assert rows["gone"]["b"] is None
    apart = {"x": 2.0, "x_low": 1.6, "x_high": 2.5}
    assert next(iter(figures("ppo", {"x": 1.0, "x_low": 0.5, "x_high": 1.5}, apart)))["apart"] is True
