"""Finds documents by where they come from, by reading the tables in which they first appear."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.impact.census import DESCRIPTION, NOT_NAMED, Said, StoreView
from tasks.lineage.fates import LEDGER, Fate, holding_tables, id_column
from tasks.lineage.sorted_ids import short_ids

UNKNOWN_LICENSE = "unknown"
RANKINGS = "rankings.parquet"
BATCH_ROWS = 1 << 15

Row = tuple[str, str | None, str | None, str | None]
"""doc_id, source, origin, license"""


class Globs:
    """Patterns with *, ? and [abc], matched against a source URI with or without its fragment, or an origin. One
    without a scheme is also taken for a file's path. No pattern matches everything."""

    def __init__(self, patterns: Sequence[str], folder: Path) -> None:
        paths = [(folder / Path(glob).expanduser()).as_posix() for glob in patterns if "://" not in glob]
        parts = [re2(glob) for glob in (*patterns, *(f"file://{path}" for path in paths))]
        self.everything = not patterns
        self._whole = f"^(?s:{'|'.join(parts)})$"
        self._python = re.compile(f"(?s:{'|'.join(parts)})")

    def match(self, source: str | None, origin: str | None) -> bool:
        names = (source, (source or "").partition("#")[0], origin)
        return self.everything or any(name is not None and self._python.fullmatch(name) for name in names)

    def of_table(self, table: pa.Table) -> pa.ChunkedArray | pa.Array:
        """Which rows (N,) match, by the columns source and origin, of which one may be missing."""
        if self.everything:
            return pa.array(np.ones(table.num_rows, bool))
        found = pa.array(np.zeros(table.num_rows, bool))
        columns = [table[name] for name in ("source", "origin") if name in table.column_names]
        if "source" in table.column_names:
            columns.append(pc.replace_substring_regex(table["source"], "(?s)#.*", ""))
        for column in columns:
            found = pc.or_(found, pc.fill_null(pc.match_substring_regex(column, self._whole), False))
        return found


def re2(glob: str) -> str:
    """The regular expression of a glob, in the words that both RE2 and Python know."""
    parts = []
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "*":
            parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character == "[" and (end := glob.find("]", position + 1)) > 0:
            inside = glob[position:end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[{'^' + inside[1:] if inside[0] == '!' else inside}]")
            position = end + 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def documents(view: StoreView, globs: Globs, licenses: Iterable[str]) -> dict[int, Row]:
    """Short id → row of every document whose source and licence match. Of those that no output kept only the source
    is known, so a licence finds none of them."""
    wanted = [name.lower() for name in licenses]
    found: dict[int, Row] = {}
    for digest in view.in_time(view.present & view.texts.keys()):
        if _only_passes_on(view, digest):
            continue
        folder = view.store.object_path(digest)
        paths = [path for path in holding_tables(folder) if "source" in pq.read_schema(path).names]
        if not wanted and (folder / LEDGER).is_file():
            paths.append(folder / LEDGER)
        for path in paths:
            for table, identity in _batches(path):
                chosen = globs.of_table(table)
                if wanted and "license" not in table.column_names:
                    continue
                if wanted:
                    license = pc.utf8_lower(pc.fill_null(table["license"], UNKNOWN_LICENSE))
                    chosen = pc.and_(chosen, pc.is_in(license, value_set=pa.array(wanted, license.type)))
                _add(found, table.filter(chosen), identity)
    return found


def _batches(path: Path) -> Iterator[tuple[pa.Table, str]]:
    with pq.ParquetFile(path, memory_map=True) as file:
        names = file.schema_arrow.names
        identity = id_column(names)
        assert identity is not None
        columns = [identity, *(name for name in DESCRIPTION if name in names)]
        for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
            yield pa.Table.from_batches([batch]), identity


def _add(found: dict[int, Row], table: pa.Table, identity: str) -> None:
    """The first table that tells of a document says most of it."""
    columns = [
        table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
        for name in (identity, *DESCRIPTION)
    ]
    for short, *row in zip(short_ids(table[identity]).tolist(), *columns, strict=True):
        found.setdefault(short, (row[0], row[1], row[2], row[3]))


def _only_passes_on(view: StoreView, digest: str) -> bool:
    """Whether an output's documents all come from inputs that are in the store too, and tell of them."""
    makers = view.graph.made_by(digest)
    return bool(makers) and all(
        any(given.digest in view.present and given.digest in view.texts for given in header.inputs.values())
        for header in makers
    )


class RankingFound(NamedTuple):
    prompt_id: str
    annotator: str
    origin: str | None


def rankings(view: StoreView, annotators: Sequence[str]) -> tuple[list[RankingFound], dict[str, Said]]:
    """The rankings by any of the annotators, and by digest which output holds which, with its split there."""
    places: dict[tuple[str, str], int] = {}
    found: list[RankingFound] = []
    rows: dict[str, list[tuple[int, str | None]]] = {}
    for digest in view.in_time(view.present):
        path = view.store.object_path(digest) / RANKINGS
        if not path.is_file():
            continue
        names = pq.read_schema(path).names
        columns = [name for name in ("prompt_id", "annotator", "origin", "split") if name in names]
        for row in pq.read_table(path, columns=columns, filters=[("annotator", "in", list(annotators))]).to_pylist():
            identity = (row["prompt_id"], row["annotator"])
            if identity not in places:
                places[identity] = len(found)
                found.append(RankingFound(*identity, row.get("origin")))
            rows.setdefault(digest, []).append((places[identity], row.get("split")))
    said = {}
    for digest, held in rows.items():
        labels = sorted({split for _, split in held}, key=str)
        codes = np.full(len(found), NOT_NAMED, np.uint8)
        for place, split in held:
            codes[place] = labels.index(split)
        said[digest] = Said([Fate(True, split=split) for split in labels], codes)
    return found, said
