"""Items of a snapshot: single files (or data set splits) of the outside world, at the digest they had."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lineage.errors import DataError
from tasks.text import packages
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
PART_BYTES = 4 << 20  # of files that one worker reads before it hands in what it made


@dataclass(frozen=True)
class Item:
    """One file or data set split.

    ``kind``: a kind of text, or "metadata", "license", "jsonl", "parquet", "dataset": how it is read.
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
        rows = [{name: getattr(item, name) for name in SCHEMA.names} for item in self.items]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), directory / "items.parquet", compression="zstd")
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
    for index, source in enumerate(snapshot.sources):
        if (role is not None and source.role != role) or (kind is not None and source.kind != kind):
            continue
        held: list[Item] = []
        size = 0
        for item in snapshot.items:
            if item.source != index or item.kind == "license":
                continue
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
    return Path(unquote(urlsplit(item.uri).path))


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


def unchanged_path(item: Item) -> Path:
    """Path of an item too large to hold, known to be what the snapshot saw. Raises DataError if it has changed."""
    path = path_of(item)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{item.uri} can no longer be read: {error}. {AGAIN}") from error
    _compare(item, digest, path)
    return path


def _compare(item: Item, digest: str, path: Path) -> None:
    if digest != item.sha256:
        raise DataError(f"{path} has changed since the snapshot was taken. {AGAIN}")
