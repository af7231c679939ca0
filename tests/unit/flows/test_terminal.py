"""What comes from texts and models does no more on a terminal than to be read there."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.trace import _decoded, _print
from flows.summary import answer_table

HOSTILE = ("[/nope]", r"\[/nope]", r"\[x^2\]", "[red]x", "\x1b[31mred", "\x1b]0;title\x07", "\u202eback", "half \ud800")


@pytest.mark.parametrize("text", HOSTILE)
def test_answers_are_shown_as_they_are(text: str) -> None:
    shown = io.StringIO()
    Console(file=shown, width=200).print(answer_table([{"prompt": text, "aligned": text}]))
    wanted = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    assert shown.getvalue().count(wanted) == 2


def test_a_traced_text_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    place = {"doc_id": "d" * 32, "offset": 0, "field": "text", "source": "urn:a", "license": "MIT\x1b[1m"}
    span = {"text": "five\x1b[31m words\nof text", "words": 5, "occurrences": 1, "documents": [place]}
    _print({"text": "an\x07swer\nof two lines", "spans": [span], "unknown": []}, asked=True)
    told = capsys.readouterr().out
    assert r"an\x07swer" in told and "\nof two lines\n" in told and r"five\x1b[31m words\nof text" in told
    assert not any(letter in told for letter in "\x1b\x07")


def test_what_is_no_utf8_can_be_traced() -> None:
    assert _decoded(b"a \xff b") == "a \ufffd b"


def test_a_terminal_that_is_not_utf8_gets_an_answer(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "flows.cli", "why", "train", "--preset", "test", "--no-look"],
        env={"PYTHONIOENCODING": "ascii", "PEDIGREE_HOME": str(tmp_path), "COLUMNS": "80"}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "snapshot" in found.stdout
