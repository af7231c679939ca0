"""Finds stored texts that equal or nearly equal a given one, as `deduplicate` tells copies: same words, same shingles.

Candidates come from bands of MinHash signatures (tasks/text/minhash.py: a pair of Jaccard similarity 0.8 is found with
probability 0.998), sorted once for each output that holds text into `index/documents/<digest>.<settings>.bands-000` and
so on, and compared exactly. The first question to a corpus makes its index, at some 50,000 documents a second.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.impact.census import DESCRIPTION, StoreView
from tasks.lineage import columns
from tasks.lineage.document_rows import rows_of
from tasks.lineage.fates import index_path
from tasks.lineage.sorted_ids import Section, SortedIds, in_order, keep_index, open_index
from tasks.text.minhash import band_hashes, permutations, signatures
from tasks.text.shingles import Shingles, shingle, unique_shingles
from tasks.text.spans import TextBatch

EXACT = "exact"
SEGMENT_TEXTS = 1 << 18  # in one file: bounds what making it holds in memory, about 300 bytes a text
BATCH_ROWS = 4096
PART_COLUMNS = ("text", "prompt", "response")
MOST_COMPARED = 1000  # stored texts for each that is asked for, in one output: more are boilerplate
_HIGH, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)

Report: TypeAlias = Callable[[str], None]
"""Is told what takes long."""


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
    """A stored text that is like one of those asked for. row: what its table says of it, DESCRIPTION included."""

    doc_id: str
    asked: int  # which
    similarity: float
    row: dict[str, Any]


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


def similar(
    view: StoreView, texts: Sequence[str], copies: Copies, report: Report, notes: list[str], raw: bool = True
) -> Iterator[Match]:
    """Stored texts of similarity `copies.threshold` and above, or equal; one may be named several times.

    raw: look also at texts as they were before `clean`, and at what it dropped. notes: gets what was not compared.
    """
    if not texts:
        return
    asked = _Asked(texts, copies)
    for digest in text_outputs(view, raw):
        yield from _similar_in(view, digest, asked, report, notes)


def unsorted_texts(view: StoreView, copies: Copies) -> int:
    """How many texts (a pair counts once) a search for near-duplicates would have to sort first."""
    return sum(
        count
        for digest in text_outputs(view, raw=False)
        if _opened(view, digest, copies) is None
        for _, count in view.texts[digest]
    )


def text_outputs(view: StoreView, raw: bool) -> list[str]:
    """The outputs to look at, so that each text is met; not also where it stands word for word a second time."""
    passed_on = {"deduplicate": "inputs", "decontaminate": "inputs"}
    if not raw:
        passed_on["collect"] = "takers"
    holding = [digest for digest, tables in view.texts.items() if tables and digest in view.present]
    return [digest for digest in view.in_time(holding) if not _stands_elsewhere(view, digest, passed_on)]


def _stands_elsewhere(view: StoreView, digest: str, passed_on: Mapping[str, str]) -> bool:
    makers = view.graph.made_by(digest)
    if not makers or any(header.stage not in passed_on for header in makers):
        return False
    if passed_on[makers[0].stage] == "takers":
        return any(taker.digest in view.present and taker.stage == "clean" for taker in view.graph.takers(digest))
    return all(given.digest in view.present for header in makers for given in header.inputs.values())


def likeness(text: str, others: Sequence[str], copies: Copies) -> list[float]:
    """The similarity of a text to each of the others (N,)."""
    shingles = shingles_of(pc.utf8_lower(columns.texts([text, *others])), copies)
    return [_jaccard(shingles.of(0), shingles.of(number)) for number in range(1, len(others) + 1)]


class _Asked:
    """The texts that are looked for."""

    def __init__(self, texts: Sequence[str], copies: Copies) -> None:
        self.copies = copies
        lowered = pc.utf8_lower(columns.texts(texts))
        self.normalised = [" ".join(text.split()) for text in lowered.to_pylist()]
        self.shingles = shingles_of(lowered, copies)
        self.worded = np.flatnonzero(np.diff(self.shingles.offsets))  # the rest are equal to others or like none
        self.keys = _keys(lowered, self.shingles, copies)

    def pairs_in(self, index: SortedIds) -> NDArray[np.uint64]:
        """(which was asked for) · 2³² + (number of a stored text), for each key they share (repeats)."""
        found = []
        for name, section in index.sections.items():
            numbers = np.arange(len(self.normalised)) if name == EXACT else self.worded
            keys = self.keys[name][numbers]
            low, high = (np.searchsorted(section.ids, keys, side) for side in ("left", "right"))
            within = np.arange((high - low).sum()) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
            stored = section.numbers[np.repeat(low, high - low) + within].astype(np.uint64)
            found.append(np.repeat(numbers, high - low).astype(np.uint64) << _HIGH | stored)
        return np.concatenate(found)


def shingles_of(lowered: pa.Array, copies: Copies) -> Shingles:
    """Each text's shingles once, in rising order. lowered: texts in lower case."""
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


def _similar_in(view: StoreView, digest: str, asked: _Asked, report: Report, notes: list[str]) -> Iterator[Match]:
    tables = tables_of(view, digest)
    opened = _opened(view, digest, asked.copies)
    if opened is None:
        report(f"Sorting the texts of {digest[:12]} by likeness; this is done once …")
    segments = _make(view, digest, tables, asked.copies) if opened is None else opened
    found = [asked.pairs_in(segment) for segment in segments]
    pairs, shared = np.unique(np.concatenate([np.zeros(0, np.uint64), *found]), return_counts=True)
    most = MOST_COMPARED * len(asked.normalised)
    if len(pairs) > most:
        notes.append(f"of {len(pairs):,} likely copies in {digest[:12]} only the {most:,} likeliest were compared")
        pairs = np.sort(pairs[np.argsort(-shared, kind="stable")[:most]])
    numbers, whose = (pairs & _LOW).astype(np.int64), (pairs >> _HIGH).astype(np.int64)
    order = np.argsort(numbers, kind="stable")
    numbers, whose, first = numbers[order], whose[order], 0
    for path in tables:
        count = pq.read_metadata(path).num_rows
        here = slice(*np.searchsorted(numbers, [first, first + count]))
        if here.start < here.stop:
            yield from _compared(path, numbers[here] - first, whose[here], asked)
        first += count


def _compared(path: Path, rows: NDArray[np.int64], whose: NDArray[np.int64], asked: _Asked) -> Iterator[Match]:
    """Matches among the pairs of a row of the table, rising, and what was asked for, (P,) each."""
    distinct, starts = np.unique(rows, return_index=True)
    wanted = np.split(whose, starts[1:])
    stored = list(rows_of(path, distinct, (*PART_COLUMNS, *DESCRIPTION)))
    variants = [_variants(row) for row in stored]
    lowered = pc.utf8_lower(columns.texts([text for texts in variants for text in texts]))
    shingles, normalised = shingles_of(lowered, asked.copies), [" ".join(text.split()) for text in lowered.to_pylist()]
    variant = 0
    for numbers, row, texts in zip(wanted, stored, variants, strict=True):
        for place in range(variant, variant + len(texts)):
            for number in numbers.tolist():
                equal = asked.normalised[number] == normalised[place]
                similarity = 1.0 if equal else _jaccard(asked.shingles.of(number), shingles.of(place))
                if similarity >= asked.copies.threshold:
                    yield Match(row["id"], number, similarity, row)
        variant += len(texts)


def _jaccard(left: np.ndarray, right: np.ndarray) -> float:
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / max(len(left) + len(right) - common, 1)


def _parts(path: Path) -> list[str]:
    """The columns that hold the text of documents."""
    names = pq.read_schema(path).names
    return [name for name in PART_COLUMNS if name in names]


def _variants(row: dict[str, Any]) -> list[str]:
    """The texts that a document may be asked for by: itself; of a pair also its halves."""
    parts = [row[name] for name in PART_COLUMNS if row.get(name)]
    return parts if len(parts) < 2 else [*parts, "\n".join(parts)]


def tables_of(view: StoreView, digest: str) -> list[Path]:
    """An output's tables that hold text."""
    return [view.store.object_path(digest) / name for name, _ in view.texts[digest]]


def _opened(view: StoreView, digest: str, copies: Copies) -> list[SortedIds] | None:
    """The output's index; None where it is not there in full."""
    opened: list[SortedIds] = []
    while not opened or not opened[-1].header["last"]:
        index = open_index(index_path(view.store, digest, f"{copies.name}.bands-{len(opened):03d}"))
        if index is None:
            return None
        opened.append(index)
    return opened


def _make(view: StoreView, digest: str, tables: list[Path], copies: Copies) -> Iterator[SortedIds]:
    held: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    number = texts = 0
    for rows, lowered in _texts(tables):
        if texts >= SEGMENT_TEXTS:
            yield _keep(view, digest, copies, number, held, last=False)
            held, texts, number = [], 0, number + 1
        held.append((rows, _keys(lowered, shingles_of(lowered, copies), copies)))
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
                texts = columns.texts([text for found in variants for text in found])
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
