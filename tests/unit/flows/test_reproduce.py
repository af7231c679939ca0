"""`pedigree reproduce` on a small course: the same bytes; and what is named where a source, seed or byte differs."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

from flows import cli
from flows.presets import STAGES
from flows.remaking import ALONE, MODULES, stage_named
from flows.reproducing import _verdict
from tasks.collect import collect
from tasks.forget.exclusions import ExcludeConfig, exclude, prints_of
from tasks.lineage.artifact import Artifact
from tasks.lineage.cause import Acceptance
from tasks.lineage.errors import NotFound
from tasks.lineage.store import Store
from tasks.lineage.tombstone import bury
from tasks.reproduce.steps import resources_of, work
from tests.small_course import RESOURCES, make, text, write_sources

SCHEMA = Path(__file__).resolve().parents[3] / "docs" / "schemas" / "reproduce.json"
ORDER = ["snapshot", "collect", "clean", "deduplicate", "pair", "decontaminate", "tokenize", "pretrain", "finetune"]


@dataclass
class World:
    home: Path
    sources: Path
    made: dict[str, Artifact]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("reproduce")
    write_sources(root / "sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(root / "home"))
        made = make(root / "sources")
    yield World(root / "home", root / "sources", made)
    for path in (root / "home" / "objects").glob("*"):
        path.chmod(0o755)


@pytest.fixture
def world(trained: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A copy of the records, so that a test may change them; the outputs are the same files."""
    home = tmp_path / "home"
    for folder in ("records", "code"):
        shutil.copytree(trained.home / folder, home / folder)
    shutil.copytree(trained.home / "objects", home / "objects")
    monkeypatch.setenv("PEDIGREE_HOME", str(home))
    saved = {path: path.read_bytes() for path in trained.sources.iterdir()}
    yield World(home, trained.sources, trained.made)
    for path, content in saved.items():
        path.write_bytes(content)
    for path in (home / "objects").glob("*"):
        path.chmod(0o755)


def ask(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> dict[str, Any]:
    assert cli.main(["reproduce", *arguments, "--json"]) == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(answer)
    return answer


def contents(home: Path) -> dict[str, int]:
    return {str(path.relative_to(home)): path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    return {stage["stage"]: stage["verdict"] for stage in answer["stages"]}


def test_the_same_bytes_again_and_the_store_untouched(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(world.home / "objects") | contents(world.home / "records")
    again = tmp_path / "again"
    answer = ask(capsys, 0, world.made["finetune"].digest, "--home", str(again))
    assert answer["identical"] and answer["first_difference"] is None
    assert [stage["stage"] for stage in answer["stages"]] == ORDER
    assert {stage["made"] for stage in answer["stages"]} == {artifact.digest for artifact in world.made.values()}
    assert not any(stage["found"] or stage["causes"] for stage in answer["stages"])
    assert contents(world.home / "objects") | contents(world.home / "records") == before
    resumed = ask(capsys, 0, world.made["finetune"].digest, "--home", str(again))
    assert {stage["stage"] for stage in resumed["stages"] if stage["found"]} == set(ORDER)
    assert resumed["home"] == str(again)


def test_a_changed_source_is_named_and_nothing_after_it_made(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.sources / "texts.jsonl"
    file.write_bytes(file.read_bytes().replace(b"the ", b"teh ", 1))
    answer = ask(capsys, 1, world.made["collect"].digest)
    assert verdicts(answer) == {"snapshot": "different", "collect": "not made"}
    first = answer["first_difference"]
    assert (first["stage"], first["file"]) == ("snapshot", "items.parquet")
    assert answer["stages"][0]["sources"] == {"changed": [file.resolve().as_uri()], "removed": [], "added": []}
    assert first["detail"]["difference"]["parts"][0]["name"] == "sha256"
    assert answer["verdict"] == "different"


def test_a_source_that_is_gone_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.sources / "pairs.jsonl").unlink()
    answer = ask(capsys, 1, world.made["collect"].digest)
    assert answer["verdict"] == "failed" and verdicts(answer)["snapshot"] == "failed"
    assert answer["stages"][0]["sources"]["removed"] == [(world.sources / "pairs.jsonl").resolve().as_uri()]
    assert "pairs.jsonl" in answer["first_difference"]["how"] and answer["first_difference"]["file"] is None


def test_another_seed_differs_first_where_it_is_used(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    record = Store().maker(world.made["pretrain"])
    assert record is not None
    claimed = record.model_copy(update={"config": {**record.config, "seed": record.config.get("seed", 0) + 1}})
    Store().write_record(claimed)
    answer = ask(capsys, 1, world.made["finetune"].digest, "--all")
    assert [stage for stage, verdict in verdicts(answer).items() if verdict == "different"] == ["pretrain", "finetune"]
    assert answer["first_difference"]["stage"] == "pretrain"
    pretrain, finetune = (next(s for s in answer["stages"] if s["stage"] == name) for name in ("pretrain", "finetune"))
    weights = next(file for file in pretrain["files"] if file["path"] == "model/model.safetensors")
    part = weights["difference"]["parts"][0]
    assert weights["size"]["old"] == weights["size"]["new"] and part["max_abs_difference"] > 0
    assert [(cause["kind"], cause["name"]) for cause in finetune["causes"]] == [("input", "model")]


def test_a_flipped_byte_code_and_libraries_are_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """With a snapshot that was made elsewhere, and a corpus that was deleted: neither is an obstacle."""
    store = Store()
    outside, record = store.maker(world.made["snapshot"]), store.maker(world.made["clean"])
    assert outside is not None and record is not None
    store.write_record(outside.model_copy(update={"stage": "from_elsewhere"}))
    bury(world.home, world.made["collect"].digest, "unreachable")
    files = [file.model_copy(update={"sha256": "0" * 64}) if file.path == "samples.jsonl" else file
             for file in record.output.files]  # fmt: skip
    name = next(name for name in record.code if name.endswith(":clean_piece"))
    claimed = {
        "output": record.output.model_copy(update={"digest": "0" * 64, "files": files}),
        "code": {**record.code, name: "0" * 64},
        "versions": {**record.versions, "ftfy": "1.0"},
        "numerics": {**record.numerics, "processor": "another"},
    }
    store.write_record(record.model_copy(update=claimed))
    answer = ask(capsys, 1, "0" * 64)
    assert verdicts(answer) == {"from_elsewhere": "taken", "collect": "identical", "clean": "different"}
    assert "not made by a stage of this program" in answer["notes"][0]
    first = answer["first_difference"]
    assert (answer["verdict"], first["stage"], first["file"]) == ("different", "clean", "samples.jsonl")
    assert [(cause["kind"], cause["name"]) for cause in first["causes"]] == [("code", name), ("dependency", "ftfy")]
    assert first["detail"]["difference"] is None and "not whole" in first["detail"]["note"]
    assert first["how"].startswith(f"code {name}; dependency ftfy; processor another →")
    assert [entry["name"] for entry in answer["stages"][-1]["numerics"]] == ["processor"]


def test_an_accepted_output_is_no_work_to_repeat(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store()
    record = store.maker(world.made["snapshot"])
    assert record is not None
    acceptance = Acceptance(by="ann", at="2026-01-01", because="a \x1b[31mrefactoring", stands_on="1" * 64,
                            changed=("code x",))  # fmt: skip
    files = [file.model_copy(update={"sha256": "1" * 64}) for file in record.output.files]
    output = record.output.model_copy(update={"digest": "1" * 64, "files": files})
    store.write_record(record.model_copy(update={"output": output, "accepted": acceptance}))
    assert cli.main(["reproduce", "1" * 64]) == 1
    shown = capsys.readouterr()
    assert "was accepted by ann in place of work: a \\x1b[31mrefactoring" in shown.out
    assert "items.parquet differs" in shown.out and "snapshot: made in" in shown.err


def test_other_numerics_alone_are_no_other_recipe() -> None:
    stage = {"verdict": "different", "numerics": [{}], "causes": [], "accepted": None, "sources": None}
    assert _verdict(stage) == "same recipe, other numerics"
    assert _verdict({**stage, "causes": [{}]}) == _verdict({**stage, "numerics": []}) == "different"
    assert _verdict(None) == _verdict({**stage, "verdict": "failed"}) == "failed"


def test_a_list_that_names_documents_is_taken_and_honoured(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow.parquet as pq

    corpus = world.made["collect"].path / "documents-00000.parquet"
    doc_id = pq.read_table(corpus, columns=["doc_id"])["doc_id"][7].as_py()
    told = prints_of([text(3)], 0.8, exact=False)
    by_text = exclude(config=ExcludeConfig(texts=told))
    by_name = exclude(config=ExcludeConfig(docs=(doc_id,)), earlier=by_text)
    without = collect(snapshot=world.made["snapshot"], exclusions=by_name, resources=RESOURCES)
    answer = ask(capsys, 0, without.digest)
    assert [(stage["stage"], stage["verdict"]) for stage in answer["stages"]] == [
        ("snapshot", "identical"), ("exclude", "identical"), ("exclude", "taken"), ("collect", "identical"),
    ]  # fmt: skip
    assert "taken as it is" in answer["notes"][0]
    for path in (by_name.path, *by_name.path.iterdir()):
        path.chmod(0o755)
    file = next(by_name.path.iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    damaged = ask(capsys, 1, without.digest)
    assert damaged["verdict"] == "failed" and "not whole" in damaged["first_difference"]["how"]


def test_a_home_that_holds_something_is_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = world.made["collect"].digest
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    (tmp_path / "link").symlink_to(world.home)
    for folder, said in (
        (world.home, "the store itself"), (tmp_path / "link", "the store itself"),
        (world.home / "again", "inside the store"), (tmp_path / "link" / "again", "inside the store"),
        (tmp_path / "full", "something else"), (tmp_path / "full" / "letter.txt", "is no folder"),
    ):  # fmt: skip
        assert cli.main(["reproduce", digest, "--home", str(folder)]) == 2
        assert said in capsys.readouterr().err


def test_a_lost_record_ends_it_before_it_begins(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    Store().record_path(world.made["clean"].key).unlink()
    record = Store().maker(world.made["tokenize"])
    assert record is not None
    with pytest.raises(NotFound, match="how the input corpus of deduplicate"):
        work(Store(), [record])
    assert cli.main(["reproduce", record.key]) == 1
    assert "its record is gone" in capsys.readouterr().err


def test_every_stage_is_found_by_its_name() -> None:
    assert {stage_named(name).name for name in MODULES} == {*STAGES, *ALONE, "exclude"}


def test_resources_are_those_of_the_record(world: World) -> None:
    record = Store().maker(world.made["pretrain"])
    assert record is not None
    for threads, expected in ((3, 3), ("2", 2), ("many", None), (None, None), ("0", None)):
        changed = record.model_copy(update={"numerics": {"threads": threads, "device": "cpu", "compile": True}})
        found = resources_of(changed, world.home)
        assert (found.threads, found.device, found.compile) == (expected, "cpu", True)


def test_the_worker_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    asking = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'flows.remaking'])\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    reading, writing = os.pipe()  # stays open here, so that the worker waits for its request and does not end by that
    asker = subprocess.Popen([sys.executable, "-c", asking], stdin=reading, stdout=subprocess.PIPE, text=True)
    try:
        assert asker.stdout
        worker = psutil.Process(int(asker.stdout.readline()))
        used = -1.0
        while used != (used := sum(worker.cpu_times()[:2])):  # until it has loaded and waits
            time.sleep(1)
        asker.kill()
        asker.wait()
        deadline = time.monotonic() + 300
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        asker.kill()
        os.close(reading)
        os.close(writing)
