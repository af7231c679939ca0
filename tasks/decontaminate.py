"""Drops training text that shares wording with what the models are evaluated on.

python -m flows.cli run data   (the stage between `deduplicate` and `tokenize`)

Evaluation texts are the prompts and answers that `pair` holds out (fine-tuning, the reward model and PPO are measured
on them) and the benchmarks among the sources (role `benchmark`). What counts: tasks/contamination.py. `pair` looks for
the benchmarks among the pairs that are trained on, in the same way.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from tasks.contamination import CONTAMINATED, FINDINGS, NEAR, NGRAM, EvaluationTexts, Overlap, Strongest
from tasks.lineage.artifact import Artifact
from tasks.lineage.ledger import Ledger
from tasks.stage import Resources, StageConfig, StageRun, stage
from tasks.text.benchmarks import benchmark_items, held_out_pairs
from tasks.text.items import Snapshot
from tasks.text.shards import PARQUET, count_documents, read_corpus, shard_paths
from tasks.text.splits import EVALUATION

NUM_SAMPLES = 200  # rows of samples.jsonl


class DecontaminateConfig(StageConfig):
    """What counts as contamination of training text by evaluation texts."""

    overlap: Overlap = Field(default_factory=Overlap, title="Overlap")
    max_bad_share: float = Field(
        0.2, ge=0, le=1, title="Bad rows allowed",
        description="Share of a benchmark's rows that may be malformed; above it the stage fails and says why.",
    )  # fmt: skip


@stage(output="corpus", retries=2, libraries=("numpy", "pyarrow", "xxhash"))
def decontaminate(
    run: StageRun,
    corpus: Artifact,
    snapshot: Artifact,
    config: DecontaminateConfig,
    resources: Resources,
    pairs: Artifact | None = None,
) -> None:
    """Write the corpus without contaminated training documents, ledger.parquet, contaminated.parquet, samples.jsonl.

    pairs: of which some are held out; without them the benchmarks alone are looked for. Documents set apart for
    evaluation stay. Raises DataError if a benchmark cannot be read.
    """
    benchmarks = benchmark_items(
        Snapshot.read(snapshot.path), config.max_bad_share, "decontaminate.max_bad_share", run.logger.warning
    )
    held_out = held_out_pairs(pairs.path) if pairs else []
    looked = EvaluationTexts([*held_out, *benchmarks], config.overlap)
    total, number = count_documents(corpus.path), 0
    for table in read_corpus(corpus.path, ["text", "split"]):
        rows = np.flatnonzero(pc.not_equal(table["split"], EVALUATION).to_numpy())
        looked.detector.look_in(table["text"].take(pa.array(rows)), rows + number)
        number += table.num_rows
        run.progress(number, 2 * total)
    found = looked.findings()
    _write(run, corpus.path, total, looked, found)
    of_items = {item for items in found.values() for item in items}
    matches = [{tie.match for tie in items.values()} for items in found.values()]
    run.log_metrics({
        "evaluation_items": len(looked.items), "benchmark_items": len(benchmarks), "items_met": len(of_items),
        "documents_by_run": sum(NGRAM in match for match in matches),
        "documents_by_likeness": sum(NEAR in match for match in matches),
        "common_runs": looked.detector.num_common,
    })  # fmt: skip


def _write(
    run: StageRun,
    corpus: Path,
    total: int,
    looked: EvaluationTexts,
    found: dict[int, dict[int, Strongest]],
) -> None:
    """The corpus file by file, so that a file of which nothing is dropped keeps its bytes; ledger and findings."""
    dropped = np.zeros(total, bool)
    dropped[list(found)] = True
    begin = num_samples = 0
    with (
        Ledger(run.output / "ledger.parquet", documents_in=total) as ledger,
        pq.ParquetWriter(run.output / "contaminated.parquet", FINDINGS, compression="zstd") as findings,
        (run.output / "samples.jsonl").open("w", encoding="utf-8") as samples,
    ):
        for path in shard_paths(corpus):
            rows = pq.read_metadata(path).num_rows
            here = dropped[begin : begin + rows]
            if not here.any():
                shutil.copyfile(path, run.output / path.name)
            elif not here.all():
                _write_rest(path, run.output / path.name, ~here)
            with pq.ParquetFile(path, memory_map=True) as file:
                for batch in file.iter_batches(1024, use_threads=False):
                    gone = dropped[begin : begin + batch.num_rows]
                    table = pa.Table.from_batches([batch])
                    ledger.add_table(_ledger_rows(table, gone))
                    for row in np.flatnonzero(gone).tolist():
                        document = table.slice(row, 1).to_pylist()[0]
                        told = looked.told(document["doc_id"], document["source"], document["text"], found[begin + row])
                        findings.write_table(pa.Table.from_pylist(told, FINDINGS))
                        for entry in told[: NUM_SAMPLES - num_samples]:
                            samples.write(json.dumps(entry, ensure_ascii=False) + "\n")
                            num_samples += 1
                    begin += batch.num_rows
                    run.progress(total + begin, 2 * total)
        counts = ledger.close()
    run.log_metrics(counts.metrics())
    run.logger.info("kept %d of %d documents; %d share wording with evaluation texts",
                    counts.documents_kept, total, counts.documents_dropped)  # fmt: skip


def _write_rest(path: Path, target: Path, kept: np.ndarray) -> None:
    with pq.ParquetFile(path, memory_map=True) as file:
        writer = pq.ParquetWriter(target, file.schema_arrow, **PARQUET)
        begin = 0
        with writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, use_threads=False)
                writer.write_table(table.filter(pa.array(kept[begin : begin + table.num_rows])).combine_chunks())
                begin += table.num_rows


def _ledger_rows(table: pa.Table, gone: np.ndarray) -> pa.Table:
    sizes = pc.cast(pc.binary_length(table["text"]), pa.int64())
    kept = pa.array(~gone)
    return pa.table({
        "doc_id": table["doc_id"],
        "source": table["source"],
        "license": table["license"],
        "language": table["language"],
        "reason": pa.array([CONTAMINATED] * len(gone), pa.string(), mask=~gone),
        "duplicate_of": pa.nulls(len(gone), pa.string()),
        "bytes_in": sizes,
        "bytes_out": pc.if_else(kept, sizes, 0),
    })  # fmt: skip
