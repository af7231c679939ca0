"""`pedigree reproduce`: makes something again from its sources in an empty store, and says whether the bytes agree."""

import argparse
import time
from pathlib import Path
from typing import Any

from flows.commands.base import command, print_json, printable, say
from flows.figures import duration, progress

PROGRESS_SECONDS = 10.0
SHOWN = 10  # files, sources and causes on a terminal; --json has all


def add(commands: Any) -> None:
    about = "make something again from its sources, and compare the bytes"
    reproduce = command(commands, "reproduce", _reproduce, about, (
        "pedigree reproduce pedigree-aligned             stops at the first stage that differs\n"
        "  pedigree reproduce pretrain --home again       keeps what it makes, and goes on from there the next time\n"
        "  pedigree reproduce aligned@current --all --json"
    ), json_output=True)  # fmt: skip
    reproduce.description = (
        "Run everything that TARGET was made from again, from the sources, with the settings of its records, in an "
        "empty store, without servers. The verdict: identical bytes, or the first stage and file that differ and how. "
        "Exit code 0 if identical, 1 if not."
    )
    reproduce.add_argument("target", metavar="TARGET", help="as `pedigree lineage` takes it")
    reproduce.add_argument("--home", type=Path, metavar="DIR",
                           help="make it here and keep it; called again, it goes on (default: a temporary folder, "
                           "deleted at the end)")  # fmt: skip
    reproduce.add_argument("--all", action="store_true", help="go on after the first stage that differs")


def _reproduce(options: argparse.Namespace) -> int:
    from flows.reproducing import reproduce

    answer = reproduce(options.target, options.home, options.all, _Progress())
    if options.json:
        print_json(answer)
    else:
        _print(answer)
    return 0 if answer["identical"] else 1


class _Progress:
    """Lines on standard error: each stage as it ends, and now and then how far one is."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, told: dict[str, Any]) -> None:
        if "progress" in told:
            if time.monotonic() - self._last > PROGRESS_SECONDS:
                self._last = time.monotonic()
                say(f"{told['stage']}: {progress(told)}", to_stderr=True)
            return
        self._last = time.monotonic()
        if told["verdict"] in ("taken", "failed"):
            say(f"{told['stage']}: {printable(told['note'] or told['failed'])}", to_stderr=True)
            return
        how = "found" if told["found"] else f"made in {duration(told['seconds'])}"
        say(f"{told['stage']}: {how} ({duration(told['seconds_before'])} before), {told['verdict']}", to_stderr=True)


def _print(answer: dict[str, Any]) -> None:
    stages = answer["stages"]
    if answer["identical"]:
        say(f"Identical: all {len(stages)} stages gave the same bytes.")
    else:
        say(f"{answer['verdict'][0].upper()}{answer['verdict'][1:]}.")
    for stage in stages:
        if stage["verdict"] in ("different", "failed"):
            _print_stage(stage)
    not_made = [stage["stage"] for stage in stages if stage["verdict"] == "not made"]
    if not_made:
        say(f"Not made: {', '.join(not_made)}.")
    for note in answer["notes"]:
        say(f"Note: {note}.")
    for stage in stages:
        if stage["verdict"] == "identical" and stage["causes"]:
            from tasks.lineage.cause import Cause, sentences

            causes = sentences(Cause.model_validate(cause) for cause in stage["causes"])
            say(f"Note: {stage['stage']} gave the same bytes in spite of: {causes}.")
    if answer["home"]:
        say(f"What was made is in {answer['home']}.")


def _print_stage(stage: dict[str, Any]) -> None:
    from tasks.lineage.cause import Cause, sentence
    from tasks.reproduce.verdict import how

    say(f"{stage['stage']} {stage['expected'][:12]}:")
    if stage["failed"]:
        say(f"  could not be made: {printable(stage['failed'])}")
    if stage["accepted"]:
        say(f"  was accepted by {stage['accepted']['by']} in place of work: {printable(stage['accepted']['because'])}")
    lines = [sentence(Cause.model_validate(cause)) for cause in stage["causes"]]
    for what, uris in (stage["sources"] or {}).items():
        lines += [f"source {what}: {uri}" for uri in uris]
    lines += [f"{entry['name']}: {entry['old']} → {entry['new']}" for entry in stage["numerics"]]
    lines += [how(file) for file in stage["files"]]
    for line in lines[:SHOWN]:
        say(f"  {printable(line)}")
    if len(lines) > SHOWN:
        say(f"  and {len(lines) - SHOWN:,} more; --json has all")
