"""What the commands share: how one is declared, and how its answer is printed."""

import argparse
import json
from collections.abc import Callable
from typing import Any


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


def say(line: str) -> None:
    print(line, flush=True)


def print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, indent=2))


def short(value: object) -> str:
    """A value in one cell of a terminal."""
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "…"
