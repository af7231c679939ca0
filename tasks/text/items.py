"""Items of a snapshot: single files (or data set splits) of the outside world, at the digest they had."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lineage import columns
from tasks.lineage.errors import DataError
from tasks.text import packages
from tasks.text.digests import digest_of
from tasks.text.remote import copied, is_remote
from tasks.text.sources import Source

SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("origin", pa.string()),
        ("license", pa.string()),
        ("kind", pa.string()),
        ("source", pa.int32()),
        ("split", pa.string()),
    ]
)
FileState = tuple[int, int, int]
PART_BYTES = 4 << 20  # of files that one worker reads before it hands in what it made


@dataclass(frozen=True)
class Item:
    """One file or data set split.

    ``kind``: a kind of text, or "metadata", "license", "jsonl", "parquet", "dataset", "warc", "pdf": how it is read.
    ``sha256``: of its content, or of what a remote filesystem says of it (remote.py).
    ``source``: index into the snapshot's sources. ``split``: its side of the evaluation split, None where that is
    decided row by row. ``path``: where it lies, if its URI does not say; no snapshot keeps that.
    """

    uri: str
    size: int
    sha256: str
    origin: str
    license: str | None
    kind: str
    source: int
    split: str | None
    path: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """What the outside world held, and how it is to be read."""

    seed: int
    evaluation_share: float
    sources: tuple[Source, ...]
    items: tuple[Item, ...]

    def write(self, directory: Path) -> None:
        made = []
        for field in SCHEMA:
            values = [getattr(item, field.name) for item in self.items]
            made.append(
                (columns.texts if pa.types.is_string(field.type) else columns.integers)(values).cast(field.type)
            )
        pq.write_table(pa.Table.from_arrays(made, schema=SCHEMA), directory / "items.parquet", compression="zstd")
        settings = {
            "seed": self.seed,
            "evaluation_share": self.evaluation_share,
            "sources": [source.model_dump(mode="json") for source in self.sources],
        }
        text = json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False)
        (directory / "sources.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> "Snapshot":
        settings = json.loads((directory / "sources.json").read_text(encoding="utf-8"))
        rows = pq.read_table(directory / "items.parquet").to_pylist()
        return cls(
            settings["seed"],
            settings["evaluation_share"],
            tuple(Source.model_validate(source) for source in settings["sources"]),
            tuple(Item(**{name: row[name] for name in SCHEMA.names}) for row in rows),
        )


@dataclass(frozen=True)
class Part:
    """Consecutive items of one source, read by one worker: the unit of work, and of what a killed run keeps."""

    source: Source
    items: tuple[Item, ...]


def parts(snapshot: Snapshot, role: str | None = None, kind: str | None = None) -> Iterator[Part]:
    """The snapshot cut into parts of about ``PART_BYTES``, independent of how many workers there are."""
    for whole in by_source(snapshot, role, kind):
        yield from cut(whole.source, whole.items)


def by_source(snapshot: Snapshot, role: str | None = None, kind: str | None = None) -> Iterator[Part]:
    """The items of each source that are to be read, as one part."""
    for index, source in enumerate(snapshot.sources):
        if (role is None or source.role == role) and (kind is None or source.kind == kind):
            items = tuple(item for item in snapshot.items if item.source == index and item.kind != "license")
            yield Part(source, items)


def cut(source: Source, items: Sequence[Item]) -> Iterator[Part]:
    """Items in parts of about ``PART_BYTES``; a larger item is a part of its own."""
    held: list[Item] = []
    size = 0
    for item in items:
        if held and size + item.size > PART_BYTES:
            yield Part(source, tuple(held))
            held, size = [], 0
        held.append(item)
        size += item.size
    if held:
        yield Part(source, tuple(held))


def path_of(item: Item) -> Path:
    """Where an item lies on this machine. Raises DataError if it is gone."""
    if item.path is not None:
        return Path(item.path)
    if item.uri.startswith("pypi://"):
        path = packages.locate(item.uri)
        if path is None:
            raise DataError(f"{item.uri} is no longer installed. {AGAIN}")
        return path
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(item.uri).path)))  # a name need not be UTF-8


AGAIN = "Start the flow again: it looks at its sources anew first."


def read_item(item: Item) -> bytes:
    """Content of an item, known to be what the snapshot saw. Raises DataError if it has changed."""
    path = path_of(item)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{item.uri} can no longer be read: {error}. {AGAIN}") from error
    _compare(item, hashlib.sha256(data).hexdigest(), path)
    return data


class ItemChanged(DataError):
    """A user's file is not, or no longer, what the snapshot saw. ``how`` says so in a few words."""

    def __init__(self, item: Item, how: str) -> None:
        super().__init__(f"{item.uri} {how}. {AGAIN}")
        self.how = how


@contextlib.contextmanager
def on_disk(item: Item, known: FileState | None = None, look: bool = True) -> Iterator[Path]:
    """Path of a user's file, known to be what the snapshot saw from before it is read until after.

    known: the state in which it must be, if it is known. look: compare its digest; otherwise somebody else does, in
    that state. A remote file is copied to this machine for as long. Raises ItemChanged if it has changed or is
    gone.
    """
    if item.path is None and is_remote(item.uri):
        with copied(item.uri, item.sha256) as copy:
            if copy is None:
                raise ItemChanged(item, _CHANGED)
            yield copy
        return
    path = path_of(item)
    try:
        with path.open("rb") as file:
            digest = digest_of(file) if look else item.sha256
            before = state_of(os.fstat(file.fileno()))
    except OSError as error:
        raise ItemChanged(item, f"can no longer be read: {error.strerror or error}") from error
    if digest != item.sha256 or before != (known or before):
        raise ItemChanged(item, _CHANGED)
    yield path
    try:
        after = state_of(path.stat())
    except OSError:
        after = None
    if after != before:
        raise ItemChanged(item, "has changed while it was read")


_CHANGED = "has changed since the snapshot was taken"


def state_of(status: os.stat_result) -> FileState:
    """By which it is told that a file has changed: its size, the time of its last change in nanoseconds, its inode."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def _compare(item: Item, digest: str, path: Path) -> None:
    if digest != item.sha256:
        raise DataError(f"{path} has changed since the snapshot was taken. {AGAIN}")
