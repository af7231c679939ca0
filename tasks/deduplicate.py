"""Removes copies: first exact ones, then near ones by MinHash (Broder 1997).

python -m flows.cli run data   (the stage after `clean`)

Which document of a cluster is kept: one of the evaluation split if there is any, so that no near-copy of evaluation
text is trained on; then the one with the least source URI; then the least doc_id. Never the order of arrival.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import DataError
from tasks.lineage.ledger import Ledger, LedgerCounts
from tasks.stage import Resources, StageConfig, StageRun, stage
from tasks.text.clusters import ShingleStore, components
from tasks.text.minhash import BANDS, ROWS, found_probability, permutations, signatures
from tasks.text.shards import CorpusWriter, count_documents, read_corpus
from tasks.text.shingles import shingle, unique_shingles
from tasks.text.spans import TextBatch

EXACT, NEAR = "exact_duplicate", "near_duplicate"


class DeduplicateConfig(StageConfig):
    """Exact and near-duplicate removal (MinHash, Broder 1997)."""

    shingle_words: int = Field(
        5,
        ge=1,
        le=32,
        title="Words per shingle",
        description="characters count as words in scripts that write no spaces",
    )
    threshold: float = Field(
        0.8,
        gt=0,
        lt=1,
        title="Similarity",
        description="Jaccard similarity of shingle sets from which two documents are duplicates",
    )
    num_permutations: int = Field(128, ge=16, le=1024, title="Permutations", description="length of a signature")
    bands: int = Field(BANDS, ge=1, le=512, description="more bands find more pairs and cost more comparisons")
    rows: int = Field(ROWS, ge=1, le=64, title="Rows per band", description="more rows find fewer dissimilar pairs")
    seed: int = Field(1, ge=0, lt=2**32, description="draws the permutations")

    @model_validator(mode="after")
    def _check_banding(self) -> Self:
        if self.bands * self.rows > self.num_permutations:
            raise ValueError(
                f"bands × rows is {self.bands} × {self.rows} = {self.bands * self.rows}, more than the "
                f"{self.num_permutations} permutations: lower bands or rows, or raise num_permutations"
            )
        return self


@dataclass
class Survey:
    """What one pass over the corpus learns. Documents are numbered in corpus order, distinct texts as they appear."""

    store: ShingleStore
    numbers: dict[bytes, int] = field(default_factory=dict)  # digest of a normalised text → number of that text
    texts: list[int] = field(default_factory=list)  # for each document, the number of its text
    names: list[pa.Table] = field(default_factory=list)  # doc_id, source, trained_on of the documents


def normalised_digests(lowered: pa.Array) -> list[bytes]:
    """128-bit digests of texts already in lower case, blind to how their words are spaced."""
    return [blake2b(" ".join(text.split()).encode(), digest_size=16).digest() for text in lowered.to_pylist()]


def survey(run: StageRun, corpus: Path, total: int, config: DeduplicateConfig) -> Survey:
    """Digests of all documents; shingles, signatures and bands of the distinct texts."""
    factors, summands = permutations(config.num_permutations, config.seed)
    found = Survey(ShingleStore(run.work / "shingles", config.num_permutations, config.bands, config.rows))
    for table in read_corpus(corpus, ["doc_id", "text", "source", "split"]):
        lowered = pc.utf8_lower(table["text"]).combine_chunks()
        fresh = []
        for row, digest in enumerate(normalised_digests(lowered)):
            known = len(found.numbers)
            number = found.numbers.setdefault(digest, known)
            if number == known:
                fresh.append(row)
            found.texts.append(number)
        shingles = unique_shingles(shingle(TextBatch(lowered.take(fresh)), config.shingle_words))
        found.store.add(shingles, signatures(shingles.hashes, shingles.offsets, factors, summands))
        trained_on = pc.not_equal(table["split"], "evaluation")
        found.names.append(table.select(["doc_id", "source"]).append_column("trained_on", trained_on))
        run.progress(len(found.texts), 2 * total)
    found.store.seal()
    return found


@dataclass(frozen=True)
class Verdict:
    """For each document, (N,): the document kept for its cluster, its cluster, and whether it is an exact copy."""

    keeper: np.ndarray
    cluster: np.ndarray
    exact: np.ndarray


def decide(names: pa.Table, texts: np.ndarray, labels: np.ndarray) -> Verdict:
    """Choose the document to keep of each cluster.

    texts: (N,) number of each document's text. labels: cluster of each distinct text.
    """
    order = pc.sort_indices(
        names, sort_keys=[("trained_on", "ascending"), ("source", "ascending"), ("doc_id", "ascending")]
    ).to_numpy()
    cluster = labels[texts]
    best = np.empty(len(labels), np.int64)  # of each text or cluster, the document that comes first in `order`
    best[texts[order[::-1]]] = order[::-1]
    exact = best[texts] != np.arange(len(texts))
    best[cluster[order[::-1]]] = order[::-1]
    return Verdict(best[cluster], cluster, exact)


@stage(output="corpus", retries=2, libraries=("numpy", "pyarrow", "scipy", "xxhash"))
def deduplicate(run: StageRun, corpus: Artifact, config: DeduplicateConfig, resources: Resources) -> None:
    """Keep one document of every cluster of exact or near copies."""
    total = count_documents(corpus.path)
    if not total:
        raise DataError("there are no documents to deduplicate: name a source of text, or loosen the rules of `clean`")
    found = survey(run, corpus.path, total, config)
    labels, num_pairs = components(
        found.store, config.threshold, lambda band: run.progress(total, 2 * total, band=band + 1)
    )
    found.store.remove()
    names = pa.concat_tables(found.names)
    verdict = decide(names, np.array(found.texts), labels)
    counts = write_kept(run, corpus.path, total, names["doc_id"].combine_chunks(), verdict)
    sizes = write_clusters(run.output / "clusters.parquet", names["doc_id"].combine_chunks(), verdict)
    run.log_metrics(
        {
            **counts.metrics(),
            "similar_pairs": num_pairs,
            "clusters": len(sizes),
            "largest_cluster": int(sizes.max(initial=1)),
            "recall_at_threshold": found_probability(config.threshold, config.bands, config.rows),
        }
    )
    run.logger.info("kept %d of %d documents; %s", counts.documents_kept, total, counts.dropped)


def write_kept(run: StageRun, corpus: Path, total: int, doc_ids: pa.Array, verdict: Verdict) -> LedgerCounts:
    """Write the kept documents and the ledger."""
    begin = 0
    with Ledger(run.output / "ledger.parquet", documents_in=total) as ledger, CorpusWriter(run.output) as writer:
        for table in read_corpus(corpus):
            rows = np.arange(begin, begin + table.num_rows)
            keeper = verdict.keeper[rows]
            kept = keeper == rows
            reasons = np.where(verdict.exact[rows], EXACT, NEAR)
            sizes = pc.cast(pc.binary_length(table["text"]), pa.int64())
            ledger.add_table(
                pa.table(
                    {
                        "doc_id": table["doc_id"],
                        "source": table["source"],
                        "license": table["license"],
                        "language": table["language"],
                        "reason": pa.array(reasons, pa.string(), mask=kept),
                        "duplicate_of": doc_ids.take(pa.array(keeper, mask=kept)),
                        "bytes_in": sizes,
                        "bytes_out": pc.if_else(pa.array(kept), sizes, 0),
                    }
                )
            )
            writer.write(table.filter(pa.array(kept)))
            begin += table.num_rows
            run.progress(total + begin, 2 * total)
        return ledger.close()


def write_clusters(path: Path, doc_ids: pa.Array, verdict: Verdict) -> np.ndarray:
    """Write the clusters of two or more documents: the kept doc_id, and how many there are. Gives the sizes."""
    keepers, sizes = np.unique(verdict.keeper, return_counts=True)
    _, distinct = np.unique(verdict.keeper[~verdict.exact], return_counts=True)
    several = sizes > 1
    pq.write_table(
        pa.table(
            {
                "doc_id": doc_ids.take(pa.array(keepers[several])),
                "documents": pa.array(sizes[several]),
                "distinct_texts": pa.array(distinct[several]),
            }
        ),
        path,
        compression="zstd",
        compression_level=1,
    )
    return sizes[several]
