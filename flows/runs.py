"""`pedigree run`: starts a flow through its deployment, as the Run button in Prefect's UI does, and follows it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import overrides, servers
from flows.deploy import PRESET_TAG
from flows.environment import PROJECT
from flows.errors import FlowError, RunFailed
from flows.follow import LiveTable, PlainLines, follow
from flows.prefect_api import TERMINAL_STATES, PrefectApi, ui_address
from flows.processes import wait_until
from flows.status import status
from flows.summary import print_summary
from tasks.lineage import journal
from tasks.lineage.home import home

CANCEL_SECONDS = 60.0  # a training stage writes a checkpoint before it stops
WIDE = 200  # characters
GO_ON = "`pedigree run {flow}` goes on from there: finished stages are kept, the current one has its checkpoint."


def run(flow: str, preset: str, config: Path | None, assignments: list[str], as_json: bool) -> None:
    """Starts the servers if need be, triggers the deployment, follows the run, and prints how it ended.

    Raises FlowError when it did not end well.
    """
    parameters = overrides.parameters(flow, preset, config, assignments)
    if flow == "forget":
        from tasks.forget.exclusions import ExcludeConfig  # here, since it loads what other flows do without

        ExcludeConfig.model_validate(parameters.get("exclude", {})).check_named()
    if Path.cwd() != PROJECT:  # where the flow runs; the user's relative paths start from here
        parameters = overrides.merge({"resources": {"root": str(Path.cwd())}}, parameters)
    console = console_for(as_json)
    entry, running = launch(flow, preset, parameters, console)
    if as_json:
        json.dump(status(), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        assert running.prefect and running.mlflow
        print_summary(console, entry, ui_address(running.prefect), running.mlflow)


def launch(
    flow: str, preset: str, parameters: dict[str, Any], console: Console
) -> tuple[dict[str, Any], servers.Servers]:
    """Triggers the flow's deployment and follows the run to its good end; gives its entry in the journal.

    Raises FlowError when it did not end well.
    """
    running = servers.up(lambda line: console.print(line, highlight=False))
    assert running.prefect and running.mlflow
    os.environ["MLFLOW_TRACKING_URI"] = running.mlflow  # for the addresses of its pages
    api = PrefectApi(running.prefect)
    started = start(api, flow, preset, parameters)
    console.print(f"Started {started['name']}: {ui_address(running.prefect)}/runs/flow-run/{started['id']}",
                  soft_wrap=True, highlight=False)  # fmt: skip
    view = LiveTable(console) if console.is_terminal else PlainLines(console)
    try:
        with view:
            ended = follow(api, started["id"], view, servers.worker_alive)
    except KeyboardInterrupt:
        cancel(api, started["id"], lambda line: console.print(line, highlight=False))
        raise RunFailed(f"Cancelled. {GO_ON.format(flow=flow)}") from None
    finish(flow, ended)
    entry = journal.read_flow(ended["id"])
    assert entry is not None
    return entry, running


def console_for(as_json: bool) -> Console:
    """Where people read; wide where nobody measures the window, so that addresses stay whole."""
    console = Console(stderr=as_json)
    return console if console.is_terminal else Console(stderr=as_json, width=WIDE)


def start(api: PrefectApi, flow: str, preset: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The flow run that the deployment created. A preset without a deployment of its own runs as changes to `demo`."""
    deployment = api.deployment(flow, preset) or api.deployment(flow, "demo")
    if deployment is None:
        raise FlowError(f"The flow `{flow}` is not deployed. `pedigree down`, then `pedigree up`, deploys it again.")
    return api.create_flow_run(deployment["id"], parameters, [f"{PRESET_TAG}{preset}"])


def cancel(api: PrefectApi, flow_run_id: str, report: Callable[[str], None]) -> None:
    """Asks Prefect to stop the run and waits until it has stopped. A second Ctrl-C stops the waiting only."""
    report("Stopping the run (Ctrl-C again to stop waiting for it) …")
    api.set_state(flow_run_id, "CANCELLING", "Ctrl-C in `pedigree run`")

    def stopped() -> bool:
        run = api.flow_run(flow_run_id)
        return run is None or run["state"]["type"] in TERMINAL_STATES

    if not wait_until(stopped, timeout=CANCEL_SECONDS):
        report("It has not stopped yet; Prefect's page shows when it has.")


def finish(flow: str, ended: dict[str, Any]) -> None:
    """Raises RunFailed, naming the stage at fault, unless the run completed."""
    state = ended["state"]
    if state["type"] == "COMPLETED":
        return
    entry = journal.read_flow(ended["id"])
    stages = entry["stages"] if entry else {}
    failed = [f"{name}: {stage.get('error')}" for name, stage in stages.items() if stage["state"] == "failed"]
    reason = "\n".join(failed) or (entry or {}).get("error") or state.get("message") or "no reason was given"
    if state["type"] == "FAILED":
        hint = "Mend it and run again: what is finished is kept."
    elif state["type"] == "CRASHED":
        hint = f"Its process ended without a word (killed, or out of memory). {GO_ON.format(flow=flow)}"
    else:
        hint = GO_ON.format(flow=flow)
    logs = home() / "logs" / "worker.log"
    raise RunFailed(f"The flow run ended {state['name']}.\n{reason}\n{hint}\nIts log: {logs}")
