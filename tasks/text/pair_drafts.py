"""What one worker makes of one part of a snapshot for the pairs: a Parquet file, complete or not there."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.text.decoding import without_surrogates
from tasks.text.documented import documented, module_of
from tasks.text.documents import QUARANTINED
from tasks.text.file_documents import origin_of, rows_of
from tasks.text.items import Item, Part
from tasks.text.pair_shapes import pairs_of
from tasks.text.questions import AnswerLimits, ask
from tasks.text.readers import Rejected
from tasks.text.sources import Source

SCHEMA = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt", pa.large_string()),
        ("response", pa.large_string()),
        ("source", pa.string()),
        ("origin", pa.string()),
        ("license", pa.string()),
        ("split", pa.string()),
        ("reason", pa.string()),
        ("pattern", pa.string()),
        ("size", pa.int64()),
    ]
)
TOO_LONG = "pair_too_long"
_HELD_ROWS = 8192


@dataclass(frozen=True)
class PairLimits:
    """What bounds a pair: of questions about documented objects, and of users' own."""

    answers: AnswerLimits
    max_pair_chars: int
    max_document_bytes: int


@dataclass(frozen=True)
class PairTask:
    """One part to read, and where to put what it holds."""

    part: Part
    limits: PairLimits
    file: Path

    @property
    def quarantine(self) -> Path:
        return self.file.with_suffix(".jsonl")


def write_pairs(task: PairTask) -> int:
    """Read a part, unless that was done before. Returns the bytes of the files it holds."""
    size = sum(item.size for item in task.part.items)
    if task.file.exists():
        return size
    table_file, quarantine_file = task.file.with_suffix(".tmp"), task.quarantine.with_suffix(".jsonl.tmp")
    with (
        pq.ParquetWriter(table_file, SCHEMA, compression="zstd", compression_level=1) as writer,
        quarantine_file.open("w", encoding="utf-8") as quarantine,
    ):
        held: list[dict[str, Any]] = []
        for row, entry in _drafts(task.part, task.limits):
            held.append(row)
            if entry is not None:
                quarantine.write(json.dumps(entry, ensure_ascii=False) + "\n")
            if len(held) >= _HELD_ROWS:
                writer.write_table(pa.Table.from_pylist(held, SCHEMA))
                held = []
        writer.write_table(pa.Table.from_pylist(held, SCHEMA))
    quarantine_file.replace(task.quarantine)
    table_file.replace(task.file)
    return size


def take_pairs(adopted: Path, limits: PairLimits, file: Path) -> PairTask:
    """The pairs of an adopted output as a part that is read already; what each is for is open again."""
    task = PairTask(Part(Source(kind="files", path=f"adopted {adopted.name[:12]}", role="pairs"), ()), limits, file)
    if not file.exists():
        rows = pq.read_table(adopted / "pairs.parquet").to_pylist()
        more = {"split": None, "reason": None, "pattern": None}
        sized = [row | more | {"size": len(row["prompt"].encode()) + len(row["response"].encode())} for row in rows]
        task.quarantine.touch()
        draft = file.with_suffix(".tmp")
        pq.write_table(pa.Table.from_pylist(sized, SCHEMA), draft, compression="zstd", compression_level=1)
        draft.replace(file)
    return task


def _drafts(part: Part, limits: PairLimits) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """A row for each possible pair, with its entry in the quarantine if it could not be read."""
    if part.source.kind == "packages":
        for row in _questions(part, limits.answers):
            yield row, None
    else:
        for item in part.items:
            yield from _user_pairs(item, part, limits)


def _row(item: Item, source: str, origin: str, prompt: str, response: str, **more: Any) -> dict[str, Any]:
    return {
        "pair_id": hashlib.sha256(f"{source}\0{prompt}\0{response}".encode()).hexdigest()[:32],
        "prompt": prompt,
        "response": response,
        "source": source,
        "origin": origin,
        "license": item.license,
        "split": item.split,
        "size": len(prompt.encode()) + len(response.encode()),
        **more,
    }


def _questions(part: Part, limits: AnswerLimits) -> Iterator[dict[str, Any]]:
    modules = [item for item in part.items if item.kind == "docstring"]
    for item, file in zip(modules, documented(modules), strict=True):
        module = module_of(item)
        for found in file.objects:
            source = f"{item.uri}#{quote(found.qualname)}" if found.qualname else item.uri
            asked = ask(found, module, limits)
            if isinstance(asked, str):
                yield _row(item, source, item.origin, "", "", reason=asked)
            else:
                yield _row(item, source, item.origin, asked.prompt, asked.response, pattern=asked.pattern)


def _user_pairs(item: Item, part: Part, limits: PairLimits) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    for row in rows_of(item, limits.max_document_bytes):
        if isinstance(row, Rejected):
            yield _rejected(item, row)
            continue
        found = pairs_of(row.fields)
        if isinstance(found, str):
            yield _rejected(item, Rejected(row.line, found, str(row.fields)[:80], row.size))
            continue
        identifier = row.fields.get("id")
        has_id = isinstance(identifier, str | int) and str(identifier)
        source = f"{item.uri}#{quote(without_surrogates(str(identifier)))}" if has_id else item.uri
        for prompt, response in found:
            reason = TOO_LONG if len(prompt) + len(response) > limits.max_pair_chars else None
            origin = origin_of(row.fields, part.source, item.origin)
            texts = without_surrogates(prompt), without_surrogates(response)
            yield _row(item, source, origin, *texts, reason=reason), None


def _rejected(item: Item, rejected: Rejected) -> tuple[dict[str, Any], dict[str, Any]]:
    excerpt = without_surrogates(rejected.excerpt)
    row = _row(item, item.uri, item.origin, f"{rejected.line}", excerpt, reason=QUARANTINED)
    entry = {"uri": item.uri, "line": rejected.line, "reason": rejected.reason, "excerpt": excerpt}
    return row | {"prompt": "", "response": "", "size": rejected.size}, entry
