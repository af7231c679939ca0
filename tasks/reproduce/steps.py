"""What has to be done to make something again: the work of all its ancestors, in order, as their records have it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.lineage import journal
from tasks.lineage.ancestry import ancestors_of_all, id_in, in_order
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


def work(store: Store, targets: Iterable[Record]) -> tuple[list[Record], list[dict[str, int]]]:
    """Everything that the targets were made from, and they, each after its inputs; and of each its inputs: flat name →
    place in the list.

    Raises NotFound where the record of an input is gone, so that nobody knows how it was made.
    """
    found = ancestors_of_all(store, targets)
    order = in_order(found)
    place = {name: number for number, name in enumerate(order)}
    records = [found["nodes"][name] for name in order]
    inputs: list[dict[str, int]] = []
    for record in records:
        makers = {given: id_in(found, artifact) for given, artifact in record.inputs.items()}
        for given, maker in makers.items():
            if maker is None:
                raise NotFound(
                    f"how the input {given} of {record.stage} {record.output.digest[:12]} was made is not known: its "
                    "record is gone from the store"
                )
        inputs.append({given: place[maker] for given, maker in makers.items() if maker is not None})
    return records, inputs


def steps(
    records: list[Record], inputs: list[dict[str, int]], project: Path, not_again: Callable[[Record], str | None]
) -> list[Step]:
    """The steps of `work`'s records. project: the folder that flows run in. not_again: why one cannot be made."""
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
