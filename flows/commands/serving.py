"""`pedigree up`, `down`, `status`, `run`, `sync`: servers, and flows that run on them."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import runs, servers, status
from flows.commands.base import command, print_json, say
from flows.errors import ServerUnreachable
from flows.presets import FLOW_SECTIONS, PRESETS
from tasks.tracking import mirror


def add(commands: Any) -> None:
    command(commands, "up", _up, "start the Prefect server, the MLflow server and a worker, and apply deployments",
            "PEDIGREE_RETRAIN=on pedigree up")  # fmt: skip
    command(commands, "down", _down, "end what `up` started, and nothing else", "pedigree down")
    command(commands, "status", _status, "the latest run of each flow, and the servers", "pedigree status --json",
            json_output=True)  # fmt: skip
    run = command(commands, "run", _run, "run a flow and follow it", (
        "pedigree run                                        the whole course\n"
        "  pedigree run train --preset test                    the same in seconds\n"
        "  pedigree run train --set pretrain.steps=100\n"
        "  pedigree run data --config my.yaml                  your own text: see README"
    ), json_output=True)  # fmt: skip
    run.add_argument(
        "flow", nargs="?", default="train", metavar="FLOW", help=f"{', '.join(FLOW_SECTIONS)} (default: train)"
    )
    run.add_argument("--preset", default="demo", metavar="P", help=f"{', '.join(PRESETS)} (default: demo)")
    run.add_argument(
        "--config", type=Path, metavar="FILE", help="settings as YAML, TOML or JSON: {stage: {field: value}}"
    )
    run.add_argument("--set", action="append", default=[], dest="assignments", metavar="STAGE.FIELD=VALUE",
                     help="one setting; may be repeated; the last one wins")  # fmt: skip
    command(
        commands, "sync", _sync, "tell MLflow and OpenLineage what they missed while they were away", "pedigree sync"
    )


def _up(_: argparse.Namespace) -> None:
    running = servers.up(say)
    say(f"Prefect: {(running.prefect or '').removesuffix('/api')}\nMLflow:  {running.mlflow}")


def _down(_: argparse.Namespace) -> None:
    servers.down(say)


def _status(options: argparse.Namespace) -> None:
    if options.json:
        print_json(status.status())
    else:
        status.print_status(Console())


def _run(options: argparse.Namespace) -> None:
    runs.run(options.flow, options.preset, options.config, options.assignments, options.json)


def _sync(_: argparse.Namespace) -> None:
    from tasks.openlineage import emit  # brings the engine, which the other commands do without

    sent, left, trouble = emit.sync()
    if sent or left:
        say(f"{sent} events were sent to OpenLineage" + (f", {left} wait still." if left else "."))
    wrong = [f"OpenLineage: {trouble}. Mend that and call this again; {left} events wait."] if trouble else []
    if servers.name_mlflow() is None:
        wrong.append("No MLflow server answers, so nothing was mirrored. `pedigree up` starts one.")
    else:
        say(f"{mirror.sync()} runs were mirrored to MLflow.")
    if wrong:
        raise ServerUnreachable("\n".join(wrong))
