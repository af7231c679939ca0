"""Read what a snapshot saw into documents, each with its source, origin, licence and side of the evaluation split."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from tasks.lineage.errors import DataError
from tasks.lineage.ledger import Ledger
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage
from tasks.text.documents import Limits
from tasks.text.drafts import DraftTask, take_drafts, write_drafts
from tasks.text.forgotten import FORGOTTEN, Forgotten, quarantined_id
from tasks.text.items import Snapshot, parts
from tasks.text.parallel import count_workers, map_ordered
from tasks.text.quarantine import SourceCount, check
from tasks.text.shards import CorpusWriter
from tasks.text.splits import EVALUATION, side, sides

REPEATED = "repeated"  # the same content from the same source again
ABOVE_MAX = "above_max_documents"


class CollectConfig(StageConfig):
    """Documents from the sources that the snapshot looked at."""

    document_chars: int = Field(
        4000, ge=200, le=10_000_000, title="Characters of a passage",
        description="A longer plain-text file is cut at blank lines into documents of about this many characters.",
    )  # fmt: skip
    min_docstring_chars: int = Field(
        40, ge=0, title="Shortest docstring", description="Shorter docstrings are dropped; they say hardly anything."
    )
    max_document_bytes: int = Field(
        10_000_000, ge=1000, le=1_000_000_000, title="Largest document",
        description="A longer line or file is put into quarantine, so that memory stays bounded.",
    )  # fmt: skip
    max_bad_share: float = Field(
        0.2, ge=0, le=1, title="Bad rows allowed",
        description="Share of a source's rows that may be malformed. Below it they are put into quarantine and "
        "counted; above it the stage fails and names the first of them.",
    )  # fmt: skip
    max_documents: int | None = Field(
        None, ge=1, title="Most documents", description="Keep only so many, chosen by their hash. Empty: all."
    )


@stage(output="corpus", retries=2, libraries=("pyarrow",))
def collect(
    run: StageRun,
    snapshot: Artifact,
    config: CollectConfig,
    resources: Resources,
    exclusions: Artifact | None = None,
    adopted: Artifact | None = None,
) -> None:
    """Write documents-*.parquet, ledger.parquet and quarantine.jsonl.

    exclusions: what must be left out, if anything (`pedigree forget`). adopted: documents from elsewhere, to be taken
    beside those of the sources (`pedigree adopt`).
    Raises DataError if there is no document, if too much is malformed, or if a file changed after the snapshot.
    """
    seen = Snapshot.read(snapshot.path)
    limits = Limits(config.document_chars, config.max_document_bytes, config.min_docstring_chars)
    drafts = run.work / "drafts"
    drafts.mkdir(exist_ok=True)
    tasks = [
        DraftTask(part, limits, drafts / f"{number:06d}.parquet")
        for number, part in enumerate(parts(seen, role="text"))
    ]
    tasks += take_drafts(adopted.path, limits, drafts) if adopted else []
    write_corpus(run, tasks, seen, config, resources, exclusions)
    shutil.rmtree(drafts)


def write_corpus(
    run: StageRun,
    tasks: list[DraftTask],
    seen: Snapshot,
    config: CollectConfig,
    resources: Resources,
    exclusions: Artifact | None,
    setting: str = "collect.max_bad_share",
) -> None:
    """Read the parts, and write what `collect` writes. setting: what the error names where too much is malformed."""
    _read(run, tasks, resources)
    forgotten = Forgotten.read(exclusions.path if exclusions else None)
    counts = _quarantine(run, tasks, forgotten)
    check(counts, config.max_bad_share, setting)
    _write(run, tasks, seen, config, forgotten)


def _read(run: StageRun, tasks: list[DraftTask], resources: Resources) -> None:
    total = sum(item.size for task in tasks for item in task.part.items)
    done, began = 0, time.monotonic()
    for size in map_ordered(write_drafts, tasks, count_workers(resources.workers, len(tasks))):
        done += size
        run.progress(done, total, megabytes_per_second=round(done / 1e6 / (time.monotonic() - began), 2))


def _quarantine(run: StageRun, tasks: list[DraftTask], forgotten: Forgotten) -> list[SourceCount]:
    """Join the parts' quarantines into one file; count rows and rejects by source."""
    counts: dict[str, SourceCount] = {}
    with (run.output / "quarantine.jsonl").open("w", encoding="utf-8") as joined:
        for task in tasks:
            source = task.part.source
            count = counts.setdefault(source.model_dump_json(), SourceCount(source.described()))
            count.rows += pq.read_metadata(task.file).num_rows
            with task.quarantine.open(encoding="utf-8") as file:
                for line in file:
                    entry = json.loads(line)
                    if quarantined_id(entry) not in forgotten.ids:
                        joined.write(line)
                    count.reject(entry["uri"], entry["line"], entry["reason"])
    for count in counts.values():
        if count.rejected:
            run.logger.warning(
                "%d of %d rows of %s are in quarantine (quarantine.jsonl says why); first: %s",
                count.rejected, count.rows, count.described, count.examples[0],
            )  # fmt: skip
    return list(counts.values())


def _write(run: StageRun, tasks: list[DraftTask], seen: Snapshot, config: CollectConfig, forgotten: Forgotten) -> None:
    rows = _Fates(tasks, config.max_documents, forgotten)
    if not rows.num_kept:
        raise DataError(
            "the sources hold no document: nothing in them could be read as text "
            f"({_summary(rows.reasons)}). Check the sources' path and text_field."
        )
    decide = _Sides(tasks, seen)
    by_split: Counter[str] = Counter()
    ledger = Ledger(run.output / "ledger.parquet")
    with CorpusWriter(run.output) as corpus:
        for task, table, reasons in rows.tables():
            kept = pc.is_null(reasons)
            table = table.set_column(table.column_names.index("reason"), "reason", reasons)
            ledger.add_table(_ledger_rows(table, kept))
            table = table.filter(kept)
            table = decide.with_splits(table, task)
            by_split.update(table["split"].to_pylist())
            corpus.write(table)
    counts = ledger.close()
    run.log_metrics({
        **counts.metrics(), "bytes": corpus.bytes, "documents_evaluation": by_split[EVALUATION],
    })  # fmt: skip
    run.logger.info(
        "%d documents, %.1f MB, %d of them for evaluation only; dropped: %s",
        corpus.documents, corpus.bytes / 1e6, by_split[EVALUATION], _summary(counts.dropped),
    )  # fmt: skip


def _summary(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "none"


def _ledger_rows(table: pa.Table, kept: pa.ChunkedArray) -> pa.Table:
    repeated = pc.equal(table["reason"], REPEATED)
    return pa.table({
        "doc_id": table["doc_id"],
        "source": table["source"],
        "license": table["license"],
        "language": table["language"],
        "reason": table["reason"],
        "duplicate_of": pc.if_else(pc.fill_null(repeated, False), table["doc_id"], pa.scalar(None, pa.string())),
        "bytes_in": table["bytes_in"],
        "bytes_out": pc.if_else(kept, table["bytes_in"], 0),
    })  # fmt: skip


class _Fates:
    """Which drafts become documents: the first of each doc_id, and of these the ``max_documents`` smallest hashes.

    What is to be forgotten counts as if it were not there.
    """

    def __init__(self, tasks: list[DraftTask], max_documents: int | None, forgotten: Forgotten) -> None:
        self._tasks = tasks
        ids, drafted = [], []
        self._forgotten: list[pa.Array] = []  # of each task
        self.reasons: dict[str, int] = Counter()
        for task in tasks:
            table = pq.read_table(task.file, columns=["doc_id", "reason"])
            if forgotten:
                self._forgotten.append(_to_forget(task, forgotten))
                table = table.set_column(1, "reason", pc.if_else(self._forgotten[-1], FORGOTTEN, table["reason"]))
            ids.append(np.array(table["doc_id"].to_pylist(), dtype="S32"))
            drafted.append(pc.is_null(table["reason"]).to_numpy())
            self.reasons.update(reason for reason in table["reason"].to_pylist() if reason)
        self._ids = np.concatenate(ids) if ids else np.empty(0, "S32")
        self._drafted = np.concatenate(drafted) if drafted else np.empty(0, bool)
        candidates = np.flatnonzero(self._drafted)
        unique, first = np.unique(self._ids[candidates], return_index=True)
        self._repeated = self._drafted.copy()
        self._repeated[candidates[first]] = False
        self._kept = self._drafted & ~self._repeated
        if max_documents is not None and len(unique) > max_documents:
            self._kept &= self._ids <= unique[max_documents - 1]
        self.num_kept = int(self._kept.sum())

    def tables(self) -> Iterator[tuple[DraftTask, pa.Table, pa.Array]]:
        """Each task's drafts in pieces, with the reason why each is dropped (null: kept)."""
        row = 0
        for number, task in enumerate(self._tasks):
            begin = row
            with pq.ParquetFile(task.file) as file:
                for batch in file.iter_batches(batch_size=8192, use_threads=False):
                    table = pa.Table.from_batches([batch])
                    here = slice(row, row + table.num_rows)
                    row += table.num_rows
                    above = self._drafted[here] & ~self._kept[here] & ~self._repeated[here]
                    reasons = table["reason"].combine_chunks()
                    if self._forgotten:
                        away = self._forgotten[number].slice(here.start - begin, table.num_rows)
                        reasons = pc.if_else(away, FORGOTTEN, reasons)
                    reasons = pc.if_else(pa.array(self._repeated[here]), REPEATED, reasons)
                    yield task, table, pc.if_else(pa.array(above), ABOVE_MAX, reasons)


def _to_forget(task: DraftTask, forgotten: Forgotten) -> pa.Array:
    """Which of a task's drafts are to be forgotten: by their id, or by their text. One bool each."""
    found = []
    with pq.ParquetFile(task.file) as file:
        for batch in file.iter_batches(batch_size=8192, columns=["doc_id", "text", "kind"], use_threads=False):
            known = np.array([doc_id in forgotten.ids for doc_id in batch["doc_id"].to_pylist()], bool)
            found.append(known | forgotten.among(batch["text"], batch["kind"].to_pylist()))
    return pa.array(np.concatenate(found) if found else np.zeros(0, bool))


class _Sides:
    """The side of the evaluation split of documents whose item does not fix it."""

    def __init__(self, tasks: list[DraftTask], seen: Snapshot) -> None:
        self._seed, self._share = seen.seed, seen.evaluation_share
        origins: dict[str, set[str]] = {}
        for task in tasks:
            if task.part.source.origin_field:
                found = pq.read_table(task.file, columns=["origin"])["origin"].unique().to_pylist()
                origins.setdefault(task.part.source.model_dump_json(), set()).update(found)
        self._by_origin = {key: sides(self._seed, self._share, sorted(found)) for key, found in origins.items()}

    def with_splits(self, table: pa.Table, task: DraftTask) -> pa.Table:
        """The table with its split and collector columns filled in."""
        source = task.part.source
        by_origin = self._by_origin.get(source.model_dump_json())
        rows: list[dict[str, Any]] = table.select(["doc_id", "origin", "split"]).to_pylist()
        split = [row["split"] or self._side(row, by_origin) for row in rows]
        table = table.set_column(table.column_names.index("split"), "split", pa.array(split, pa.string()))
        collector = pc.if_else(pc.equal(table["collector"], ""), source.kind, table["collector"])
        return table.set_column(table.column_names.index("collector"), "collector", collector)

    def _side(self, row: dict[str, Any], by_origin: dict[str, str] | None) -> str:
        if by_origin is not None:
            return by_origin[row["origin"]]
        return side(self._seed, self._share, row["doc_id"])
