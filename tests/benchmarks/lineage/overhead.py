"""The engine's share of a run's time: all that is not inside a stage's own function.

Measured on the `test` preset, whose stages are real and small: the course is run in one process, its wall time less
that of the stage functions is the engine's (keys, code digests, locks, hashing, records). What grows with a run is
the hashing and storing of outputs, so that is measured apart, per byte, and a demo run's bytes are put in. Prefect and
MLflow are in it where `home` holds a finished run of the flow `train`: there the time of the whole flow run is known,
and so is each stage's work; the rest is orchestration, mirror and engine together.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

DEMO_BYTES = 400e6  # outputs of a demo run: text three times over, tokens, four models
DEMO_SECONDS = 20 * 60.0  # of the shortest demo run; a longer one makes the share smaller
TARGET = 0.02
Say = Callable[[str], Any]


def measure(demo_home: Path | None, folder: Path, say: Say) -> dict[str, Any]:
    """{"stages": …, "functions": seconds, "engine": seconds, …, "extrapolated": share, "measured": share or None}"""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say("Running the test preset to see what the engine takes of it …")
    environment = {**os.environ, "PEDIGREE_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    output = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.lineage.overhead"], env=environment, check=True, capture_output=True
    ).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    grown = found["commit_seconds"] / max(found["bytes"], 1) * DEMO_BYTES
    fixed = found["engine"] - found["commit_seconds"]
    found |= {
        "demo_seconds": DEMO_SECONDS, "demo_bytes": DEMO_BYTES, "fixed": round(fixed, 3), "by_bytes": round(grown, 3),
        "extrapolated": round((fixed + grown) / DEMO_SECONDS, 5), "target": TARGET,
        "measured": _measured(demo_home) if demo_home else None,
    }  # fmt: skip
    return found


def show(found: dict[str, Any], say: Say) -> None:
    say(
        f"Engine overhead: test preset {found['engine']:.2f} s beside {found['functions']:.1f} s in stages; of a demo "
        f"run of {found['demo_seconds'] / 60:.0f} minutes {found['extrapolated']:.2%} (extrapolated, without servers); "
        f"cached course {found['cached']:.2f} s."
    )
    if found["measured"]:
        measured = found["measured"]
        say(
            f"Measured on a real run ({measured['seconds']:.0f} s), with Prefect and MLflow: {measured['share']:.2%} "
            f"outside the stages' work, of which storing is inside; target {TARGET:.0%}."
        )


def _measured(demo_home: Path) -> dict[str, float] | None:
    """Of the latest `train` run in which every stage did its work: time of the flow run outside the stages' work."""
    os.environ["PEDIGREE_HOME"] = str(demo_home)
    from tasks.lineage import journal
    from tasks.lineage.store import Store

    store = Store(demo_home)
    for flow in journal.flows().values():
        stages = list(flow["stages"].values())
        if flow["flow"] != "train" or not flow.get("ended") or any(stage["state"] != "ran" for stage in stages):
            continue
        records = [record for stage in stages if (record := store.record(stage["key"])) is not None]
        ended, started = (datetime.fromisoformat(flow[end]) for end in ("ended", "started"))
        seconds = (ended - started).total_seconds()
        work = sum(record.wall_seconds for record in records)
        return {"seconds": seconds, "work": work, "share": 1 - work / seconds, "stages": float(len(records))}
    return None


def _run() -> dict[str, Any]:
    """The test preset, twice, in this process; the time of each stage's function is taken apart."""
    from flows import course
    from flows.presets import PRESETS
    from flows.settings import Settings
    from tasks.lineage.store import Store
    from tasks.stage import Stage

    inside: dict[str, float] = {}
    commits: list[float] = []

    def timed(name: str, function: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: Any, **named: Any) -> None:
            began = time.perf_counter()
            try:
                function(*arguments, **named)
            finally:
                inside[name] = inside.get(name, 0.0) + time.perf_counter() - began

        return run

    began = time.perf_counter()
    for declared in vars(course).values():
        if isinstance(declared, Stage):
            recipe = declared.recipe
            assert recipe.name and recipe.signature and recipe.parameters and recipe.config_type
            assert recipe.code and recipe.versions  # of the function as it is, before another stands in its place
            wrapped = timed(recipe.name, recipe.function)
            wrapped.__name__ = recipe.name
            object.__setattr__(recipe, "function", wrapped)
    commit = Store.commit

    def timed_commit(self: Store, folder: Path, kind: str) -> Any:
        start = time.perf_counter()
        output = commit(self, folder, kind)
        commits.append(time.perf_counter() - start)
        return output

    Store.commit = timed_commit  # type: ignore[method-assign]
    settings = Settings.model_validate({**PRESETS["test"], "resources": {"threads": 1}})
    course.train_course(settings)
    total, functions = time.perf_counter() - began, sum(inside.values())
    written = sum(record.output.size for record in Store().records())
    inside.clear()
    began = time.perf_counter()
    course.train_course(settings)
    cached = time.perf_counter() - began - sum(inside.values())
    return {
        "stages": len(commits), "total": round(total, 3), "functions": round(functions, 3),
        "engine": round(total - functions, 3), "commit_seconds": round(sum(commits[:12]), 3), "bytes": written,
        "cached": round(cached, 3),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(_run()))
