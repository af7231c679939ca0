"""Applies `deployments/prefect.yaml` to a Prefect server: deployments, schedule, pool limit, heartbeat rule."""

import hashlib
import os
import subprocess
import sys
from typing import Any

from flows import environment
from flows.errors import ServerFailed
from flows.prefect_api import PrefectApi

PREFECT_FILE = environment.PROJECT / "deployments" / "prefect.yaml"
SCHEDULED = ("retrain", "demo")
PRESET_TAG = "preset:"  # a flow run carries the name of its preset in such a tag
SCHEDULE_SWITCH = "PEDIGREE_RETRAIN"
ZOMBIE_RULE = "Pedigree: a run that stopped beating has crashed"
_ENDINGS = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended", "Scheduled", "Late", "AwaitingRetry")


def fingerprint(prefect_url: str) -> str:
    """Changes when anything that shapes the deployments does: the file, the flows, the stages' forms, the switch."""
    digest = hashlib.sha256(f"{prefect_url}\0{os.environ.get(SCHEDULE_SWITCH, '')}".encode())
    sources = [PREFECT_FILE, *sorted((environment.PROJECT / "flows").glob("*.py"))]
    sources += sorted((environment.PROJECT / "tasks").glob("*.py"))
    sources.append(environment.PROJECT / "tasks" / "forget" / "exclusions.py")
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def pool_ready(api: PrefectApi) -> bool:
    """Whether the worker has made its pool and said what settings it takes."""
    pool: dict[str, Any] | None = api.call("GET", f"/work_pools/{environment.WORK_POOL}")
    return bool(pool and pool.get("base_job_template"))


def apply(prefect_url: str, mlflow_url: str) -> None:
    """Runs `prefect deploy`, then sets what its file cannot say. The schedule stays on or off as it was."""
    api = PrefectApi(prefect_url)
    active = _switch(_schedules(api))
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "prefect", "--no-prompt", "deploy"),
            *("--prefect-file", str(PREFECT_FILE), "--all"),
        ],
        env=environment.client_environment(prefect_url, mlflow_url),
        cwd=environment.PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise ServerFailed(f"deployments/prefect.yaml could not be applied:\n{finished.stdout}\n{finished.stderr}")
    deployment = api.deployment(*SCHEDULED)
    for schedule in _schedules(api):
        assert deployment is not None
        api.call("PATCH", f"/deployments/{deployment['id']}/schedules/{schedule['id']}", {"active": active})
    # One flow at a time: two trainings would fight for the same cores and memory.
    api.call("PATCH", f"/work_pools/{environment.WORK_POOL}", {"concurrency_limit": 1})
    _crash_zombies(api)


def _schedules(api: PrefectApi) -> list[dict[str, Any]]:
    deployment = api.deployment(*SCHEDULED)
    return list(deployment["schedules"]) if deployment else []


def _switch(schedules: list[dict[str, Any]]) -> bool:
    """PEDIGREE_RETRAIN=on|off decides; without it, a toggle made in the UI is kept; at first it is off."""
    setting = os.environ.get(SCHEDULE_SWITCH, "").lower()
    if setting in ("on", "off"):
        return setting == "on"
    if setting:
        raise ServerFailed(f"{SCHEDULE_SWITCH} is {setting!r}; it takes `on` or `off`.")
    return any(schedule["active"] for schedule in schedules)


def _crash_zombies(api: PrefectApi) -> None:
    """A machine that dies leaves its run Running for ever; this rule marks it Crashed when its heartbeat stops."""
    known = api.call("POST", "/automations/filter", {"automations": {"name": {"any_": [ZOMBIE_RULE]}}})
    if known:
        return
    heartbeat = "prefect.flow-run.heartbeat"
    rule = {
        "name": ZOMBIE_RULE,
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
            "for_each": ["prefect.resource.id"],
            "after": [heartbeat],
            "expect": [heartbeat, *(f"prefect.flow-run.{ending}" for ending in _ENDINGS)],
            "threshold": 1,
            "within": environment.HEARTBEAT_LIMIT_SECONDS,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "message": "No heartbeat. Start the flow again: it goes on from where it was.",
            }
        ],
    }
    api.call("POST", "/automations/", rule)
