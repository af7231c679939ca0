"""Of documents that are copies of each other, which is kept: one that is held out before others, then by source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.lineage.parallel import in_threads
from tasks.text.shards import RowGroup, row_groups


@dataclass(frozen=True)
class Verdict:
    """For each document, (N,): the document kept for its cluster, whether it is an exact copy, and its place in the
    order in which documents are preferred, −1 where there was nothing to choose. doc_ids: by that place."""

    keeper: np.ndarray
    exact: np.ndarray
    rank: np.ndarray
    doc_ids: pa.Array

    def named(self, documents: np.ndarray, unless: np.ndarray | None = None) -> pa.Array:
        """The doc_ids of documents among which there was something to choose; null where `unless` holds."""
        return self.doc_ids.take(pa.array(self.rank[documents], mask=unless))


def read_names(corpus: Path, wanted: np.ndarray, workers: int = 1) -> Iterator[pa.Table]:
    """doc_id, source and trained_on of the documents where `wanted`, (N,) bool, holds, in corpus order. workers:
    threads that read."""

    def read(asked: tuple[RowGroup, int]) -> pa.Table:
        group, end = asked
        table = group.read(["doc_id", "source", "split"]).filter(pa.array(wanted[end - group.rows : end]))
        trained_on = pc.not_equal(table["split"], "evaluation")
        return table.select(["doc_id", "source"]).append_column("trained_on", trained_on)

    groups = list(row_groups(corpus))
    ends = accumulate(group.rows for group in groups)
    return in_threads(workers)(read, zip(groups, ends, strict=True))


def decide(names: pa.Table, documents: np.ndarray, texts: np.ndarray, labels: np.ndarray) -> Verdict:
    """Choose the document to keep of each cluster.

    names: of `documents`, (D,), those that are not alone in their cluster, or more. texts: (N,) number of each
    document's text. labels: cluster of each distinct text.
    """
    order = pc.sort_indices(
        names, sort_keys=[("trained_on", "ascending"), ("source", "ascending"), ("doc_id", "ascending")]
    )
    preferred = documents[order.to_numpy()]
    clusters = labels[texts]
    best = np.empty(len(labels), np.int64)  # of each text or cluster, the document that is preferred
    best[texts[preferred[::-1]]] = preferred[::-1]
    exact = np.zeros(len(texts), bool)
    exact[documents] = best[texts[documents]] != documents
    best[clusters[preferred[::-1]]] = preferred[::-1]
    keeper = np.arange(len(texts))
    keeper[documents] = best[clusters[documents]]
    rank = np.full(len(texts), -1)
    rank[preferred] = np.arange(len(preferred))
    return Verdict(keeper, exact, rank, names["doc_id"].combine_chunks().take(order))
