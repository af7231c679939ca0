"""What came of doing a piece of work again, against its record: the same bytes, or what differs and how."""

from typing import Any

from tasks.lineage import sources
from tasks.lineage.cause import Cause
from tasks.lineage.record import Record, StoredFile
from tasks.lineage.sides import Sides, differences
from tasks.lineage.store import Store
from tasks.reproduce import contents, outside

Finding = dict[str, Any]


def compared(store: Store, old: Record, again: Store, new: Record) -> Finding:
    """How `new`, made in the store `again`, stands to `old`, which it repeats.

    {"verdict": "identical" | "different", "causes": what differs in its inputs, settings, code and libraries,
    "numerics": [{"name", "old", "new"}], "files": [{"path", "verdict": "different" | "missing" | "new", "size",
    "sha256", "difference", "note"}] that are not the same, "sources": changed files of the outside world, or None}
    """
    same = old.output.digest == new.output.digest
    whole = same or not store.problems(old.output)
    return {
        "verdict": "identical" if same else "different",
        "causes": [cause.model_dump(mode="json") for cause in causes(store, old, again, new)],
        "numerics": numerics(old, new),
        "files": [] if same else files(store, old, again, new, whole),
        "sources": _outside(store, old, again, new) if whole and not same else None,
    }


def causes(store: Store, old: Record, again: Store, new: Record) -> list[Cause]:
    """What the two were made from that differs, changed code with its diff."""
    found = []
    for cause in differences(Sides.of_record(old), Sides.of_record(new)):
        if cause.kind == "code":
            now = {cause.new: sources.read(again, cause.new)} if cause.new else {}
            at_hand = {digest: source for digest, source in now.items() if source is not None}
            diff = sources.difference(store, cause.name, cause.old, cause.new, at_hand)
            cause = cause.model_copy(update={"diff": diff, "note": None if diff else sources.NOT_KEPT})
        found.append(cause)
    return found


def numerics(old: Record, new: Record) -> list[Finding]:
    """What may change bytes but not meaning: processor, threads, builds of libraries."""
    names = sorted(old.numerics.keys() | new.numerics.keys())
    pairs = [(name, old.numerics.get(name), new.numerics.get(name)) for name in names]
    # A number of threads is written as it was told, by a setting or by the environment.
    return [{"name": name, "old": one, "new": other} for name, one, other in pairs if str(one) != str(other)]


def files(store: Store, old: Record, again: Store, new: Record, whole: bool) -> list[Finding]:
    """The files that are not the same, by path. whole: the stored output of `old` can be read."""
    before, after = ({file.path: file for file in record.output.files} for record in (old, new))
    found = []
    for path in sorted(before.keys() | after.keys()):
        one, other = before.get(path), after.get(path)
        if one is not None and other is not None and one.sha256 == other.sha256:
            continue
        difference = note = None
        if one is not None and other is not None:
            if whole:
                folders = store.object_path(old.output.digest), again.object_path(new.output.digest)
                difference = contents.difference(*(folder / path for folder in folders))
            else:
                note = "the earlier file is not whole in the store any more, so only sizes and digests are compared"
        found.append(
            {
                "path": path,
                "verdict": "missing" if other is None else "new" if one is None else "different",
                "size": _sides(one, other, "size"),
                "sha256": _sides(one, other, "sha256"),
                "difference": difference,
                "note": note,
            }
        )
    return found


def how(finding: Finding) -> str:
    """A file's difference in one line."""
    if finding["verdict"] == "missing":
        return f"{finding['path']} was not made again"
    if finding["verdict"] == "new":
        return f"{finding['path']} was not there before"
    size = finding["size"]
    sizes = f"{size['old']:,} bytes" if size["old"] == size["new"] else f"{size['old']:,} → {size['new']:,} bytes"
    told = contents.sentence(finding["difference"]) if finding["difference"] else finding["note"]
    return f"{finding['path']} differs ({sizes}): {told}"


def _sides(old: StoredFile | None, new: StoredFile | None, field: str) -> Finding:
    return {"old": getattr(old, field, None), "new": getattr(new, field, None)}


def _outside(store: Store, old: Record, again: Store, new: Record) -> dict[str, list[str]] | None:
    if old.output.kind != outside.SNAPSHOT:
        return None
    return outside.changes(store.object_path(old.output.digest), again.object_path(new.output.digest))
