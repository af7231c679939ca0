"""Removes copies: first exact ones, then near ones by MinHash (Broder 1997).

python -m flows.cli run data   (the stage after `clean`)

Which document of a cluster is kept: one of the evaluation split if there is any, so that no near-copy of evaluation
text is trained on; then the one with the least source URI; then the least doc_id. Never the order of arrival.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, model_validator
from xxhash import xxh3_128_digest

from tasks.lineage import canonical
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import DataError
from tasks.lineage.fingerprint import fingerprint
from tasks.lineage.home import home
from tasks.lineage.ledger import Ledger, LedgerCounts
from tasks.lineage.parallel import Behind, Mapper, ahead, count_workers, in_this_process, in_threads
from tasks.stage import Resources, StageConfig, StageRun, neutral, stage
from tasks.text import kernels
from tasks.text.clusters import ShingleStore, components
from tasks.text.minhash import BANDS, ROWS, found_probability, permutations, signatures
from tasks.text.paragraphs import RepeatedParagraphs
from tasks.text.shards import CorpusWriter, count_bytes, count_documents, read_corpus
from tasks.text.shingles import Shingles, shingle_sets
from tasks.text.signature_memory import PLACE, SignatureMemory
from tasks.text.spans import CHARACTERS, TextBatch
from tasks.text.text_numbers import TextNumbers
from tasks.verdict import Verdict, decide, read_names

SIGNED_BYTES = 1 << 20  # of text worked on at once: its words and shingles take fifty times as much
EXACT, NEAR, REPEATED = "exact_duplicate", "near_duplicate", "repeated_paragraphs"


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
    paragraph_chars: int | None = Field(
        None, ge=1, title="Repeated paragraphs", json_schema_extra=neutral(None),
        description="Paragraphs of at least so many characters that another kept document holds are taken out. Empty: "
        "paragraphs stay.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_banding(self) -> Self:
        if self.bands * self.rows > self.num_permutations:
            raise ValueError(
                f"bands × rows is {self.bands} × {self.rows} = {self.bands * self.rows}, more than the "
                f"{self.num_permutations} permutations: lower bands or rows, or raise num_permutations"
            )
        return self


@dataclass(frozen=True)
class Survey:
    """What one pass over the corpus learns. Documents are numbered in corpus order, distinct texts as they appear.

    texts: (N,) for each document, the number of its text. digests: (T, 2) uint64 of the distinct texts. num_signed: of
    these, how many no earlier run had signed.
    """

    store: ShingleStore
    texts: np.ndarray
    digests: np.ndarray
    num_signed: int


def normalised_digests(lowered: TextBatch, compiled: bool = False) -> np.ndarray:
    """128-bit digests of texts already in lower case, blind to how their words are spaced, (N, 2) uint64."""
    if compiled:
        data, offsets = kernels.kept(kernels.evenly_spaced)(lowered.data, lowered.offsets, CHARACTERS.known(lowered))
    else:
        data, offsets = lowered.evenly_spaced()
    view, bounds = data.data, offsets.tolist()
    digests = [xxh3_128_digest(view[begin:end]) for begin, end in pairwise(bounds)]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def sign(lowered: TextBatch, config: DeduplicateConfig, compiled: bool = False) -> tuple[Shingles, np.ndarray]:
    """Shingles, each once, and signatures (N, K) uint32 of texts in lower case. What earlier runs signed is taken from
    them under the digest of the code that this function reaches, so all that shapes a signature belongs here."""
    shingles = shingle_sets(lowered, config.shingle_words, compiled)
    factors, summands = permutations(config.num_permutations, config.seed)
    return shingles, signatures(shingles.hashes, shingles.offsets, factors, summands, compiled)


def signature_memory(config: DeduplicateConfig) -> SignatureMemory:
    """What earlier runs signed by the same code, libraries and settings."""
    depends = {
        "code": fingerprint(sign).digest,
        "versions": {name: version(name) for name in deduplicate.libraries},
        "unicode": unicodedata.unidata_version,
        "settings": [config.shingle_words, config.num_permutations, config.seed],
    }
    return SignatureMemory(home() / PLACE, canonical.digest(depends), config.num_permutations)


class _Recall(NamedTuple):
    """Of a batch: its documents, the rows that no earlier run signed, and rows, shingles, signatures of the others."""

    documents: int
    missing: np.ndarray
    rows: np.ndarray
    shingles: Shingles
    signatures: np.ndarray


def survey(
    columns: Iterable[pa.ChunkedArray],
    place: Path,
    config: DeduplicateConfig,
    memory: SignatureMemory,
    on_batch: Callable[[int], None] = lambda documents: None,
    mapper: Mapper = in_this_process,
    compiled: bool = False,
    workers: int = 1,
) -> Survey:
    """Digests of all documents, given in batches; shingles, signatures and bands of the distinct texts, in `place`.

    mapper: signs the batches. compiled: by machine code, which pays where there is much text (kernels.py). workers:
    with several, batches are read, their digests made and what is signed written in threads meanwhile.
    """
    shutil.rmtree(place, ignore_errors=True)
    store = ShingleStore(place, config.num_permutations, config.bands, config.rows, compiled)
    numbers = TextNumbers()
    texts: list[np.ndarray] = [np.zeros(0, np.int64)]
    num_documents = num_signed = 0
    recalls: deque[_Recall] = deque()  # of the batches that are being signed

    def digested(column: pa.ChunkedArray) -> tuple[TextBatch, np.ndarray]:
        batch = TextBatch(pc.utf8_lower(column))
        return batch, normalised_digests(batch, compiled)

    def unsigned() -> Iterator[TextBatch]:
        for batch, digests in in_threads(workers)(digested, ahead(columns, workers)):
            found, fresh = numbers.number(digests)
            texts.append(found)
            recalled = memory.recall(digests[fresh])
            known = np.zeros(len(fresh), bool)
            known[recalled[0]] = True
            missing = np.flatnonzero(~known)
            recalls.append(_Recall(len(batch), missing, *recalled))
            yield batch if len(missing) == len(batch) else batch.take(fresh[missing])

    with closing(Behind(workers)) as behind:
        for signed, its_own in mapper(partial(sign, config=config, compiled=compiled), unsigned()):
            recall = recalls.popleft()
            num_signed += len(recall.missing)
            if len(recall.rows):
                order = np.argsort(np.concatenate((recall.missing, recall.rows)))
                signed = signed.followed_by(recall.shingles).take(order)
                its_own = np.concatenate((its_own, recall.signatures))[order]
            behind(store.add, signed, its_own)
            num_documents += recall.documents
            on_batch(num_documents)
    store.seal()
    return Survey(store, np.concatenate(texts), numbers.digests(), num_signed)


@stage(output="corpus", retries=2, libraries=("numba", "numpy", "pyarrow", "scipy", "xxhash"))
def deduplicate(run: StageRun, corpus: Artifact, config: DeduplicateConfig, resources: Resources) -> None:
    """Keep one document of every cluster of exact or near copies."""
    total = count_documents(corpus.path)
    if not total:
        raise DataError("there are no documents to deduplicate: name a source of text, or loosen the rules of `clean`")
    memory = signature_memory(config)
    workers = count_workers(resources.workers)
    columns = (table["text"] for table in read_corpus(corpus.path, ["text"], SIGNED_BYTES))
    place, compiled = run.work / "shingles", kernels.pays(count_bytes(corpus.path))
    here = compiled and resources.runner == "local"
    found = survey(
        columns, place, config, memory, lambda documents: run.progress(documents, 2 * total),
        in_threads(workers) if here else run.map, compiled, workers,
    )  # fmt: skip
    labels, num_pairs = components(
        found.store, config.threshold, lambda band: run.progress(total, 2 * total, band=band + 1), workers
    )
    found.store.remove_bands()
    memory.keep(found.store, found.digests)
    clusters = labels[found.texts]
    wanted = (np.bincount(clusters) > 1)[clusters] | (config.paragraph_chars is not None)
    names = pa.concat_tables(list(read_names(corpus.path, wanted)))
    verdict = decide(names, np.flatnonzero(wanted), found.texts, labels)
    paragraphs = repeated_paragraphs(corpus.path, verdict, config.paragraph_chars)
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
    """Write the kept documents and the ledger."""
    begin = 0
    kept_documents = CorpusWriter(run.output, workers=workers)
    with Ledger(run.output / "ledger.parquet", documents_in=total, workers=workers) as ledger, kept_documents as writer:
        for table in ahead(read_corpus(corpus), workers):
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
            ledger.add_table(
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
            run.progress(total + begin, 2 * total)
        return ledger.close()


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
