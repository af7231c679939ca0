"""Finds the stored passages of a text. `collect` cuts a long text file into passages (`file://…/letter.txt#line=0,44`),
each too little like the whole file for similar.py to find it.

A passage is told by containment, the share of its shingles that the text has too (Broder 1997), so however the file was
cut, and though it has been edited since. All stored passages are read, at some 20 MB a second.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.impact.census import DESCRIPTION, StoreView
from tasks.impact.similar import BATCH_ROWS, Copies, Match, Report, shingles_of, tables_of, text_outputs
from tasks.lineage import columns
from tasks.lineage.fates import id_column
from tasks.text.shingles import is_among

TELLING = 20  # shingles: with fewer in common, a passage may be of another file and say the same by chance
MANY = 50_000  # documents, which take some seconds
_LINES = "#line="  # what a passage's source ends in, with the numbers of its lines


def passages(view: StoreView, texts: Sequence[str], copies: Copies, report: Report) -> Iterator[Match]:
    """Stored passages of which `copies.threshold` or more stands in one of the texts, as they were collected and as
    cleaned; similarity: that share. A passage of fewer than TELLING shingles is one only beside a longer one of its
    file."""
    asked = _Asked(texts, copies)
    for digest in text_outputs(view, raw=True) if texts else ():
        tables = tables_of(view, digest)
        if sum(count for _, count in view.texts[digest]) > MANY:
            report(f"Looking for passages in {digest[:12]} …")
        files = pa.array(sorted({_file(match) for path in tables for match in _in_table(path, asked, TELLING)}))
        for path in tables if len(files) else ():
            yield from _in_table(path, asked, 0, files)


class _Asked:
    """The texts that passages are looked for of."""

    def __init__(self, texts: Sequence[str], copies: Copies) -> None:
        self.copies = copies
        lowered = pc.utf8_lower(columns.texts(texts))
        self.normalised = [_spaced(text) for text in lowered.to_pylist()]
        shingles = shingles_of(lowered, copies)
        self.shingles = [shingles.of(number) for number in range(len(texts))]


def _file(match: Match) -> str:
    return str(match.row["source"]).partition("#")[0]


def _spaced(text: str) -> str:
    """Words with one space on either side, so that one text is found in another only from word to word."""
    return f" {' '.join(text.split())} "


def _in_table(path: Path, asked: _Asked, fewest: int, files: pa.Array | None = None) -> Iterator[Match]:
    """The passages of a table, of these files alone where they are given, with `fewest` shingles and more."""
    with pq.ParquetFile(path, memory_map=True) as file:
        names = file.schema_arrow.names
        identity = id_column(names)
        if identity is None or not {"text", "source"} <= set(names):
            return
        wanted = [identity, "text", *(name for name in DESCRIPTION if name in names)]
        for group in range(file.num_row_groups):
            if not pc.any(_cut(file.read_row_group(group, columns=["source"])["source"], files)).as_py():
                continue
            for batch in file.iter_batches(BATCH_ROWS, [group], wanted, use_threads=False):
                rows = batch.filter(_cut(batch["source"], files))
                if len(rows):
                    yield from _contained(rows, identity, asked, fewest)


def _cut(sources: Any, files: pa.Array | None) -> Any:
    """Which sources (N,) are passages of files."""
    cut = pc.fill_null(pc.match_substring(sources, _LINES), False)
    if files is None:
        return cut
    return pc.and_(cut, pc.is_in(pc.replace_substring_regex(sources, "(?s)#.*", ""), value_set=files))


def _contained(rows: pa.RecordBatch, identity: str, asked: _Asked, fewest: int) -> Iterator[Match]:
    lowered = pc.utf8_lower(rows["text"])
    shingles = shingles_of(lowered, asked.copies)
    sizes = np.diff(shingles.offsets)
    long_enough = sizes >= max(fewest, 1)
    normalised = [_spaced(text) for text in lowered.to_pylist()] if not fewest else []
    for number, known in enumerate(asked.shingles):
        common = np.concatenate(([0], np.cumsum(is_among(shingles.hashes, known))))
        share = np.diff(common[shingles.offsets]) / np.maximum(sizes, 1)
        share[~long_enough] = 0.0
        for row, text in enumerate(normalised):
            if text in asked.normalised[number]:
                share[row] = 1.0
        for row in np.flatnonzero(share >= asked.copies.threshold).tolist():
            found = rows.slice(row, 1).to_pylist()[0]
            yield Match(found[identity], number, float(share[row]), {"id": found[identity], **found})
