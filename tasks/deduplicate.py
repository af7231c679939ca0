"""Removes copies: first exact ones, then near ones by MinHash (Broder 1997).

python -m flows.cli run data   (the stage after `clean`)

Which document of a cluster is kept: one of the evaluation split if there is any, so that no near-copy of evaluation
text is trained on; then the one with the least source URI; then the least doc_id. Never the order of arrival.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.deduplicate_config import DeduplicateConfig
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import DataError
from tasks.lineage.ledger import Ledger, LedgerCounts
from tasks.lineage.parallel import Behind, count_workers, in_threads, suited
from tasks.signing import LIBRARIES, signature_memory, survey
from tasks.stage import Resources, StageRun, stage
from tasks.text.clusters import components
from tasks.text.machine_code import pays
from tasks.text.minhash import found_probability
from tasks.text.paragraphs import RepeatedParagraphs
from tasks.text.shards import CorpusWriter, Piece, count_bytes, count_documents, pieces, read_corpus, row_groups
from tasks.verdict import Verdict, decide, read_names

__all__ = ["DeduplicateConfig", "deduplicate"]

EXACT, NEAR, REPEATED = "exact_duplicate", "near_duplicate", "repeated_paragraphs"


@stage(output="corpus", retries=2, libraries=LIBRARIES)
def deduplicate(run: StageRun, corpus: Artifact, config: DeduplicateConfig, resources: Resources) -> None:
    """Keep one document of every cluster of exact or near copies."""
    total = count_documents(corpus.path)
    if not total:
        raise DataError("there are no documents to deduplicate: name a source of text, or loosen the rules of `clean`")
    memory, workers = signature_memory(config), count_workers(resources.workers)
    num_bytes = count_bytes(corpus.path)
    with memory.remembered() as remembered:
        found = survey(
            row_groups(corpus.path), run.work / "shingles", config, remembered,
            lambda documents: run.progress(documents, 2 * total),
            suited(run.map, resources, num_bytes), pays(num_bytes), workers,
        )  # fmt: skip
    labels, num_pairs = components(
        found.store, config.threshold, lambda band: run.progress(total, 2 * total, band=band + 1), workers
    )
    found.store.remove_bands()
    clusters = labels[found.texts]
    wanted = (np.bincount(clusters) > 1)[clusters] | (config.paragraph_chars is not None)
    names = pa.concat_tables(list(read_names(corpus.path, wanted, workers)))
    verdict = decide(names, np.flatnonzero(wanted), found.texts, labels)
    paragraphs = repeated_paragraphs(corpus.path, verdict, config.paragraph_chars)
    with closing(Behind(workers)) as behind:
        behind(memory.keep, found.store, found.digests)
        counts = write_kept(run, corpus.path, total, verdict, paragraphs, workers)
    sizes = write_clusters(run.output / "clusters.parquet", verdict)
    run.log_metrics(
        {
            **counts.metrics(),
            "texts_signed": found.num_signed,
            "similar_pairs": num_pairs,
            "clusters": len(sizes),
            "largest_cluster": int(sizes.max(initial=1)),
            "recall_at_threshold": found_probability(config.threshold, config.bands, config.rows),
        }
    )
    run.logger.info("kept %d of %d documents; %s", counts.documents_kept, total, counts.dropped)


def repeated_paragraphs(corpus: Path, verdict: Verdict, min_chars: int | None) -> RepeatedParagraphs | None:
    """The paragraphs that several of the kept documents hold, if they are to be taken out."""
    if min_chars is None:
        return None
    found, begin = RepeatedParagraphs(min_chars), 0
    for table in read_corpus(corpus, ["text"]):
        rows = np.arange(begin, begin + table.num_rows)
        kept = np.flatnonzero(verdict.keeper[rows] == rows)
        found.show(table["text"].take(pa.array(kept)).to_pylist(), verdict.rank[rows[kept]].tolist())
        begin += table.num_rows
    found.seal()
    return found


def write_kept(
    run: StageRun,
    corpus: Path,
    total: int,
    verdict: Verdict,
    paragraphs: RepeatedParagraphs | None,
    workers: int,
) -> LedgerCounts:
    """Write the kept documents, piece by piece in threads, and the ledger."""
    parts = list(pieces(corpus))
    begins = np.cumsum([0, *(part.rows for part in parts)]).tolist()

    def write(number: int) -> pa.Table:
        return write_piece(parts[number], begins[number], run.output, verdict, paragraphs)

    begin = 0
    with Ledger(run.output / "ledger.parquet", documents_in=total, workers=workers) as ledger:
        for rows in in_threads(workers)(write, range(len(parts))):
            ledger.add_table(rows)
            begin += rows.num_rows
            run.progress(total + begin, 2 * total)
        return ledger.close()


def write_piece(
    piece: Piece, begin: int, output: Path, verdict: Verdict, paragraphs: RepeatedParagraphs | None
) -> pa.Table:
    """Write the kept documents of a piece, of which the first is the corpus' document `begin`; their ledger rows."""
    ledger = []
    with CorpusWriter(output, piece=piece) as writer:
        for table in piece.tables():
            rows = np.arange(begin, begin + table.num_rows)
            keeper = verdict.keeper[rows]
            kept = keeper == rows
            reasons = np.where(verdict.exact[rows], EXACT, NEAR)
            duplicate_of = verdict.named(keeper, unless=kept)
            sizes = left = pc.cast(pc.binary_length(table["text"]), pa.int64())
            if paragraphs is not None:
                told = zip(table["text"].to_pylist(), verdict.rank[rows].tolist(), kept.tolist(), strict=True)
                texts = [paragraphs.without(text, rank) if keep else text for text, rank, keep in told]
                emptied = kept & np.array([not text.strip() for text in texts]) & (sizes.to_numpy() > 0)
                kept, reasons = kept & ~emptied, np.where(emptied, REPEATED, reasons)
                table = table.set_column(table.column_names.index("text"), "text", pa.array(texts, pa.large_string()))
                left = pc.cast(pc.binary_length(table["text"]), pa.int64())
            ledger.append(
                pa.table(
                    {
                        "doc_id": table["doc_id"],
                        "source": table["source"],
                        "license": table["license"],
                        "language": table["language"],
                        "reason": pa.array(reasons, pa.string(), mask=kept),
                        "duplicate_of": duplicate_of,
                        "bytes_in": sizes,
                        "bytes_out": pc.if_else(pa.array(kept), left, 0),
                    }
                )
            )
            writer.write(table.filter(pa.array(kept)))
            begin += table.num_rows
    return pa.concat_tables(ledger)


def write_clusters(path: Path, verdict: Verdict) -> np.ndarray:
    """Write the clusters of two or more documents: the kept doc_id, and how many there are. Gives the sizes."""
    keepers, sizes = np.unique(verdict.keeper, return_counts=True)
    _, distinct = np.unique(verdict.keeper[~verdict.exact], return_counts=True)
    several = sizes > 1
    pq.write_table(
        pa.table(
            {
                "doc_id": verdict.named(keepers[several]),
                "documents": pa.array(sizes[several]),
                "distinct_texts": pa.array(distinct[several]),
            }
        ),
        path,
        compression="zstd",
        compression_level=1,
    )
    return sizes[several]
