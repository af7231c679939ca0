"""`pedigree why`: why a stage ran again."""

import argparse
from typing import Any

from flows import questions
from flows.commands.base import command, print_json, say, short


def add(commands: Any) -> None:
    why = command(commands, "why", _why, "why a stage ran again", "pedigree why pretrain", json_output=True)
    why.add_argument("stage", metavar="STAGE", help="such as pretrain")


def _why(options: argparse.Namespace) -> None:
    answer = questions.why(options.stage)
    if options.json:
        print_json(answer)
    elif answer["first"]:
        say(f"{options.stage} has run once, so there was nothing to reuse.")
    else:
        say(f"{options.stage} ran at {answer['created']} because these differ from the time before:")
        for change in answer["changed"]:
            say(f"  {change['what']}: {short(change['before'])} -> {short(change['after'])}")
