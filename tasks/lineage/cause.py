"""One reason why a stage ran or would run, as data and as a line of text; and what a person accepted instead."""

import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

OUTSIDE_WORLD = "outside world"
_SHORT = 60  # characters of a value in a line of text


class Cause(BaseModel):
    """One thing that differs: `old` in the nearest earlier record, `new` now. None where there is nothing.

    kind and name: of an input, its parameter; of settings, the field; of code, "module:definition"; of a dependency,
    the library; of damage, the file and what is wrong with it.
    stage: where the change was made, if that is not the stage which it makes run.
    upstream: the stage that makes the input. because: the changes behind a changed input, each with its `stage`.
    diff: unified diff of the normalised source. note: what a reader has to know beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["input", "config", "code", "dependency", "first run", "damaged"]
    name: str
    old: Any = None
    new: Any = None
    stage: str | None = None
    upstream: str | None = None
    because: tuple["Cause", ...] = ()
    diff: str | None = None
    note: str | None = None

    @model_serializer(mode="wrap")
    def _without_empty_fields(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = plain(self)
        return {name: value for name, value in written.items() if name in ("kind", "name", "old", "new") or value}


class Acceptance(BaseModel):
    """A person's word that an existing output stands for a key whose code or libraries changed.

    stands_on: key of the record whose output it is. changed: "code module:definition" or "dependency library".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    at: str
    because: str
    stands_on: str
    changed: tuple[str, ...]


def sentence(cause: Cause) -> str:
    """A cause in one line: "setting minutes: 40 → 50"."""
    where = f"{cause.stage}: " if cause.stage else ""
    change = f"{_short(cause.old)} → {_short(cause.new)}"
    if cause.kind == "config" and cause.note:
        return f"{where}{cause.note}"
    if cause.kind == "config":
        return f"{where}setting {cause.name}: {change}"
    if cause.kind == "dependency":
        return f"{where}{cause.name} {change}"
    if cause.kind == "code":
        fate = "is new" if cause.old is None else "is gone" if cause.new is None else "changed"
        return f"{where}code {cause.name} {fate}"
    if cause.kind == "first run":
        return f"{where}never ran before"
    if cause.kind == "damaged":
        return f"{where}its stored output is damaged: {cause.name}"
    if cause.name == OUTSIDE_WORLD:
        return f"{where}what it reads outside changed" + (f" ({cause.note})" if cause.note else "")
    source = f" from {cause.upstream}" if cause.upstream else ""
    fate = "is yet to be made" if cause.new is None else "changed"
    return f"{where}input {cause.name}{source} {fate}" + _reasons(cause.because)


def sentences(causes: Iterable[Cause]) -> str:
    """All causes in one line."""
    return "; ".join(sentence(cause) for cause in causes)


def accepted_sentence(acceptance: Acceptance) -> str:
    """An acceptance in one line."""
    return (
        f"accepted by {acceptance.by} on {acceptance.at[:10]}: {acceptance.because} "
        f"(stands on {acceptance.stands_on[:12]} in spite of {', '.join(acceptance.changed)})"
    )


def _reasons(causes: Iterable[Cause]) -> str:
    text = sentences(causes)
    return f" ({text})" if text else ""


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
