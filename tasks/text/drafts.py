"""What one worker makes of one part of a snapshot: a Parquet file of documents and rejects, complete or not there.

A finished file survives a killed run and is not made again.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.text.documents import Draft, Limits, documents_of
from tasks.text.items import Part
from tasks.text.shards import SCHEMA as CORPUS
from tasks.text.shards import shard_paths
from tasks.text.sources import Source

SCHEMA = pa.schema([*CORPUS, ("reason", pa.string()), ("bytes_in", pa.int64())])
_HELD_BYTES = 8 << 20  # of text before it is written out
_HELD_ROWS = 8192


@dataclass(frozen=True)
class DraftTask:
    """One part to read, and where to put what it holds."""

    part: Part
    limits: Limits
    file: Path

    @property
    def quarantine(self) -> Path:
        return self.file.with_suffix(".jsonl")


def write_drafts(task: DraftTask) -> int:
    """Read a part, unless that was done before. Returns the bytes of the files it holds."""
    size = sum(item.size for item in task.part.items)
    if task.file.exists():
        return size
    table_file, quarantine_file = task.file.with_suffix(".tmp"), task.quarantine.with_suffix(".jsonl.tmp")
    with (
        pq.ParquetWriter(table_file, SCHEMA, compression="zstd", compression_level=1) as writer,
        quarantine_file.open("w", encoding="utf-8") as quarantine,
    ):
        for held in _batches(documents_of(task.part, task.limits)):
            for draft in held:
                if draft.rejected is not None:
                    quarantine.write(json.dumps(_quarantined(draft), ensure_ascii=False) + "\n")
            writer.write_table(pa.Table.from_pylist([_row(draft) for draft in held], SCHEMA))
    quarantine_file.replace(task.quarantine)
    table_file.replace(task.file)
    return size


def take_drafts(corpus: Path, limits: Limits, folder: Path) -> list[DraftTask]:
    """The documents of an adopted corpus as parts that are read already; which side of the split they fall on is open.

    Their origins are kept together, as the files of a source are.
    """
    source = Source(kind="files", path=f"adopted {corpus.name[:12]}", origin_field="origin")
    tasks = []
    for number, shard in enumerate(shard_paths(corpus)):
        task = DraftTask(Part(source, ()), limits, folder / f"adopted-{number:06d}.parquet")
        tasks.append(task)
        if task.file.exists():
            continue
        draft = task.file.with_suffix(".tmp")
        with (
            pq.ParquetFile(shard) as file,
            pq.ParquetWriter(draft, SCHEMA, compression="zstd", compression_level=1) as writer,
        ):
            for batch in file.iter_batches(_HELD_ROWS, use_threads=False):
                table = pa.Table.from_batches([batch])
                nothing = pa.nulls(table.num_rows, pa.string())
                table = table.set_column(table.column_names.index("split"), "split", nothing)
                sizes = pc.cast(pc.binary_length(table["text"]), pa.int64())
                writer.write_table(table.append_column("reason", nothing).append_column("bytes_in", sizes).cast(SCHEMA))
        task.quarantine.touch()
        draft.replace(task.file)
    return tasks


def _batches(drafts: Iterator[Draft]) -> Iterator[list[Draft]]:
    held: list[Draft] = []
    size = 0
    for draft in drafts:
        held.append(draft)
        size += len(draft.text)
        if size >= _HELD_BYTES or len(held) >= _HELD_ROWS:
            yield held
            held, size = [], 0
    if held:
        yield held


def _quarantined(draft: Draft) -> dict[str, Any]:
    assert draft.rejected is not None
    return {
        "uri": draft.source,
        "line": draft.rejected.line,
        "reason": draft.rejected.reason,
        "excerpt": draft.rejected.excerpt.encode("utf-8", "replace").decode(),
    }


def _row(draft: Draft) -> dict[str, Any]:
    return {
        "doc_id": draft.doc_id,
        "text": None if draft.reason else draft.text,
        "source": draft.source,
        "origin": draft.origin,
        "license": draft.license,
        "kind": draft.kind,
        "language": None,
        "collector": "",  # the stage knows which source a part belongs to
        "split": draft.split,
        "reason": draft.reason,
        "bytes_in": draft.size or len(draft.text.encode()),
    }
