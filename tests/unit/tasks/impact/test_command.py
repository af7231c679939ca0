"""`pedigree impact`: what it prints, and that its JSON is what its schema says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flows import cli
from tests.planted_course import NEAR, Course, planted_ids

SCHEMA = Path(__file__).resolve().parents[4] / "docs" / "schemas" / "impact.json"


@pytest.fixture
def elsewhere(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.chdir(tmp_path)
    return course


def ask(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert cli.main(["impact", *options, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(answer)
    return answer


def test_answers_follow_the_schema(elsewhere: Course, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    planted, near = planted_ids(elsewhere.folder)
    file = tmp_path / "letter.txt"
    file.write_text(NEAR.replace("\n", "\r\n"))
    by_text = ask(capsys, "--text", str(file))
    assert {document["doc_id"] for document in by_text["documents"]} == {planted, near}
    by_id = ask(capsys, "--doc", near)
    assert by_id["models"] and by_id["steps"]["pretrain"] and by_id["near_duplicates"]
    quick = ask(capsys, "--doc", near, "--no-near", "--no-steps")
    assert quick == {**by_id, "near_duplicates": [], "steps": {}}
    assert (
        ask(capsys, "--doc", planted, "--doc", near, "--license", "CC-BY-4.0", "--source", "file://*#near")["documents"]
        == by_id["documents"]
    )
    ask(capsys, "--annotator", "reference-rater")
    ask(capsys, "--module", "tasks/reward.py", "--module", "tasks.text.minhash")
    ask(capsys, "--license", "MIT", "--module", "tasks/reward.py", "--no-near")


def test_a_person_reads_models_paths_and_steps(elsewhere: Course, capsys: pytest.CaptureFixture[str]) -> None:
    _, near = planted_ids(elsewhere.folder)
    assert cli.main(["impact", "--doc", near]) == 0
    shown = capsys.readouterr().out
    assert (
        "pedigree-aligned" in shown
        and "text → collect → clean → deduplicate → decontaminate → tokenize → pretrain" in shown
    )
    assert "of 40 steps" in shown and "not asked: no MLflow server answers" in shown
    assert "in place of the document it was dropped for" in shown


def test_a_mistake_is_answered_with_what_to_do(elsewhere: Course, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["impact", "--doc", "ffffffff00000000"]) == 1
    assert "Give an id from a ledger" in capsys.readouterr().err
    assert cli.main(["impact"]) == 2
    assert "say what falls: --doc" in capsys.readouterr().err
    assert cli.main(["impact", "--text", "missing.txt"]) == 2
    assert "No such file" in capsys.readouterr().err
