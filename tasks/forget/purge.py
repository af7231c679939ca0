"""Deleting what still holds forgotten text or learnt from it: outputs, unfinished work, and what MLflow has of them.

Records stay, with tombstones in place of the outputs. What is deleted is found anew each time, so a purge that was
killed is finished by the next.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.forget.exclusions import current
from tasks.forget.fall import Fallen, fall
from tasks.lineage.errors import NotFound
from tasks.lineage.files import remove_tree
from tasks.lineage.gc import Doomed, delete_object, delete_work, size_of
from tasks.lineage.journal import now
from tasks.lineage.lock import inputs_of
from tasks.lineage.store import Store
from tasks.lineage.tombstone import discard
from tasks.text.draft_cache import drop_remembered_texts
from tasks.text.forgotten import Forgotten
from tasks.text.signature_memory import PLACE as SIGNATURES
from tasks.tracking import retraction
from tasks.tracking.retraction import Traces

UNKNOWN = "nothing says what it was made from"


@dataclass(frozen=True)
class Purge:
    """What a purge would delete, or deleted. work and aside: why each is among them stands in `kind`."""

    objects: list[Doomed] = field(default_factory=list)
    work: list[Doomed] = field(default_factory=list)
    aside: list[Doomed] = field(default_factory=list)
    mlflow: Traces = field(default_factory=Traces)
    left: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(doomed.bytes for doomed in (*self.objects, *self.work, *self.aside))

    @property
    def empty(self) -> bool:
        return not (self.objects or self.work or self.aside or self.mlflow.versions or self.mlflow.folders)

    def answer(self) -> dict[str, Any]:
        """As JSON."""
        parts = {name: [asdict(doomed) for doomed in getattr(self, name)] for name in ("objects", "work", "aside")}
        return {**parts, "bytes": self.bytes, "mlflow": self.mlflow.answer(), "left": self.left, "at": now()}


def plan(store: Store, *, ask_mlflow: bool = True) -> Purge:
    """What still holds any text of the exclusion list in force, or learnt from it.

    Raises NotFound if nothing was forgotten, StoreError if MLflow is to be asked and does not answer.
    """
    listed = current()
    if listed is None:
        raise NotFound("nothing was forgotten yet, so there is nothing to purge: `pedigree forget --doc ID` first")
    fallen = fall(store, Forgotten.read(listed.path).ids)
    falling = {output.header.digest: output for output in fallen.outputs}
    stored = [output for output in fallen.outputs if output.stored]
    aside = [
        Doomed(path.relative_to(store.root).as_posix(), size_of(path), kind="a damaged copy")
        for path in sorted((store.root / "aside").glob("*"))
        if path.name.split(".")[0] in falling
    ]
    traces = retraction.traces(set(falling)) if ask_mlflow else Traces()
    return Purge([_doomed(store, output) for output in stored], _work(store, set(falling)), aside, traces)


def execute(store: Store, planned: Purge, certificate: str) -> Purge:
    """Delete what was planned; gives what is gone now. What a stage is at work on stays, and is gone with the next
    purge."""
    makers: dict[str, set[str]] = {}
    for record in store.records(superseded=True):
        makers.setdefault(record.output.digest, set()).add(record.key)
    drop_remembered_texts()
    left = retraction.delete(planned.mlflow, certificate) if planned.mlflow != Traces() else []
    work = [item for item in planned.work if delete_work(store, item.name)]
    objects = []
    for item in reversed(planned.objects):  # what was made last goes first: what is left still tells what fell
        if not delete_object(store, item.name, makers.get(item.name, ()), forgotten_by=certificate):
            break
        objects.append(item)
    for item in planned.aside:
        discard(store.root, store.root / item.name)
    remove_tree(store.root / SIGNATURES)  # of what was forgotten too; the next `deduplicate` signs the rest anew
    return Purge(objects, work, planned.aside, planned.mlflow, left)


def _doomed(store: Store, output: Fallen) -> Doomed:
    header = output.header
    return Doomed(
        header.digest, size_of(store.object_path(header.digest)), header.stage, header.kind, header.created
    )  # fmt: skip


def _work(store: Store, falling: set[str]) -> list[Doomed]:
    """Unfinished work that reads an output that falls, and work of which nothing says what it reads."""
    found = []
    for path in sorted((store.root / "work").glob("*")):
        inputs = inputs_of(store.lock_path(path.name))
        if inputs is None or falling & set(inputs):
            found.append(Doomed(path.name, size_of(path), kind=UNKNOWN if inputs is None else "reads what falls"))
    return found
