"""What has to be done to make something again: the work of all its ancestors, in order, as their records have it."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.lineage import journal
from tasks.lineage.ancestry import ancestors
from tasks.lineage.artifact import Artifact
from tasks.lineage.config import Resources
from tasks.lineage.errors import NotFound
from tasks.lineage.record import Record
from tasks.lineage.store import Store


class Step(BaseModel):
    """One stage to run again. `inputs`: flat name → number of the step that makes it. `expected`: digest it had.

    taken: the artifact itself, where it cannot be made again and is taken as it is.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    inputs: dict[str, int]
    config: dict[str, Any]
    resources: Resources
    expected: str
    taken: Artifact | None = None


def in_order(store: Store, targets: Iterable[Record]) -> tuple[list[Record], list[dict[str, int]]]:
    """Everything that the targets were made from, and they, each after its inputs, the oldest first where that is
    free; and of each its inputs: flat name → place in the list.

    Raises NotFound where the record of an input is gone, so that nobody knows how it was made.
    """
    nodes: dict[tuple[str, str], Record] = {}
    for target in targets:
        for record in ancestors(store, target)["nodes"].values():
            nodes.setdefault(_identity(record.artifact), record)
    children: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    waiting: dict[tuple[str, str], int] = {}
    for name, record in nodes.items():
        made_from = {_identity(artifact) for artifact in record.inputs.values()}
        gone = [given for given, artifact in record.inputs.items() if _identity(artifact) not in nodes]
        if gone:
            raise NotFound(
                f"how the input {gone[0]} of {record.stage} {record.output.digest[:12]} was made is not known: its "
                "record is gone from the store"
            )
        waiting[name] = len(made_from)
        for parent in made_from:
            children[parent].append(name)
    ready = [(nodes[name].created, nodes[name].stage, name) for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    place: dict[tuple[str, str], int] = {}
    while ready:
        _, _, name = heapq.heappop(ready)
        place[name] = len(place)
        for child in children[name]:
            waiting[child] -= 1
            if not waiting[child]:
                heapq.heappush(ready, (nodes[child].created, nodes[child].stage, child))
    records = [nodes[name] for name in place]
    inputs = [{given: place[_identity(artifact)] for given, artifact in record.inputs.items()} for record in records]
    return records, inputs


def steps(
    records: list[Record], inputs: list[dict[str, int]], project: Path, not_again: Callable[[Record], str | None]
) -> list[Step]:
    """The steps of `in_order`'s records. project: the folder that flows run in. not_again: why one cannot be made."""
    return [
        Step(
            stage=record.stage,
            inputs=made_from,
            config=record.config,
            resources=resources_of(record, project),
            expected=record.output.digest,
            taken=record.artifact if not_again(record) else None,
        )
        for record, made_from in zip(records, inputs, strict=True)
    ]


def resources_of(record: Record, project: Path) -> Resources:
    """With what a record's work was done: its numerics say it, and of the rest what its flow was told, if any."""
    flow = journal.read_flow(record.flow_run_id) if record.flow_run_id else None
    try:
        told = Resources.model_validate((flow or {}).get("settings", {}).get("resources", {}))
    except (ValidationError, AttributeError):  # of another version of this program
        told = Resources()
    numerics = record.numerics
    threads = str(numerics.get("threads"))
    return told.model_copy(
        update={
            "threads": int(threads) if threads.isdecimal() and int(threads) else told.threads,
            "device": numerics.get("device", told.device),
            "compile": bool(numerics.get("compile", told.compile)),
            "root": told.root or (project if flow else Path.cwd()),
        }
    )


def _identity(artifact: Artifact) -> tuple[str, str]:
    return artifact.key, artifact.digest
