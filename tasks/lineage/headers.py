"""What every record says in one line: enough to walk the graph without reading the records themselves.

The lines stand in `index/headers.jsonl`, which the first question after a change brings up to date. It is never
trusted over the records: a line counts only while the record's file has the size and modification time that it was
read at, and the checksum that each line begins with tells a torn or damaged one. So it may be deleted, and written by
several processes at once: what one of them loses is read again.
"""

import json
import logging
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tasks.lineage.artifact import Artifact
from tasks.lineage.files import write_atomically
from tasks.lineage.record import Record
from tasks.lineage.sides import Identity, Sides
from tasks.lineage.store import Store

INDEX = "headers.jsonl"
SUPERSEDED = "superseded"
# A file may change again within one tick of its clock and look the same; so what is younger is not written down yet.
SETTLED_NANOSECONDS = 100_000_000

logger = logging.getLogger("pedigree.store")


class Header(NamedTuple):
    """The gist of a record. superseded: a later run with the same key gave another output."""

    key: str
    stage: str
    kind: str
    digest: str
    inputs: dict[str, Artifact]
    created: str
    flow_run_id: str | None
    mlflow_run_id: str | None
    superseded: bool
    identity: Identity

    @property
    def id(self) -> str:
        """What tells it from every other record: its key, with the output's digest where the key has a newer one."""
        return f"{self.key}.{self.digest[:12]}" if self.superseded else self.key

    @property
    def artifact(self) -> Artifact:
        """The output as the value other stages take."""
        return Artifact(kind=self.kind, digest=self.digest, key=self.key)


class _Stamp(NamedTuple):
    """Size and modification time of a record's file, in bytes and nanoseconds."""

    size: int
    modified: int


def headers(store: Store) -> list[Header]:
    """The header of every readable record, superseded ones included, in the order of their files' names."""
    index = store.root / "index" / INDEX
    known, lines = _read(index)
    found: dict[str, Header] = {}
    fresh: list[str] = []
    settled = time.time_ns() - SETTLED_NANOSECONDS
    present = _present(store.root / "records")
    for name, stamp in sorted(present.items()):
        entry = known.get(name)
        if entry is not None and entry[0] == stamp:
            found[name] = entry[1]
            continue
        record = store.read_record(store.root / "records" / name)
        if record is None:  # removed meanwhile, or unreadable and set aside
            continue
        found[name] = _header(record, superseded=name.startswith(f"{SUPERSEDED}/"))
        if stamp.modified < settled:
            fresh.append(_line(name, stamp, found[name]))
    with suppress(OSError):  # a full disk or somebody else's store: the answer is right all the same, only slower
        if lines + len(fresh) > 2 * len(present) + 100:
            _rewrite(index, found, present, settled)
        elif fresh:
            _append(index, fresh)
    return list(found.values())


def header_of(record: Record) -> Header:
    """The header of a record that is the latest of its key."""
    return _header(record, superseded=False)


def _header(record: Record, superseded: bool) -> Header:
    output = record.output
    return Header(
        record.key, record.stage, output.kind, output.digest, record.inputs, record.created, record.flow_run_id,
        record.mlflow_run_id, superseded, Sides.of_record(record).identity,
    )  # fmt: skip


def _present(folder: Path) -> dict[str, _Stamp]:
    """Name below `folder` → stamp, of every record's file."""
    found: dict[str, _Stamp] = {}
    for prefix, place in (("", folder), (f"{SUPERSEDED}/", folder / SUPERSEDED)):
        with suppress(FileNotFoundError), os.scandir(place) as entries:
            for entry in entries:
                if entry.name.endswith(".json") and not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        status = entry.stat()
                        found[prefix + entry.name] = _Stamp(status.st_size, status.st_mtime_ns)
    return found


def _read(index: Path) -> tuple[dict[str, tuple[_Stamp, Header]], int]:
    """Name → stamp and header by the index, the last line of a name winning; and how many lines there are."""
    known: dict[str, tuple[_Stamp, Header]] = {}
    artifacts: dict[tuple[str, ...], Artifact] = {}  # most are an input of several
    try:
        lines = index.read_bytes().split(b"\n")
    except OSError:
        return known, 0
    for line in lines:
        if line[:8] != b"%08x" % zlib.crc32(line[9:]):
            continue  # the end of a killed writer's line, or damage
        with suppress(ValueError, TypeError):  # of another version of this module
            name, size, modified, inputs, *gist = json.loads(line[9:])
            made_from = {}
            for given, said in inputs.items():
                artifact = artifacts.get(tuple(said))
                if artifact is None:
                    kind, digest, key = said
                    artifact = artifacts[kind, digest, key] = Artifact(kind=kind, digest=digest, key=key)
                made_from[given] = artifact
            key, stage, kind, digest, created, flow_run_id, mlflow_run_id, superseded, identity = gist
            header = Header(
                key, stage, kind, digest, made_from, created, flow_run_id, mlflow_run_id, superseded,
                Identity(*identity),
            )  # fmt: skip
            known[name] = (_Stamp(size, modified), header)
    return known, len(lines) - 1


def _line(name: str, stamp: _Stamp, header: Header) -> str:
    inputs = {given: (artifact.kind, artifact.digest, artifact.key) for given, artifact in header.inputs.items()}
    gist = [value for field, value in zip(Header._fields, header, strict=True) if field != "inputs"]
    text = json.dumps([name, *stamp, inputs, *gist], separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _append(index: Path, lines: list[str]) -> None:
    """In one write, so that lines of two processes don't mix. A torn line before costs the first line after it."""
    index.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(index, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, "".join(lines).encode())
    finally:
        os.close(descriptor)


def _rewrite(index: Path, found: dict[str, Header], present: dict[str, _Stamp], settled: int) -> None:
    """Without the lines of records that are gone or were replaced."""
    lines: Iterator[str] = (
        _line(name, present[name], header) for name, header in found.items() if present[name].modified < settled
    )
    write_atomically(index, "".join(lines).encode(), durable=False)
