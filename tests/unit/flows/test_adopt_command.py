"""`pedigree adopt` on the command line: answers, errors and exit codes; and how other commands speak of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flows import cli
from tasks.lineage.store import Store
from tests.small_course import text

SCHEMAS = Path(__file__).resolve().parents[3] / "docs" / "schemas"
DECLARED = ("--origin", "urn:lab:notes", "--because", "tested")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "OPENLINEAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    yield
    for folder in (tmp_path / "home" / "objects").glob("*"):
        folder.chmod(0o755)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps({"body": text(number)}) + "\n" for number in range(5)))
    return path


def answer(capsys: pytest.CaptureFixture[str], schema: str, *arguments: str) -> dict[str, Any]:
    assert cli.main(arguments) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text())).validate(found)
    return found


def test_the_answers_are_as_their_schemas_say(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adopting = ("adopt", "text", str(notes), *DECLARED, "--text-field", "body", "--made-from", "memory", "--json")
    first = answer(capsys, "adopt", *adopting)
    assert first["documents"]["documents_kept"] == 5 and not first["known"]
    assert answer(capsys, "adopt", *adopting)["known"]
    corrected = answer(capsys, "adopt", *adopting, "--license", "MIT", "--correct")
    assert [other["digest"] for other in corrected["other_declarations"]] == [first["artifact"]["digest"]]
    target = first["artifact"]["digest"][:12]
    (declared,) = answer(capsys, "lineage", "lineage", target, "--json")["declared"]
    assert declared["origin"] == "urn:lab:notes" and declared["made_from"] == ["memory"]
    assert answer(capsys, "lineage", "lineage", target, "--documents", "--json")["documents"] == 5


def test_people_are_told_the_same(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["adopt", "text", str(notes), *DECLARED, "--text-field", "body"]) == 0
    out = capsys.readouterr().out
    assert "declared, not made here: from urn:lab:notes, licence not declared" in out
    assert "5 of 5 documents" in out
    digest = next(iter(Store().records())).output.digest
    assert f"pedigree run train --set adopted.text={digest[:16]}" in out
    assert cli.main(["lineage", digest[:12]]) == 0
    assert "declared, not made here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["text", "NOTES", "--origin", "notes", "--because", "x"], 1, "no URI"),
        (["text", "nowhere", *DECLARED], 1, "does not exist"),
        (["text", "NOTES", *DECLARED], 1, "set text_field"),
        (["text", "NOTES", *DECLARED, "--max-bad-share", "7"], 2, "--max-bad-share"),
        (["model", "NOTES", *DECLARED], 1, "is a file"),
        (["model", "NOTES", *DECLARED, "--text-field", "body"], 2, "says nothing of a model"),
        (["tokenizer", "NOTES", *DECLARED], 1, "is no tokenizer.json"),
    ],
)
def test_mistakes_are_told_with_an_exit_code(
    notes: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    assert cli.main(["adopt", *(str(notes) if word == "NOTES" else word for word in arguments)]) == code
    assert words in capsys.readouterr().err
    assert not list(Store().records())
