"""Evaluation texts: held-out pairs, and the benchmarks that a user names (sources of role `benchmark`)."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.lineage.errors import DataError
from tasks.text.decoding import without_surrogates
from tasks.text.documents import Limits
from tasks.text.file_documents import passages_of, rows_of
from tasks.text.formats import TABLES
from tasks.text.items import Item, Part, Snapshot, on_disk, parts
from tasks.text.quarantine import SourceCount, check
from tasks.text.readers import Rejected
from tasks.text.sources import Source
from tasks.text.splits import EVALUATION

BENCHMARK = "benchmark"
# A plain text file is cut at blank lines into passages of about 2,000 characters.
LIMITS = Limits(document_chars=2000, max_document_bytes=10_000_000, min_docstring_chars=0)


@dataclass(frozen=True)
class EvaluationItem:
    """One thing that models are asked: `id` (pair_id, or a digest), its `source`, and its `texts`: prompt and
    response, or every text of a benchmark's row."""

    id: str
    source: str
    texts: tuple[str, ...]

    @property
    def whole(self) -> str:
        return "\n".join(self.texts)


def held_out_pairs(pairs: Path) -> list[EvaluationItem]:
    """The pairs that fine-tuning, the reward model and PPO are measured on."""
    columns = ["pair_id", "source", "prompt", "response"]
    table = pq.read_table(pairs / "pairs.parquet", columns=columns, filters=[("split", "=", EVALUATION)])
    return [
        EvaluationItem(row["pair_id"], row["source"], (row["prompt"], row["response"])) for row in table.to_pylist()
    ]


def benchmark_items(
    seen: Snapshot, max_bad_share: float, setting: str, warn: Callable[[str], None]
) -> list[EvaluationItem]:
    """The rows, or passages, of the benchmarks of a snapshot. `warn` is told what could not be read.

    Raises DataError if a benchmark holds no text, if more than `max_bad_share` of it is malformed (`setting` is what
    the error names then), or if a file changed after the snapshot.
    """
    found: list[EvaluationItem] = []
    counts: dict[Source, SourceCount] = {}
    for part in parts(seen, role=BENCHMARK):
        count = counts.setdefault(part.source, SourceCount(f"{part.source.described()} (benchmark)"))
        for item in part.items:
            for read in _entries(item, part):
                count.rows += 1
                if isinstance(read, Rejected):
                    count.reject(item.uri, read.line, read.reason)
                else:
                    found.append(read)
    check(list(counts.values()), max_bad_share, setting)
    for count in counts.values():
        if count.rejected == count.rows:
            raise DataError(f"{count.described} holds no text that could be read; first: {count.first}")
        if count.rejected:
            warn(
                f"{count.rejected} of {count.rows} rows of {count.described} could not be read and are not looked for; "
                f"first: {count.first}"
            )
    return found


def _entries(item: Item, part: Part) -> Iterator[EvaluationItem | Rejected]:
    if item.kind in TABLES or item.kind == "dataset":
        for row in rows_of(item, LIMITS.max_document_bytes):
            if isinstance(row, Rejected):
                yield row
                continue
            texts = tuple(dict.fromkeys(without_surrogates(text) for text in _texts(row.fields) if text.strip()))
            yield _item(item, f"row={row.line}", texts) if texts else Rejected(row.line, "holds no text")
        return
    with on_disk(item) as path:
        for passage in passages_of(item, path, LIMITS):
            if isinstance(passage, Rejected):
                yield passage
            else:
                yield _item(item, f"line={passage.first - 1},{passage.last}", (passage.text,))


def _item(item: Item, place: str, texts: tuple[str, ...]) -> EvaluationItem:
    source = f"{item.uri}#{place}"
    digest = hashlib.sha256("\0".join((source, *texts)).encode()).hexdigest()[:32]
    return EvaluationItem(digest, source, texts)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a row, however deep: question, choices, messages."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
