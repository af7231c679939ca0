"""`pedigree why` and `pedigree accept` on the real course of `data`, over a folder of small files."""

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from flows import cli, planning
from flows.presets import FLOW_SECTIONS
from flows.settings import Settings
from tasks.clean import clean
from tasks.lineage import journal
from tasks.lineage.fingerprint import Fingerprint
from tasks.lineage.store import Store
from tasks.text.rules import RuleLimits

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
README = Path(__file__).parents[3] / "README.md"


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data stages up to `clean`, run for real once; gives the file with the settings."""
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    texts = tmp_path / "texts"
    texts.mkdir()
    for number, section in enumerate(README.read_text().split("\n## ")[:3]):
        (texts / f"{number}.txt").write_text(section)
    config = tmp_path / "mine.yaml"
    config.write_text(json.dumps(settings_of(texts)))
    settings = Settings.model_validate(settings_of(texts))
    outside = planning.course.snapshot(config=settings.snapshot)
    collected = planning.course.collect(snapshot=outside, config=settings.collect)
    clean(corpus=collected, config=settings.clean)
    return config


def settings_of(texts: Path) -> dict[str, Any]:
    """Any text passes `clean`."""
    lenient = {
        name: None for name, field in RuleLimits.model_fields.items() if type(None) in get_args(field.annotation)
    }
    sources = [{"kind": "files", "path": str(texts), "license": "MIT"}]
    return {"snapshot": {"sources": sources}, "clean": {"text": lenient}}


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The answer of a command with --json, checked against its schema."""
    capsys.readouterr()
    assert cli.main([*arguments, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    Draft202012Validator(json.loads((SCHEMAS / f"{arguments[0]}.json").read_text())).validate(answer)
    return answer


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    return {stage["stage"]: stage["verdict"] for stage in answer["stages"]}


def test_the_course_of_data_is_planned(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "why", "data", "--config", str(made))
    assert verdicts(answer) == {
        "snapshot": "cached", "collect": "cached", "clean": "cached",
        "deduplicate": "would run", "decontaminate": "would run", "tokenize": "would run",
    }  # fmt: skip
    assert [cause["kind"] for cause in answer["stages"][3]["causes"]] == ["first run"]


def test_a_changed_setting_is_named(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "why", "clean", "--config", str(made), "--set", "collect.min_docstring_chars=77")
    (stage,) = answer["stages"]
    assert stage["verdict"] == "blocked"
    (cause,) = stage["causes"]
    assert (cause["kind"], cause["name"], cause["new"], cause["upstream"]) == ("input", "corpus", None, "collect")
    (root,) = cause["because"]
    assert (root["stage"], root["kind"], root["name"], root["new"]) == ("collect", "config", "min_docstring_chars", 77)


def test_a_new_file_is_seen_unless_nobody_looks(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made.parent / "texts" / "new.txt").write_text("something else entirely, long enough to be kept. " * 20)
    answer = ask(capsys, "why", "data", "--config", str(made))
    assert verdicts(answer)["snapshot"] == "would run"
    assert answer["stages"][0]["causes"][0]["name"] == "outside world"
    assert verdicts(answer)["collect"] == "would run"
    assert verdicts(answer)["clean"] == "blocked"
    answer = ask(capsys, "why", "data", "--config", str(made), "--no-look")
    assert verdicts(answer)["clean"] == "cached"
    assert "as it was" in answer["stages"][0]["assumed"]


def test_changed_code_is_shown_then_accepted_and_that_is_shown(
    made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = clean.recipe.code
    name = "tasks.clean:clean"
    source = code.sources[code.definitions[name]] + "pass\n"
    now = Fingerprint({**code.definitions, name: "0" * 64}, {**code.sources, "0" * 64: source})
    monkeypatch.setitem(clean.recipe.__dict__, "code", now)
    (stage,) = ask(capsys, "why", "clean", "--config", str(made))["stages"]
    assert stage["verdict"] == "would run"
    assert [(cause["kind"], cause["name"]) for cause in stage["causes"]] == [("code", name)]
    assert "+pass" in stage["causes"][0]["diff"]
    assert cli.main(["why", "clean", "--config", str(made)]) == 0
    assert "+pass" in capsys.readouterr().out
    (taken,) = ask(capsys, "accept", "clean", "--because", "only a pass", "--config", str(made))["accepted"]
    assert taken["changed"] == [f"code {name}"]
    (stage,) = ask(capsys, "why", "clean", "--config", str(made))["stages"]
    assert (stage["verdict"], stage["accepted"]["because"]) == ("cached", "only a pass")
    told = ask(capsys, "lineage", taken["key"][:12])
    assert [(entry["stage"], entry["because"]) for entry in told["accepted"]] == [("clean", "only a pass")]
    assert [node["accepted"] is not None for node in told["nodes"]] == [True, False, False]
    assert cli.main(["lineage", taken["key"][:12]]) == 0
    assert "accepted by" in capsys.readouterr().out
    assert cli.main(["accept", "clean", "--because", "again", "--config", str(made)]) == 1
    assert "nothing to accept" in capsys.readouterr().err


def test_why_the_latest_run_ran(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["why", "--last"]) == 1
    assert "No run of train" in capsys.readouterr().err
    records = {record.stage: record for record in Store().records()}
    journal.begin_flow("data", "run-1")
    journal.write_stage("run-1", "collect", state="cached", key=records["collect"].key)
    journal.write_stage("run-1", "clean", state="ran", key=records["clean"].key)
    answer = ask(capsys, "why", "data", "--last")
    assert verdicts(answer) == {"collect": "cached", "clean": "ran"}
    assert [cause["kind"] for cause in answer["stages"][1]["causes"]] == ["first run"]
    assert verdicts(ask(capsys, "why", "clean", "--last")) == {"clean": "ran"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["why", "clan"], "There is no flow or stage 'clan'. Did you mean 'clean'?"),
        (["why", "data", "--set", "clean.nothing=1"], "there is no such field"),
        (["accept", "data", "--because", "x"], "is a flow; name the stages"),
    ],
)
def test_a_wrong_name_ends_with_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_every_flow_has_a_course_and_runs_it() -> None:
    """A plan follows the course in COURSES; were a flow to run another one, the plan would be wrong."""
    assert planning.COURSES.keys() == FLOW_SECTIONS.keys() - {"forget"}  # `pedigree forget --dry-run` plans that one
    for flow, course in planning.COURSES.items():
        source = inspect.getsource(getattr(import_module(f"flows.{flow}"), flow).fn)
        name = "align_course" if flow == "align" else course.__name__
        assert f"{name}(settings" in source, flow
