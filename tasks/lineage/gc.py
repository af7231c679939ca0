"""Deleting what nothing needs any more. What is kept: the outputs that given roots were made from, and themselves.

Roots are named by whoever calls (registered models, pins, recent runs); work in progress and its inputs are always
kept. Deleting goes object by object under the locks of the keys that made it, and each is whole or gone at any moment.
"""

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.lineage.lock import inputs_of, locked_now
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.lineage.tombstone import FATES, bury, discard, discard_index, empty_trash

TRASH = "trash/"
_DIGEST = re.compile("[0-9a-f]{64}")
DRAFT = re.compile(r"\..+\.[0-9a-f]{32}")
DRAFT_SECONDS = 3600.0  # after which the writer of a draft is gone


@dataclass(frozen=True)
class Doomed:
    """Something to delete. `name`: the digest of an object, the key of work, or a path below the home."""

    name: str
    bytes: int
    stage: str | None = None
    kind: str | None = None
    created: str | None = None


@dataclass(frozen=True)
class Sweep:
    """What a collection would delete, and how many objects it keeps for which reason."""

    objects: list[Doomed] = field(default_factory=list)
    work: list[Doomed] = field(default_factory=list)
    files: list[Doomed] = field(default_factory=list)  # set aside, half-deleted, half-written
    locks: list[str] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(doomed.bytes for doomed in (*self.objects, *self.work, *self.files))

    @property
    def empty(self) -> bool:
        return not (self.objects or self.work or self.files or self.locks)

    def also_in(self, other: "Sweep") -> "Sweep":
        """What both would delete."""
        parts = {
            name: [item for item in getattr(self, name) if item.name in {twin.name for twin in getattr(other, name)}]
            for name in ("objects", "work", "files")
        }
        return Sweep(**parts, locks=[name for name in self.locks if name in other.locks], kept=other.kept)

    def answer(self) -> dict[str, Any]:
        """As JSON."""
        parts = {name: [vars(doomed) for doomed in getattr(self, name)] for name in ("objects", "work", "files")}
        return {**parts, "locks": self.locks, "bytes": self.bytes, "kept": self.kept}


def survey(store: Store, roots: Mapping[str, Iterable[str]], stale_seconds: float) -> Sweep:
    """What can go. roots: reason → digests of outputs to keep, with everything that they were made from.

    stale_seconds: how long unfinished work and damaged outputs set aside are kept for a person who may want them.
    """
    records = list(store.records(superseded=True))
    kept: dict[str, str] = {}
    for reason, digests in {**roots, "in use by a stage at work": _in_use(store)}.items():
        for digest in _behind(records, digests):
            kept.setdefault(digest, reason)
    made = {record.output.digest: record for record in records}
    present = {path.name: path for path in _entries(store.root / "objects") if path.is_dir()}
    objects = [_doomed(path, made.get(name)) for name, path in present.items() if name not in kept]
    counts: dict[str, int] = {}
    for reason in (kept[name] for name in present if name in kept):
        counts[reason] = counts.get(reason, 0) + 1
    finished = {record.key for record in records}
    old = time.time() - stale_seconds
    work = [
        Doomed(path.name, size_of(path))
        for path in _entries(store.root / "work")
        if (path.name in finished or _changed(path) < old) and not _is_held(store.lock_path(path.name))
    ]
    kept_work = {path.name for path in _entries(store.root / "work")} - {doomed.name for doomed in work}
    locks = [
        path.name
        for path in _entries(store.root / "locks")
        if path.name not in kept_work and path.stat().st_mtime < old and not _is_held(path)
    ]
    return Sweep(objects, work, list(_leftovers(store.root, old)), locks, counts)


def sweep(store: Store, doomed: Sweep) -> Sweep:
    """Delete what a survey named, and give what was deleted: what a stage has taken up meanwhile stays."""
    makers: dict[str, set[str]] = {}
    for record in store.records(superseded=True):
        makers.setdefault(record.output.digest, set()).add(record.key)
    busy = set(_in_use(store))
    objects = [
        item for item in doomed.objects
        if item.name not in busy and delete_object(store, item.name, makers.get(item.name, set()))
    ]  # fmt: skip
    work = [item for item in doomed.work if delete_work(store, item.name)]
    for item in doomed.files:
        if not item.name.startswith(TRASH):
            discard(store.root, store.root / item.name)
    locks = [name for name in doomed.locks if _delete_lock(store.lock_path(name))]
    empty_trash(store.root)
    return Sweep(objects, work, doomed.files, locks, doomed.kept)


def delete_object(store: Store, digest: str, makers: Iterable[str], *, forgotten_by: str | None = None) -> bool:
    """Delete an output, unless a stage that makes it is at work; gives whether it is gone.

    makers: keys of its records. forgotten_by: the certificate, where it is deleted because it holds forgotten text.
    """
    keys = sorted(makers)
    with ExitStack() as stack:
        if not all(stack.enter_context(locked_now(store.lock_path(key))) for key in keys):
            return False
        if keys:
            bury(store.root, digest, "forgotten" if forgotten_by else "unreachable", forgotten_by)
        else:
            discard_index(store.root, digest)
            discard(store.root, store.object_path(digest))  # no record will ask what became of it
        for key in keys:
            store.lock_path(key).unlink(missing_ok=True)
    return True


def delete_work(store: Store, key: str) -> bool:
    """Delete the unfinished work of a key, unless a stage is at it; gives whether it is gone."""
    with locked_now(store.lock_path(key)) as held:
        if held:
            discard(store.root, store.work_path(key))
        return held


def _delete_lock(path: Path) -> bool:
    with locked_now(path) as held:
        if held:
            path.unlink(missing_ok=True)
        return held


def _in_use(store: Store) -> Iterator[str]:
    """What stages at work read."""
    for path in _entries(store.root / "locks"):
        if _is_held(path):
            yield from inputs_of(path) or ()


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    with locked_now(path) as held:
        return not held


def _behind(records: list[Record], digests: Iterable[str]) -> set[str]:
    """The given outputs and everything that any record made them from."""
    inputs: dict[str, set[str]] = {}
    for record in records:
        behind = inputs.setdefault(record.output.digest, set())
        behind.update(artifact.digest for artifact in record.inputs.values())
    found: set[str] = set()
    waiting = list(digests)
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            waiting += inputs.get(digest, ())
    return found


def _leftovers(root: Path, old: float) -> Iterator[Doomed]:
    """Damaged outputs that were set aside, and what killed processes left half-deleted or half-written."""
    for path in _entries(root / "aside"):
        if path.stat().st_ctime < old:  # when it was moved there; what is in it is older
            yield Doomed(path.relative_to(root).as_posix(), size_of(path))
    for path in _entries(root / "trash"):
        yield Doomed(path.relative_to(root).as_posix(), size_of(path))
    for path in (*_entries(root / "index"), *_entries(root / "index" / "documents")):
        if _DIGEST.match(path.name) and path.suffix != FATES and not (root / "objects" / path.name[:64]).exists():
            yield Doomed(path.relative_to(root).as_posix(), size_of(path))
    for folder in ("records", "records/superseded", "tombstones"):
        for path in _entries(root / folder):
            if DRAFT.fullmatch(path.name) and path.stat().st_mtime < time.time() - DRAFT_SECONDS:
                yield Doomed(path.relative_to(root).as_posix(), size_of(path))


def _doomed(path: Path, record: Record | None) -> Doomed:
    if record is None:
        return Doomed(path.name, size_of(path))
    return Doomed(path.name, size_of(path), record.stage, record.output.kind, record.created)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir():
        yield from path.rglob("*")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    total = 0
    for file in _files(path):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _changed(path: Path) -> float:
    """When anything in a folder last changed, in seconds since 1970."""
    latest = 0.0
    for file in _files(path):
        with contextlib.suppress(FileNotFoundError):
            latest = max(latest, file.stat().st_mtime)
    return latest
