"""Draws from a corpus the texts that a classifier learns from, without what was forgotten.

    pedigree classifier --first DIGEST --second DIGEST   (before it trains, once for each)

The sample is a corpus of its own, with a ledger. So lineage says which documents a classifier learned from, and one
that must do without some of them is trained on a sample drawn again from this one.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from tasks.clean_config import CleanConfig
from tasks.cleaner import Cleaner
from tasks.lineage.ledger import Ledger
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage
from tasks.text.forgotten import FORGOTTEN, Forgotten
from tasks.text.shards import CorpusWriter, count_documents, read_corpus, shard_paths

NOT_DRAWN = "not_drawn"  # the reason in the ledger of what is more than asked for


class SampleConfig(StageConfig):
    """How much text a sample holds."""

    max_bytes: int = Field(
        20_000_000, ge=10_000, le=1_000_000_000, title="Text of a sample",
        description="bytes; of more, the documents of least doc_id are taken",
    )  # fmt: skip


@stage(
    output="corpus",
    libraries=("ftfy", "numpy", "phonenumbers", "pyarrow", "resiliparse", "xxhash"),
)
def sample(
    run: StageRun, corpus: Artifact, config: SampleConfig, resources: Resources, exclusions: Artifact | None = None
) -> None:
    """Write documents-*.parquet and ledger.parquet.

    exclusions: what must be left out, if anything (`pedigree forget`): by id, and by text, exact or near, both as it
    was collected and as `clean` would make it.
    """
    forgotten = Forgotten.read(exclusions.path if exclusions else None)
    drawn = _drawn(corpus, config.max_bytes, forgotten)
    cleaner = Cleaner(CleanConfig())
    total = count_documents(corpus.path)
    done = 0
    ledger = Ledger(run.output / "ledger.parquet", documents_in=total)
    with ledger, CorpusWriter(run.output) as writer:
        for table in read_corpus(corpus.path):
            chosen = pc.is_in(table["doc_id"], drawn)
            texts = table.filter(chosen)
            left_out = np.array([name in forgotten.ids for name in table["doc_id"].to_pylist()], bool)
            if forgotten and texts.num_rows:
                left_out[np.flatnonzero(chosen.to_numpy(zero_copy_only=False))] |= _known(texts, cleaner, forgotten)
            reasons = pc.if_else(pa.array(left_out), FORGOTTEN, pc.if_else(chosen, pa.scalar(None), NOT_DRAWN))
            ledger.add_table(_ledger_rows(table, reasons))
            writer.write(table.filter(pc.is_null(reasons)))
            done += table.num_rows
            run.progress(done, total)
        counts = ledger.close()
    run.log_metrics({**counts.metrics(), "bytes": writer.bytes})


def _drawn(corpus: Artifact, most_bytes: int, forgotten: Forgotten) -> pa.Array:
    """The ids of the sample: the least, as many as there is room for."""
    ids: list[str] = []
    sizes: list[int] = []
    for path in shard_paths(corpus.path):
        table = pq.read_table(path, columns=["doc_id", "text"], memory_map=True)
        ids += table["doc_id"].to_pylist()
        sizes += pc.fill_null(pc.binary_length(table["text"]), 0).to_pylist()
    known = np.array([name in forgotten.ids for name in ids], bool)
    order = np.argsort(np.array(ids), kind="stable") if ids else np.zeros(0, np.int64)
    order = order[~known[order]]
    chosen = order[np.cumsum(np.array(sizes, np.int64)[order]) <= most_bytes]
    return pa.array([ids[row] for row in chosen.tolist()], pa.string())


def _known(table: pa.Table, cleaner: Cleaner, forgotten: Forgotten) -> np.ndarray:
    """Which of the documents say what was forgotten, or nearly, (N,) bool."""
    as_given = forgotten.among(table["text"].combine_chunks(), table["kind"].to_pylist())
    return as_given | forgotten.among(cleaner.prepare(table).texts)


def _ledger_rows(table: pa.Table, reasons: pa.Array) -> pa.Table:
    sizes = pc.cast(pc.fill_null(pc.binary_length(table["text"]), 0), pa.int64())
    return pa.table(
        {
            "doc_id": table["doc_id"],
            "source": table["source"],
            "license": table["license"],
            "language": table["language"],
            "reason": reasons,
            "duplicate_of": pa.nulls(table.num_rows, pa.string()),
            "bytes_in": sizes,
            "bytes_out": pc.if_else(pc.is_null(reasons), sizes, 0),
        }
    )
