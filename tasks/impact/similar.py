"""Finds stored texts that equal or nearly equal a given one, as `deduplicate` tells copies: same words, same shingles.

Candidates come from bands of MinHash signatures (tasks/text/minhash.py: a pair of Jaccard similarity 0.8 is found with
probability 0.998), sorted once for each output that holds text into `index/documents/<digest>.<settings>.bands-000` and
so on, and compared exactly. The first question to a corpus makes its index, at some 50,000 documents a second.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.impact.census import StoreView
from tasks.lineage.document_rows import rows_of
from tasks.lineage.fates import holding_tables, index_path
from tasks.lineage.sorted_ids import Section, SortedIds, all_places, in_order, keep_index, open_index
from tasks.text.minhash import band_hashes, permutations, signatures
from tasks.text.shingles import Shingles, shingle, unique_shingles
from tasks.text.spans import TextBatch

EXACT = "exact"
SEGMENT_TEXTS = 1 << 18  # in one file: bounds what making it holds in memory, about 300 bytes a text
BATCH_ROWS = 4096
PART_COLUMNS = ("text", "prompt", "response")


@dataclass(frozen=True)
class Copies:
    """When two texts count as copies: the settings of `deduplicate` that say so."""

    shingle_words: int
    threshold: float
    num_permutations: int
    bands: int
    rows: int
    seed: int

    @property
    def name(self) -> str:
        """Short name of what the bands depend on."""
        values = (self.shingle_words, self.num_permutations, self.bands, self.rows, self.seed)
        return sha256(repr(values).encode()).hexdigest()[:8]


class Match(NamedTuple):
    """A stored text that is like one of those asked for."""

    doc_id: str
    asked: int  # which
    similarity: float


def copies_of(view: StoreView) -> Copies:
    """As the latest `deduplicate` in the store was told; by its defaults where none has run."""
    made = [header for header in view.graph.headers if header.stage == "deduplicate"]
    latest = max(made, key=lambda header: header.created, default=None)
    record = None if latest is None else view.store.maker(latest.artifact)
    config: dict[str, Any] = {} if record is None else dict(record.config)
    names = Copies.__dataclass_fields__.keys()
    if not names <= config.keys():
        from tasks.deduplicate import DeduplicateConfig  # brings scipy

        config = DeduplicateConfig(**config).model_dump()
    return Copies(**{name: config[name] for name in names})


def similar(view: StoreView, texts: Sequence[str], copies: Copies, report: Callable[[str], None]) -> Iterator[Match]:
    """Stored texts of similarity `copies.threshold` and above, or equal; one may be named several times."""
    if not texts:
        return
    asked = _Asked(texts, copies)
    for digest in view.in_time(view.present):
        if not _repeats_its_input(view, digest):
            yield from _similar_in(view, digest, asked, report)


def likeness(text: str, others: Sequence[str], copies: Copies) -> list[float]:
    """The similarity of a text to each of the others (N,)."""
    shingles = _shingles(pc.utf8_lower(pa.array([text, *others], pa.large_string())), copies)
    return [_jaccard(shingles.of(0), shingles.of(number)) for number in range(1, len(others) + 1)]


def _repeats_its_input(view: StoreView, digest: str) -> bool:
    """Whether all texts of an output stand word for word in another one of the store."""
    makers = view.graph.made_by(digest)
    return bool(makers) and all(
        header.stage == "deduplicate" and all(given.digest in view.present for given in header.inputs.values())
        for header in makers
    )


class _Asked:
    """The texts that are looked for."""

    def __init__(self, texts: Sequence[str], copies: Copies) -> None:
        self.copies = copies
        lowered = pc.utf8_lower(pa.array(texts, pa.large_string()))
        self.normalised = [" ".join(text.split()) for text in lowered.to_pylist()]
        self.shingles = _shingles(lowered, copies)
        worded = np.diff(self.shingles.offsets) > 0  # texts without a word are equal to others or like none
        self.keys = {
            name: keys if name == EXACT else keys[worded]
            for name, keys in _keys(lowered, self.shingles, copies).items()
        }


def _shingles(lowered: pa.Array, copies: Copies) -> Shingles:
    return unique_shingles(shingle(TextBatch(lowered), copies.shingle_words))


def _keys(lowered: pa.Array, shingles: Shingles, copies: Copies) -> dict[str, np.ndarray]:
    """What two texts must share to be compared: for each band a hash (N,) uint64, and one of the whole text."""
    factors, summands = permutations(copies.num_permutations, copies.seed)
    signature = signatures(shingles.hashes, shingles.offsets, factors, summands)
    whole = [blake2b(" ".join(text.split()).encode(), digest_size=8).digest() for text in lowered.to_pylist()]
    bands = band_hashes(signature, copies.bands, copies.rows)
    return {
        EXACT: np.frombuffer(b"".join(whole), "<u8"),
        **{f"band {number}": hashes for number, hashes in enumerate(bands)},
    }


def _similar_in(view: StoreView, digest: str, asked: _Asked, report: Callable[[str], None]) -> Iterator[Match]:
    folder = view.store.object_path(digest)
    tables = [path for path in holding_tables(folder) if _parts(path)]
    if not tables:
        return
    candidates = set()
    for segment in _segments(view, digest, tables, asked.copies, report):
        for name, section in segment.sections.items():
            candidates.update(section.numbers[all_places(section, np.unique(asked.keys[name]))].tolist())
    numbers, first = np.array(sorted(candidates), np.int64), 0
    for path in tables:
        count = pq.read_metadata(path).num_rows
        rows = numbers[(numbers >= first) & (numbers < first + count)] - first
        first += count
        if len(rows):
            yield from _compared(path, rows, asked)


def _compared(path: Path, rows: np.ndarray, asked: _Asked) -> Iterator[Match]:
    for row in rows_of(path, rows, PART_COLUMNS):
        lowered = pc.utf8_lower(pa.array(_variants(row), pa.large_string()))
        shingles = _shingles(lowered, asked.copies)
        for variant, text in enumerate(lowered.to_pylist()):
            normalised, own = " ".join(text.split()), shingles.of(variant)
            for number, wanted in enumerate(asked.normalised):
                similarity = 1.0 if wanted == normalised else _jaccard(asked.shingles.of(number), own)
                if similarity >= asked.copies.threshold:
                    yield Match(row["id"], number, similarity)


def _jaccard(left: np.ndarray, right: np.ndarray) -> float:
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / max(len(left) + len(right) - common, 1)


def _parts(path: Path) -> list[str]:
    """The columns that hold the text of documents; none in a table of something else, such as models' answers."""
    names = pq.read_schema(path).names
    return [name for name in PART_COLUMNS if name in names] if "source" in names else []


def _variants(row: dict[str, Any]) -> list[str]:
    """The texts that a document may be asked for by: itself; of a pair also its halves."""
    parts = [row[name] for name in PART_COLUMNS if row.get(name)]
    return parts if len(parts) < 2 else [*parts, "\n".join(parts)]


def _segments(
    view: StoreView, digest: str, tables: list[Path], copies: Copies, report: Callable[[str], None]
) -> Iterator[SortedIds]:
    """The output's index, made now where it is missing."""
    opened = []
    for number in range(1 << 20):
        index = open_index(index_path(view.store, digest, f"{copies.name}.bands-{number:03d}"))
        if index is None:
            break
        opened.append(index)
        if index.header["last"]:
            return iter(opened)
    report(f"Sorting the texts of {digest[:12]} by likeness; this is done once …")
    return _make(view, digest, tables, copies)


def _make(view: StoreView, digest: str, tables: list[Path], copies: Copies) -> Iterator[SortedIds]:
    held: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    number = texts = 0
    for rows, lowered in _texts(tables):
        if texts >= SEGMENT_TEXTS:
            yield _keep(view, digest, copies, number, held, last=False)
            held, texts, number = [], 0, number + 1
        held.append((rows, _keys(lowered, _shingles(lowered, copies), copies)))
        texts += len(rows)
    yield _keep(view, digest, copies, number, held, last=True)


def _texts(tables: list[Path]) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """Rows, numbered through all tables, and their texts in lower case; a pair's row comes once for each variant."""
    first = 0
    for path in tables:
        with pq.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=_parts(path), use_threads=False):
                variants = [_variants(row) for row in batch.to_pylist()]
                rows = np.repeat(np.arange(first, first + batch.num_rows), [len(found) for found in variants])
                texts = pa.array([text for found in variants for text in found], pa.large_string())
                first += batch.num_rows
                if len(rows):
                    yield rows, pc.utf8_lower(texts)


def _keep(
    view: StoreView,
    digest: str,
    copies: Copies,
    number: int,
    held: list[tuple[np.ndarray, dict[str, np.ndarray]]],
    last: bool,
) -> SortedIds:
    rows = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in held)])
    names = held[0][1] if held else {}
    nothing = np.zeros(len(rows), np.uint8)
    sections: dict[str, Section] = {
        name: in_order(np.concatenate([keys[name] for _, keys in held]), rows, nothing) for name in names
    }
    path = index_path(view.store, digest, f"{copies.name}.bands-{number:03d}")
    return keep_index(path, {"labels": [], "last": last}, sections)
