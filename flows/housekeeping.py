"""What `pedigree gc` keeps, and why: models in MLflow's registry, pins, recent runs, the exclusion list."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows import servers
from flows.errors import ServerUnreachable
from flows.targets import resolve
from tasks.lineage import journal
from tasks.lineage.files import write_atomically
from tasks.lineage.gc import Sweep, survey, sweep
from tasks.lineage.headers import Header, headers
from tasks.lineage.home import home
from tasks.lineage.lock import locked_now
from tasks.lineage.store import Store
from tasks.tracking import retraction

DAY = 86_400.0
PINS = "pins.json"


@dataclass(frozen=True)
class Keep:
    """days, runs: of flow runs, those within so many days, and the last so many of each flow."""

    days: float
    runs: int
    ask_mlflow: bool = True


def survey_store(keep: Keep) -> Sweep:
    """What would be deleted. Raises ServerUnreachable where MLflow may hold on to models and does not answer."""
    store = Store()
    return survey(store, roots(store, keep), keep.days * DAY)


def sweep_store(keep: Keep, shown: Sweep) -> Sweep:
    """Delete what was shown and still nothing needs; gives what is gone. One at a time: another is waited out."""
    store = Store()
    with locked_now(store.root / "locks" / "gc") as held:
        if not held:
            raise ServerUnreachable("Another `pedigree gc` is at work on this store; try again when it is done.")
        return sweep(store, shown.also_in(survey_store(keep)))


def roots(store: Store, keep: Keep) -> dict[str, set[str]]:
    """Reason → digests of outputs that are kept with all they were made from."""
    models = aliased_models() if keep.ask_mlflow else {}
    runs, recent = _of_runs(keep), time.time() - keep.days * DAY
    known = headers(store)
    made = (header for header in known if not header.superseded)
    records = {header.digest for header in made if _seconds(header.created) > recent}
    return {
        "models that MLflow holds on to": set(models),
        "pins": {pinned["digest"] for pinned in pins()},
        "recent flow runs": runs,
        "recent work outside flows": records,
        "the exclusion list": _exclusions(),
        "adopted, so that nothing here can make it again": _adopted(store, known),
    }


def aliased_models() -> dict[str, list[str]]:
    """By digest, what holds on to a model in MLflow. Raises ServerUnreachable if that cannot be told."""
    servers.name_mlflow()
    found = retraction.aliased()
    if found is None and retraction.was_used():
        raise ServerUnreachable(
            "MLflow does not answer, so which models it holds on to cannot be told. Start it with `pedigree up`, or "
            "give --without-mlflow to go by pins and recent runs alone."
        )
    return found or {}


def _of_runs(keep: Keep) -> set[str]:
    """The outputs that recent and running flows made or found."""
    by_flow: dict[str, list[dict[str, Any]]] = {}
    for entry in journal.flows().values():
        by_flow.setdefault(entry.get("flow", ""), []).append(entry)
    found: set[str] = set()
    for entries in by_flow.values():
        entries.sort(key=lambda entry: entry.get("started") or "", reverse=True)
        for number, entry in enumerate(entries):
            fresh = _seconds(entry["started"]) > time.time() - keep.days * DAY if entry.get("started") else True
            if number < keep.runs or fresh or entry["state"] == "running":
                found |= {stage["output"] for stage in entry["stages"].values() if stage.get("output")}
    return found


def _exclusions() -> set[str]:
    from tasks.forget.exclusions import current  # brings pyarrow

    listed = current()
    return {listed.digest} if listed else set()


def _adopted(store: Store, known: Sequence[Header]) -> set[str]:
    found = (store.maker(header.artifact) for header in known if header.stage.startswith("adopt_"))
    return {record.output.digest for record in found if record is not None and record.declared is not None}


def pins() -> list[dict[str, str]]:
    """[{"target", "digest"}]: what was pinned by hand."""
    try:
        found: list[dict[str, str]] = json.loads((home() / PINS).read_bytes())
    except FileNotFoundError:
        return []
    return found


def pin(targets: Sequence[str], unpinned: Sequence[str]) -> list[dict[str, str]]:
    """Adds and removes pins; gives those there are then. Raises NothingFound for an unknown target."""
    added = [{"target": target, "digest": resolve(target).output.digest} for target in targets]
    digests = {entry["digest"] for entry in added}
    kept = [
        entry for entry in pins()
        if entry["digest"] not in digests
        and not any(entry["target"] == name or entry["digest"].startswith(name) for name in unpinned)
    ]  # fmt: skip
    write_atomically(home() / PINS, json.dumps([*kept, *added], indent=1).encode())
    return [*kept, *added]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
