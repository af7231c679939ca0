"""Reading drafts back: rows of many files as one stream of tables that only depends on the rows.

However the rows lie in files, the same rows come in the same tables, so what is written from them has the same bytes
whether everything was read anew or most of it was remembered.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.lineage.writeback import let_go
from tasks.text.draft_file import DamagedDrafts, DraftFile
from tasks.text.drafts import Segment

BATCH_ROWS, BATCH_BYTES = 8192, 8 << 20  # of a table; a larger text is a table of its own


def read_drafts(
    segments: Sequence[Segment], columns: list[str] | None = None, last: bool = False
) -> Iterator[pa.Table]:
    """The rows of the segments, in order, in tables of bounded size. last: they will not soon be read again. Raises
    DamagedDrafts."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in _pieces(joined(segments), columns, last):
        begin = 0
        for end, reached in _ends(table, rows, size):
            if reached:
                yield pa.concat_tables([*held, table.slice(begin, end - begin)]).combine_chunks()
                held, rows, size, begin = [], 0, 0, end
            else:
                held.append(table.slice(begin, end - begin))
                rows += end - begin
                size += int(_sizes(table)[begin:end].sum())
    if rows:
        yield pa.concat_tables(held).combine_chunks()


def _sizes(table: pa.Table) -> np.ndarray:
    if "text" not in table.column_names:
        return np.zeros(table.num_rows, np.int64)
    return np.asarray(pc.fill_null(pc.binary_length(table["text"]), 0).to_numpy(), np.int64)


def _ends(table: pa.Table, rows: int, size: int) -> Iterator[tuple[int, bool]]:
    """Where to cut a table that follows on ``rows`` rows of ``size`` bytes: (row, whether a batch is full there)."""
    total = np.cumsum(_sizes(table))
    begin = 0
    while begin < table.num_rows:
        before = total[begin - 1] if begin else 0
        by_size = int(np.searchsorted(total, before + BATCH_BYTES - size)) + 1
        end = min(begin + BATCH_ROWS - rows, by_size)
        if end > table.num_rows:
            yield table.num_rows, False
            return
        yield end, True
        begin, rows, size = end, 0, 0


def joined(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments that follow one another in a file, as one."""
    last: Segment | None = None
    for segment in segments:
        if last is not None and segment.file == last.file and segment.first == last.first + last.rows:
            last = Segment(last.file, last.first, last.rows + segment.rows)
            continue
        if last is not None:
            yield last
        last = segment
    if last is not None:
        yield last


def _pieces(segments: Iterable[Segment], columns: list[str] | None, last_time: bool) -> Iterator[pa.Table]:
    """Rows table by table; the last one read is kept, since a part's items lie close together."""
    path: Path | None = None
    file: DraftFile | None = None
    last: tuple[int, pa.Table] | None = None
    try:
        for segment in segments:
            if segment.file != path:
                if file is not None:
                    _leave(file, last_time)
                path, last = segment.file, None
                file = DraftFile(path)
            assert file is not None
            row, end = segment.first, segment.first + segment.rows
            while row < end:
                number = bisect_right(file.starts, row) - 1
                if last is None or last[0] != number:
                    last = (number, file.read(number, columns))
                begin, until = file.starts[number], min(end, file.starts[number + 1])
                yield last[1].slice(row - begin, until - row)
                row = until
    except (pa.ArrowException, OSError, IndexError) as error:
        raise DamagedDrafts(f"{path}: {error}") from error
    finally:
        if file is not None:
            _leave(file, last_time)


def _leave(file: DraftFile, last_time: bool) -> None:
    file.close()
    if last_time:
        let_go(file.path)
