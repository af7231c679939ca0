"""The command `pedigree`.

Answers go to standard output, progress of --json commands and every complaint to standard error. Exit codes: 0 done,
1 the run failed or something is damaged, 2 a setting or argument is wrong, 3 a server does not answer, 130 Ctrl-C.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import questions, runs, servers, status
from flows.errors import FlowError, ServerUnreachable
from flows.presets import FLOW_SECTIONS, PRESETS
from tasks.lineage.errors import PedigreeError
from tasks.tracking import mirror

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except (FlowError, PedigreeError) as error:
        print(f"pedigree: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, FlowError) else 1
    except KeyboardInterrupt:
        print("pedigree: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `pedigree lineage … | head`
        sys.stderr.close()
        return 0


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="pedigree",
        description="Trains a language model from raw text to PPO, and can say what it is made of.",
        epilog="State lives in ./.pedigree, or in the folder that PEDIGREE_HOME names.",
    )
    commands = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _command(commands, "up", _up, "start the Prefect server, the MLflow server and a worker, and apply deployments",
             "PEDIGREE_RETRAIN=on pedigree up")  # fmt: skip
    _command(commands, "down", _down, "end what `up` started, and nothing else", "pedigree down")
    _command(commands, "status", _status, "the latest run of each flow, and the servers", "pedigree status --json",
             json_output=True)  # fmt: skip
    run = _command(commands, "run", _run, "run a flow and follow it", (
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
    why = _command(commands, "why", _why, "why a stage ran again", "pedigree why pretrain", json_output=True)
    why.add_argument("stage", metavar="STAGE", help="such as pretrain")
    lineage = _command(commands, "lineage", _lineage, "everything that a model is made of",
                       "pedigree lineage pedigree-aligned --json", json_output=True)  # fmt: skip
    lineage.add_argument("target", metavar="MODEL", help="registered model, stage, or the beginning of a digest")
    lineage.add_argument("--documents", action="store_true",
                         help="count its documents by origin and licence; with --json, name every one")  # fmt: skip
    _command(commands, "verify", _verify, "hash every stored byte; exit 1 when one differs", "pedigree verify --json",
             json_output=True)  # fmt: skip
    _command(commands, "sync", _sync, "tell MLflow what it missed while it was away", "pedigree sync")
    return root


def _command(
    commands: Any, name: str, action: Callable[[argparse.Namespace], int | None], about: str, example: str, *,
    json_output: bool = False,
) -> argparse.ArgumentParser:  # fmt: skip
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"examples:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(command=action)
    if json_output:
        command.add_argument("--json", action="store_true", help="print one JSON object")
    return command


def _up(_: argparse.Namespace) -> None:
    running = servers.up(_say)
    _say(f"Prefect: {(running.prefect or '').removesuffix('/api')}\nMLflow:  {running.mlflow}")


def _down(_: argparse.Namespace) -> None:
    servers.down(_say)


def _status(options: argparse.Namespace) -> None:
    if options.json:
        _print_json(status.status())
    else:
        status.print_status(Console())


def _run(options: argparse.Namespace) -> None:
    runs.run(options.flow, options.preset, options.config, options.assignments, options.json)


def _why(options: argparse.Namespace) -> None:
    answer = questions.why(options.stage)
    if options.json:
        _print_json(answer)
    elif answer["first"]:
        _say(f"{options.stage} has run once, so there was nothing to reuse.")
    else:
        _say(f"{options.stage} ran at {answer['created']} because these differ from the time before:")
        for change in answer["changed"]:
            _say(f"  {change['what']}: {_short(change['before'])} -> {_short(change['after'])}")


def _documents(options: argparse.Namespace) -> None:
    answer = questions.documents(options.target)
    if options.json:
        _print_json(answer)
        return
    target = answer["target"]
    _say(f"{target['kind']} {target['digest'][:12]} of {target['stage']}: {answer['documents']:,} documents")
    for title, counts in (("licence", answer["licenses"]), ("origin", answer["origins"])):
        _say(f"by {title}:")
        for name, count in counts.items():
            _say(f"  {count:>9,}  {name}")


def _lineage(options: argparse.Namespace) -> None:
    if options.documents:
        _documents(options)
        return
    graph = questions.lineage(options.target)
    if options.json:
        _print_json(graph)
        return
    for node in graph["nodes"]:
        documents = f", {node['documents']['documents_kept']:,} documents" if node["documents"] else ""
        _say(f"{node['stage']:<12} {node['kind']} {node['digest'][:12]}{documents}")
        for source in (edge[0] for edge in graph["edges"] if edge[1] == node["id"]):
            name = next((other["stage"] for other in graph["nodes"] if other["id"] == source), "a record that is gone")
            _say(f"             from {name} {source[:12]}")


def _verify(options: argparse.Namespace) -> int:
    found = questions.verify()
    if options.json:
        _print_json(found)
    else:
        _say(f"{found['objects']} objects, {len(found['damaged'])} damaged, {len(found['missing'])} missing.")
        for entry in (*found["damaged"], *found["missing"]):
            problems = "; ".join(entry["problems"])
            _say(f"  {entry['stage']} {entry['digest'][:12]}: {problems}. The next run makes it again.")
    return 1 if found["damaged"] or found["missing"] else 0


def _sync(_: argparse.Namespace) -> None:
    if servers.name_mlflow() is None:
        raise ServerUnreachable("No MLflow server answers, so nothing was mirrored. `pedigree up` starts one.")
    _say(f"{mirror.sync()} runs were mirrored to MLflow.")


def _say(line: str) -> None:
    print(line, flush=True)


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, indent=2))


def _short(value: object) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "…"


if __name__ == "__main__":
    sys.exit(main())
