"""Finds what earlier flows made: the latest output of a stage, the one whose digest a user names, the latest course."""

from collections.abc import Collection
from operator import itemgetter
from typing import Any

from flows.errors import NothingFound
from flows.presets import STAGES
from tasks.lineage import journal
from tasks.lineage.headers import Header, headers
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.tracking.model_names import MODEL_NAMES

DONE = ("ran", "cached")
SHOWN = 5
MODEL_PREFIX = "pedigree-"
MODEL_STAGES = {name.removeprefix(MODEL_PREFIX): stage for stage, name in MODEL_NAMES.items()}

REBUILT = {"train": "train", "retrain": "train", "forget": "train", "data": "data"}
"""Flow whose settings can be taken again → what is rebuilt with them."""


def course(holding: Collection[str] = ()) -> dict[str, Any] | None:
    """The journal's entry of the latest flow run that made the data and whose settings can be taken again.

    holding: digests of outputs; a run that made or met one of them goes before all others. A course goes before a run
    of the data alone, and one that completed before one that was broken off.
    """
    entries = [entry for entry in journal.flows().values() if entry.get("flow") in REBUILT and entry.get("settings")]
    return max(
        entries,
        key=lambda entry: (
            not {stage.get("output") for stage in entry["stages"].values()}.isdisjoint(holding),
            rebuilt(entry) == "train",
            entry.get("state") == "completed",
            entry.get("started") or "",
        ),
        default=None,
    )


def rebuilt(entry: dict[str, Any]) -> str:
    """What is rebuilt with a flow run's settings: "train", the whole course, or "data". After `forget`, as it did."""
    told = entry["settings"].get("exclude", {}) if entry["flow"] == "forget" else {}
    return str(told.get("rebuild", REBUILT[entry["flow"]]))


def met(entry: dict[str, Any] | None) -> dict[str, Record]:
    """Stage → the record that a flow run made or found, where the stage was done; for None the latest of each stage."""
    if entry is None:
        return {stage: record for stage in STAGES if (record := latest(stage)) is not None}
    store = Store()
    keys = {
        name: stage["key"] for name, stage in entry["stages"].items() if stage["state"] in DONE and stage.get("key")
    }
    return {stage: record for stage in STAGES if stage in keys and (record := store.record(keys[stage])) is not None}


def latest(stage: str) -> Record | None:
    """The record that the most recent flow run met in this stage, made by it or found cached.

    Falls back on the newest record where no flow run tells.
    """
    entries = [flow["stages"].get(stage) for flow in journal.latest_flows().values()]
    done = [entry for entry in entries if entry and entry["state"] in DONE and entry.get("key")]
    store = Store()
    for entry in sorted(done, key=lambda entry: entry.get("ended") or "", reverse=True):
        if record := store.record(entry["key"]):
            return record
    made = [header for header in headers(store) if header.stage == stage and not header.superseded]
    newest = max(made, key=lambda header: header.created, default=None)
    return store.record(newest.key) if newest else None


def named(stage: str, digest: str | None, *others: str) -> Record:
    """The record of a stage whose output or key begins with `digest`; the latest for None. Raises NothingFound.

    others: stages whose outputs can be named instead.
    """
    if not digest:
        found = latest(stage)
        if found is None:
            raise NothingFound(f"No {stage} has been made yet. `pedigree run train` makes one.")
        return found
    wanted, store = digest.lower(), Store()
    made = [header for header in headers(store) if header.stage in (stage, *others)]
    matches = [header for header in made if _begins(header, wanted)]
    if not matches:
        newest = sorted({header.digest: header.created for header in made}.items(), key=itemgetter(1), reverse=True)
        known = ", ".join(other[:12] for other, _ in newest[:SHOWN])
        raise NothingFound(
            f"No output of {' or '.join((stage, *others))} has a digest beginning with {digest!r}. "
            + (f"The newest are {known}." if known else "None was made or adopted yet.")
        )
    if len({header.digest for header in matches}) > 1:
        raise NothingFound(f"Several outputs of {stage} have a digest beginning with {digest!r}; give more of it.")
    found = store.maker(max(matches, key=lambda header: (not header.superseded, header.created)).artifact)
    if found is None:
        raise NothingFound(f"The record of {stage} {digest!r} was removed while it was looked for.")
    return found


def _begins(header: Header, prefix: str) -> bool:
    return header.digest.startswith(prefix) or header.key.startswith(prefix)
