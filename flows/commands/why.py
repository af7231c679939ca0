"""`pedigree why`: what a flow would do if it were started now, and what differs from what was made before."""

import argparse
import gc
from pathlib import Path
from typing import Any

from flows.commands.base import command, print_json, say
from flows.declared import with_declarations
from flows.presets import FLOW_SECTIONS, PRESETS

COLOURS = {"cached": "green", "would run": "yellow", "ran": "yellow", "blocked": "cyan", "failed": "red"}


def add(commands: Any) -> None:
    why = command(commands, "why", _why, "what a run would do now, stage by stage, and why", (
        "pedigree why                                   the whole course: what is cached, what would run, and why\n"
        "  pedigree why rank --set rank.max_prompts=50    one stage, with other settings\n"
        "  pedigree why train --last                      why the stages of the latest run ran"
    ), json_output=True)  # fmt: skip
    why.add_argument("target", nargs="?", default="train", metavar="FLOW",
                     help=f"{', '.join(FLOW_SECTIONS)}, or a stage (default: train)")  # fmt: skip
    settings_options(why)
    why.add_argument("--no-look", action="store_true",
                     help="do not look at the sources; take them to be as they were")  # fmt: skip
    why.add_argument("--last", action="store_true", help="why the latest run did what it did")


def settings_options(parser: argparse.ArgumentParser) -> None:
    """The options that `pedigree run` has."""
    parser.add_argument("--preset", default="demo", metavar="P", help=f"{', '.join(PRESETS)} (default: demo)")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings as YAML, TOML or JSON: {stage: {field: value}}"
    )
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="STAGE.FIELD=VALUE",
                        help="one setting; may be repeated; the last one wins")  # fmt: skip


def _why(options: argparse.Namespace) -> None:
    gc.disable()  # a short life that makes many objects and lets go of few
    answer = with_declarations(lambda planning: _answer(planning, options))
    if options.json:
        print_json(answer)
    else:
        _print(answer)


def _answer(planning: Any, options: argparse.Namespace) -> dict[str, Any]:
    if options.last:
        answer = planning.why_last(options.target)
    else:
        answer = planning.why(
            options.target, options.preset, options.config, options.assignments, look=not options.no_look
        )
    return dict(answer)


def _print(answer: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.table import Table
    from rich.text import Text

    from tasks.lineage.cause import Acceptance, Cause, accepted_sentence, sentence

    console = Console()
    table = Table(title=answer["flow"], title_justify="left")
    for column in ("stage", "verdict", "why"):
        table.add_column(column, overflow="fold")
    diffs: list[tuple[str, Cause]] = []
    for stage in answer["stages"]:
        causes = [Cause.model_validate(cause) for cause in stage["causes"]]
        lines = [sentence(cause) for cause in causes]
        if stage.get("accepted"):
            lines.append(accepted_sentence(Acceptance.model_validate(stage["accepted"])))
        lines += [f"{name}: {declared}" for name, declared in stage["declared"].items()]
        if stage.get("assumed"):
            lines.append(f"assumed: {stage['assumed']}")
        colour = COLOURS.get(stage["verdict"], "white")
        table.add_row(stage["stage"], f"[{colour}]{stage['verdict']}[/]", Text("\n".join(lines)))
        diffs += [(stage["stage"], cause) for cause in causes if cause.kind == "code"]
    console.print(table)
    for stage, cause in diffs:
        say(f"\n{stage}: {cause.name}" + (f" ({cause.note})" if cause.note else ""))
        if cause.diff:
            console.print(Syntax(cause.diff, "diff", background_color="default", word_wrap=True))
