import json
import time
from pathlib import Path
from typing import Any

import pytest

from flows import cli
from flows.course import data_alone
from flows.errors import SettingsError
from flows.forget_request import dry_run, latest_settings, parameters, request
from flows.forgetting import forget_course
from flows.presets import PRESETS
from flows.settings import Settings
from tasks.collect import CollectConfig, collect
from tasks.impact.selector import Selector
from tasks.lineage import journal
from tasks.lineage.artifact import Artifact
from tasks.lineage.files import remove_tree
from tasks.lineage.store import Store
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text.sources import Source
from tests.planted_course import PLANTED, docstrings
from tests.unit.tasks.text.test_forgotten import text


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))


def ran(flow: str, name: str, state: str | None) -> None:
    """A flow run whose settings carry its name; state None: it is still at work."""
    journal.begin_flow(flow, name, settings={"pretrain": {"seed": name}})
    if state == "completed":
        journal.end_flow(name, "completed")
    elif state == "failed":
        journal.end_flow(name, "failed", error="stopped")
    time.sleep(0.005)  # the journal counts milliseconds, and no two begin in the same one


def test_the_settings_are_those_of_the_latest_course_that_completed() -> None:
    ran("train", "old", "completed")
    ran("train", "good", "completed")
    ran("data", "data alone", "completed")
    ran("train", "broken off", "failed")
    assert latest_settings() == ("train", {"pretrain": {"seed": "good"}})


def test_where_none_completed_the_latest_has_to_do() -> None:
    ran("train", "first", "failed")
    ran("train", "second", "failed")
    assert latest_settings() == ("train", {"pretrain": {"seed": "second"}})


def test_without_a_run_the_settings_have_to_be_named() -> None:
    with pytest.raises(SettingsError, match="--preset or --config"):
        latest_settings()


def collected(flow: str, name: str, folder: Path) -> Artifact:
    """A completed flow run that collected the texts of a folder."""
    sources = (Source(kind="files", path=str(folder)),)
    config = SnapshotConfig(sources=sources, evaluation_share=0)
    made = {"snapshot": snapshot(config=config)}
    made["collect"] = collect(snapshot=made["snapshot"], config=CollectConfig(), resources=Resources(workers=1))
    journal.begin_flow(flow, name, settings={"snapshot": config.model_dump(mode="json")})
    for stage, artifact in made.items():
        journal.write_stage(name, stage, state="ran", key=artifact.key, output=artifact.digest)
    journal.end_flow(name, "completed")
    return made["collect"]


def test_what_is_planned_and_rebuilt_is_the_run_that_holds_the_documents(tmp_path: Path) -> None:
    """Though a whole course ran before it, and a run of other data after."""
    corpora = {}
    for flow, name in (("train", "course"), ("data", "held"), ("data", "later")):
        folder = tmp_path / "texts" / name
        folder.mkdir(parents=True)
        (folder / "page.txt").write_text(text(len(name)))
        corpora[name] = collected(flow, name, folder)
    asked = request(Store(), Selector(texts=(text(len("held")),)), exact=False)
    told = parameters(asked, None, None, [], data_only=False)
    assert told["exclude"]["rebuild"] == "data"
    assert told["snapshot"]["sources"][0]["path"] == str(tmp_path / "texts" / "held")
    plan = dry_run(Store(), asked)
    assert plan["rebuilds"]["flow_run_id"] == "held"
    assert {row["stage"]: (row["digest"], row["changes"]) for row in plan["stages"] if row["stage"] != "snapshot"} == {
        "collect": (corpora["held"].digest, True)
    }
    of_course = request(Store(), Selector(texts=(text(len("course")),)), exact=False)
    assert parameters(of_course, None, None, [], data_only=False)["exclude"]["rebuild"] == "train"
    remove_tree(tmp_path / "objects")


def test_of_runs_that_hold_the_documents_the_course_is_rebuilt_and_the_other_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flow, name in (("train", "course"), ("data", "copy")):
        folder = tmp_path / "texts" / name
        folder.mkdir(parents=True)
        (folder / "page.txt").write_text(text(1))
        made = collected(flow, name, folder)
    page = tmp_path / "page.txt"
    page.write_text(text(1))
    assert cli.main(["forget", "--text", str(page), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "stages of train run course" in shown
    assert "1 outputs of other runs hold them or learnt from them and are not rebuilt" in shown
    assert f"collect      {made.digest[:12]}, holds" in shown
    remove_tree(tmp_path / "objects")


def test_a_course_that_was_forgotten_from_is_rebuilt_as_it_was() -> None:
    journal.begin_flow("forget", "data alone", settings={"exclude": {"rebuild": "data"}, "clean": {}})
    journal.end_flow("data alone", "completed")
    assert latest_settings() == ("data", {"clean": {}})


def test_a_run_of_text_alone_is_rebuilt_and_certified_though_a_course_ran_before_it(tmp_path: Path) -> None:
    """The certificate says what became of each output of the run that held the text, and of no other's."""
    told = [page for _, page in docstrings() if len(page) > 400][:80]
    for name, pages in (("course", told[:40]), ("held", [*told[40:], PLANTED])):
        (tmp_path / "texts" / name).mkdir(parents=True)
        rows = "\n".join(json.dumps({"text": page}) for page in pages)
        (tmp_path / "texts" / name / "rows.jsonl").write_text(rows)
    collected("train", "course", tmp_path / "texts" / "course")
    known = {record.key for record in Store().records()}
    own: dict[str, Any] = {**PRESETS["test"], "resources": {"threads": 1, "workers": 1}}
    source = {"kind": "files", "path": str(tmp_path / "texts" / "held"), "text_kind": "docstring"}
    own["snapshot"] = {"sources": [source], "evaluation_share": 0}
    data_alone(Settings.model_validate(own))
    journal.begin_flow("data", "held", settings=own)
    records = {record.stage: record for record in Store().records() if record.key not in known}
    for stage, record in records.items():
        journal.write_stage("held", stage, state="ran", key=record.key, output=record.output.digest)
    asked = request(Store(), Selector(texts=(PLANTED,)), exact=False)
    settings = Settings.model_validate(parameters(asked, None, None, [], data_only=False))
    certificate = forget_course(settings, "only", None)
    assert certificate["check"]["clean"] and len(certificate["removed"]) == 1
    assert {row["stage"]: row["before"] for row in certificate["stages"]} == {
        stage: record.output.digest for stage, record in records.items() if stage != "snapshot"
    }
    assert {row["state"] for row in certificate["stages"]} == {"made anew"}
    remove_tree(tmp_path / "objects")
