"""Recognising texts that must be left out, from digests and MinHash signatures of them, never from the texts.

A list is a folder with `exclusions.parquet`, a row for each text in each wording that is known of it:

    id         doc_id or pair_id, where it is known (a digest of source and content)
    text       BLAKE2b of the text in lower case with its spacing evened out
    signature  MinHash signature; null where only the exact text is meant, or it has no words
    threshold  Jaccard similarity from which another text counts as the same
    source     SHA-256 of the source's address, where that names this text alone (`…/module.py#function`)

Signatures are of the same shingles as `deduplicate` compares (5 words, affine MinHash), but of 252 permutations: the
estimate's standard error at 0.8 is 0.025, and P(two texts of similarity 0.8 are compared) with 42 bands of 6 is
1 − (1 − 0.8⁶)⁴² = 0.999997.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.text.markup import strip_markup
from tasks.text.minhash import band_hashes, estimate, permutations, signatures
from tasks.text.shingles import shingle, unique_shingles
from tasks.text.spans import TextBatch

FORGOTTEN = "forgotten"  # the reason in ledgers
FILE = "exclusions.parquet"
SHINGLE_WORDS, NUM_BANDS, ROWS, SEED = 5, 42, 6, 1
NUM_PERMUTATIONS = NUM_BANDS * ROWS
BLOCK = 4096  # texts worked on at once
MARKED_UP = frozenset({"markdown", "rst", "html"})  # kinds of text that are also looked at without their markup

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("signature", pa.binary(4 * NUM_PERMUTATIONS)),
        ("threshold", pa.float64()),
        ("source", pa.string()),
    ]
)


def text_digests(texts: pa.Array) -> list[str]:
    """128-bit digests in hex, blind to case and spacing."""
    lowered = pc.utf8_lower(texts).to_pylist()
    return [blake2b(" ".join(text.split()).encode(), digest_size=16).hexdigest() for text in lowered]


def text_signatures(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """MinHash signatures (N, K) uint32, and whether each text has any word, (N,)."""
    shingles = unique_shingles(shingle(TextBatch(pc.utf8_lower(texts)), SHINGLE_WORDS))
    factors, summands = permutations(NUM_PERMUTATIONS, SEED)
    return signatures(shingles.hashes, shingles.offsets, factors, summands), np.diff(shingles.offsets) > 0


def source_digest(source: str) -> str | None:
    """The digest of an address that names one text alone; None for one that others share, such as a file of rows."""
    alone = source.startswith("pypi://") or "#" in source
    return sha256(source.encode()).hexdigest() if alone else None


def quarantined_id(entry: dict[str, Any]) -> str:
    """The doc_id or pair_id under which the ledger holds an entry of a quarantine."""
    return sha256(f"{entry['uri']}\0{entry['line']}\0{entry['excerpt']}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Wording:
    """One text to be recognised."""

    text: str
    id: str | None = None
    source: str | None = None
    threshold: float | None = None  # None: only the exact text


def rows_of(wordings: Sequence[Wording]) -> list[dict[str, Any]]:
    """The rows of a list that recognise these texts."""
    rows: list[dict[str, Any]] = []
    for begin in range(0, len(wordings), BLOCK):
        block = wordings[begin : begin + BLOCK]
        texts = pa.array([wording.text for wording in block], pa.large_string())
        found, has_words = text_signatures(texts)
        for number, (wording, digest) in enumerate(zip(block, text_digests(texts), strict=True)):
            near = wording.threshold is not None and has_words[number]
            rows.append({
                "id": wording.id,
                "text": digest,
                "signature": found[number].astype("<u4").tobytes() if near else None,
                "threshold": wording.threshold if near else None,
                "source": source_digest(wording.source) if wording.source else None,
            })  # fmt: skip
    return rows


def write_list(rows: Iterable[dict[str, Any]], folder: Path) -> int:
    """Write a list: each row once, in an order that does not depend on who forgot first. Gives their number."""
    distinct = {tuple(row[name] for name in SCHEMA.names) for row in rows}
    ordered = sorted(distinct, key=lambda row: tuple((value is not None, value or 0) for value in row))
    table = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in ordered], SCHEMA)
    pq.write_table(table, folder / FILE, compression="zstd", compression_level=1)
    return len(ordered)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a list."""
    rows: list[dict[str, Any]] = pq.read_table(folder / FILE).to_pylist()
    return rows


class Forgotten:
    """Texts to be recognised. Without rows it recognises nothing."""

    def __init__(self, rows: Sequence[dict[str, Any]] = ()) -> None:
        self.ids = frozenset(row["id"] for row in rows if row["id"])
        self.sources = frozenset(row["source"] for row in rows if row["source"])
        self._digests = frozenset(row["text"] for row in rows if row["text"])
        near = [row for row in rows if row["signature"] is not None]
        self._signatures = np.frombuffer(b"".join(row["signature"] for row in near), "<u4").reshape(
            len(near), NUM_PERMUTATIONS
        )
        self._thresholds = np.array([row["threshold"] for row in near], np.float64)

    @classmethod
    def read(cls, folder: Path | None) -> "Forgotten":
        """The list in a folder; an empty one for None."""
        return cls(read_rows(folder) if folder else ())

    def __bool__(self) -> bool:
        return bool(self.ids or self.sources or self._digests)

    def among(self, texts: pa.Array, kinds: Sequence[str | None] = ()) -> np.ndarray:
        """Which texts (nulls allowed) are known or near to a known one, (N,) bool. kinds: see `likeness`."""
        return self.likeness(texts, kinds) >= 0

    def likeness(self, texts: pa.Array, kinds: Sequence[str | None] = ()) -> np.ndarray:
        """Of each text (nulls allowed), the estimated similarity to the nearest known text that it is near enough to:
        1.0 for the same, −1 for none, (N,).

        kinds: of each text; those with markup are also looked at without it.
        """
        texts = pc.fill_null(texts.cast(pa.large_string()), "")
        found = np.full(len(texts), -1.0)
        for begin in range(0, len(texts), BLOCK):
            block, of_kind = texts.slice(begin, BLOCK), kinds[begin : begin + BLOCK]
            here = self._compared(block)
            for kind in sorted(MARKED_UP & set(of_kind)):
                rows = np.flatnonzero([other == kind for other in of_kind])
                plain = strip_markup(block.take(pa.array(rows)), kind)
                here[rows] = np.maximum(here[rows], self._compared(plain.cast(pa.large_string())))
            found[begin : begin + BLOCK] = here
        return found

    def _compared(self, texts: pa.Array) -> np.ndarray:
        exact = np.array([digest in self._digests for digest in text_digests(texts)], bool)
        blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(texts)), 0).to_numpy(zero_copy_only=False)
        return np.where(blank, -1.0, np.where(exact, 1.0, self._similarities(texts)))

    def _similarities(self, texts: pa.Array) -> np.ndarray:
        """Of each text, the estimated similarity to the nearest text that it is near enough to; −1 without one."""
        best = np.full(len(texts), -1.0)
        if not len(self._thresholds):
            return best
        found, has_words = text_signatures(texts)
        bands = band_hashes(found, NUM_BANDS, ROWS)
        for band, (known, order) in enumerate(self._bands):
            left = np.searchsorted(known, bands[band], "left")
            counts = np.searchsorted(known, bands[band], "right") - left
            rows = np.repeat(np.arange(len(texts)), counts)
            within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
            entries = order[np.repeat(left, counts) + within]
            alike = estimate(found[rows], self._signatures[entries]) if len(rows) else np.zeros(0)
            near = (alike >= self._thresholds[entries]) & has_words[rows]
            np.maximum.at(best, rows[near], alike[near])
        return best

    @cached_property
    def _bands(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each band, the entries' hashes in order, and which entries those are."""
        hashes = band_hashes(self._signatures, NUM_BANDS, ROWS)
        orders = [np.argsort(band, kind="stable") for band in hashes]
        return [(band[order], order) for band, order in zip(hashes, orders, strict=True)]
