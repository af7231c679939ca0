"""Questions with known answers, read from JSONL: one object a line, UTF-8. `FORMS` says which.

Other keys are ignored. A line of another form is left out and counted by what is wrong with it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeGuard, TypeVar

from model.errors import InputError

FORMS = """questions, one JSON object a line; lines of another form are left out and counted:
  --choices    {"prompt": "The capital of France is", "choices": ["Rome", "Paris"], "answer": 1}
               answer is the number of the right choice, counted from 0; a choice follows the prompt after a space
  --questions  {"prompt": "What is the capital of France?", "answer": "Paris"}
               or a list of answers, any of them right"""


@dataclass(frozen=True)
class Choice:
    """A prompt, what may follow it, and which of them is right."""

    prompt: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Question:
    """A prompt, and the answers that are right."""

    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """A prompt to be answered, and the seed of its draws (None: the caller's)."""

    prompt: str
    seed: int | None = None


Row = TypeVar("Row", Choice, Question, Request)


@dataclass
class Rows(Generic[Row]):
    """The rows of a file, the number of the line of each, and what was left out: how often, and where first."""

    rows: list[Row] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, line: int) -> None:
        """Counts a line that cannot be used."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, line)

    def keep(self, fits: Sequence[bool], reason: str) -> None:
        """Leaves out the rows that do not fit. Raises `InputError` where none is left."""
        for line, fit in zip(self.lines, fits, strict=True):
            if not fit:
                self.leave_out(reason, line)
        self.rows = [row for row, fit in zip(self.rows, fits, strict=True) if fit]
        self.lines = [line for line, fit in zip(self.lines, fits, strict=True) if fit]
        if not self.rows:
            raise InputError(f"no row can be used: {self.reasons()}.")

    def reasons(self) -> str:
        """What was left out, in words."""
        return "; ".join(
            f"{count} × {reason} (first in line {self.first[reason]})" for reason, count in self.left_out.items()
        )


class Malformed(ValueError):
    """A line that is no row; the message says what is wrong with it, in words that can be counted."""


def read_rows(path: str | Path, parse: Callable[[dict[str, Any]], Row]) -> Rows[Row]:
    """All rows of a JSONL file, or a pipe, that `parse` takes. Empty lines are no rows.

    Raises `InputError` where there is no such file, and where it holds lines but not one row.
    """
    file = Path(path)
    if not file.exists() or file.is_dir():  # a pipe is read too
        raise InputError(f"{file} does not exist, or is a folder: name a file with one JSON object a line.")
    found: Rows[Row] = Rows()
    with file.open("rb") as content:
        for number, line in enumerate(content, start=1):
            if not line.strip():
                continue
            try:
                row = parse(_object(line))
            except Malformed as error:
                found.leave_out(str(error), number)
            else:
                found.rows.append(row)
                found.lines.append(number)
    if not found.rows:
        raise InputError(f"{file} holds no row that can be used ({found.reasons() or 'it is empty'}).")
    return found


def parse_choice(content: dict[str, Any]) -> Choice:
    """A `Choice` of a parsed line; `Malformed` where it is none."""
    choices, answer = content.get("choices"), content.get("answer")
    if not isinstance(choices, list) or len(choices) < 2 or not all(map(_is_text, choices)) or not all(choices):
        raise Malformed("choices is not a list of at least two texts")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise Malformed("answer is not the number of a choice, counted from 0")
    return Choice(_prompt(content), tuple(choices), answer)


def parse_question(content: dict[str, Any]) -> Question:
    """A `Question` of a parsed line; `Malformed` where it is none."""
    answer = content.get("answer")
    given = answer if isinstance(answer, list) else [answer]
    answers = tuple(text.strip() for text in given if _is_text(text))
    if len(answers) < len(given) or not answers or not all(answers):
        raise Malformed("answer is neither a text nor a list of texts")
    return Question(_prompt(content), answers)


def parse_request(content: dict[str, Any]) -> Request:
    """A `Request` of a parsed line; `Malformed` where it is none."""
    seed = content.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63):
        raise Malformed("seed is no whole number from 0 up to 2^63 - 1")
    return Request(_prompt(content), seed)


def _object(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Malformed("it is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise Malformed("it is not JSON") from error
    if not isinstance(content, dict):
        raise Malformed("it is not a JSON object")
    return content


def _prompt(content: dict[str, Any]) -> str:
    prompt = content.get("prompt")
    if not _is_text(prompt):
        raise Malformed("prompt is not a text")
    return prompt


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string of whole characters: JSON can write half of a surrogate pair, which no tokenizer reads."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
