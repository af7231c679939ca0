"""What the commands share: how one is declared, and how its answer is printed."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from flows.errors import SettingsError

REPORT_SECONDS = 0.5


def command(
    commands: Any, name: str, action: Callable[[argparse.Namespace], int | None], about: str, example: str, *,
    json_output: bool = False,
) -> argparse.ArgumentParser:  # fmt: skip
    """Adds a command: `action` takes its options and gives its exit code; None is 0."""
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"examples:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    added.set_defaults(command=action)
    if json_output:
        added.add_argument("--json", action="store_true", help="print one JSON object")
    return added


def say(line: str, to_stderr: bool = False) -> None:
    print(line, flush=True, file=sys.stderr if to_stderr else sys.stdout)


def agreed(question: str) -> bool:
    """Whether the person at the terminal says yes. Where there is none, nothing was agreed to.

    Raises SettingsError there, so that a script does not think that the work was done.
    """
    if not sys.stdin.isatty():
        raise SettingsError("Nobody can be asked here: give --yes to go ahead, or --dry-run to only look.")
    print(f"{question} [y/N] ", end="", flush=True, file=sys.stderr)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def size(num_bytes: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, indent=2))


def print_json_lines(answer: dict[str, Any]) -> None:
    """One JSON object like `print_json`'s, with a line for each entry of its lists: four times as fast where there are
    thousands of them."""
    fields = []
    for name, value in answer.items():
        entries = ",\n".join(f"    {json.dumps(entry)}" for entry in value) if isinstance(value, list) else ""
        fields.append(f"  {json.dumps(name)}: " + (f"[\n{entries}\n  ]" if entries else json.dumps(value)))
    print("{\n" + ",\n".join(fields) + "\n}")


def short(value: object) -> str:
    """A value in one cell of a terminal."""
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "…"


def printable(text: str) -> str:
    """Text from elsewhere, on one line of a terminal: what would move the cursor or colour the rest is written out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class Progress:
    """Lines on standard error for what takes long; nothing for what does not."""

    def __init__(self) -> None:
        self._last: float | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._last is None:
            self._last = time.monotonic()
        if time.monotonic() - self._last >= REPORT_SECONDS and total:
            self._last = time.monotonic()
            print(f"{what}: {done / total:.0%}", file=sys.stderr, flush=True)
