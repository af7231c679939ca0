"""`pedigree accept`: take an existing output although code or libraries changed, and say why."""

import argparse
from typing import Any

from flows.commands.base import command, print_json, say
from flows.commands.why import settings_options


def add(commands: Any) -> None:
    accept = command(commands, "accept", _accept, "take an existing output although code or libraries changed", (
        'pedigree accept pretrain --because "renamed a helper; same losses for 100 steps"\n'
        '  pedigree accept finetune reward --because "numpy 2.4.5 → 2.4.6" --preset test'
    ), json_output=True)  # fmt: skip
    accept.add_argument(
        "stages", nargs="+", metavar="STAGE", help="such as pretrain; `pedigree why` shows what changed"
    )
    accept.add_argument("--because", required=True, metavar="TEXT", help="the reason, shown with the output ever after")
    settings_options(accept)


def _accept(options: argparse.Namespace) -> None:
    from flows import planning  # loads the stages

    answer = planning.accept(options.stages, options.because, options.preset, options.config, options.assignments)
    if options.json:
        print_json(answer)
        return
    for taken in answer["accepted"]:
        say(
            f"{taken['stage']}: {taken['digest'][:12]} is taken, in spite of {', '.join(taken['changed'])}.\n"
            "Its lineage, and that of all that is made from it, says so from now on."
        )
