"""How two files differ: at which byte, and for JSON, Parquet and safetensors in which field, column or tensor, how far.

    difference(earlier, now) → {"first_byte", "format", "differing", "of", "parts", "note"}

A part is a field, a column or a tensor that differs: {"name", "differing", "of", "first", "old", "new",
"max_abs_difference"}: how many of its values, the place of the first and what it was and is, and the largest absolute
difference of numbers (None where they are no numbers, or cannot be subtracted one by one).
"""

import json
from collections.abc import Callable, Iterator
from itertools import zip_longest
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lineage.sides import flat

BLOCK = 1 << 20
BATCH_ROWS = 8192
MOST_PARTS = 20
MOST_TEXT_BYTES = 64 << 20  # a larger JSON file is compared byte by byte only
SHOWN = 200  # characters of a value
_ABSENT = object()

Part = dict[str, Any]
Found = dict[str, Any]


def difference(old: Path, new: Path) -> Found | None:
    """How the file `new` differs from `old`; None if they are the same bytes. Raises OSError."""
    place = first_byte(old, new)
    if place is None:
        return None
    found: Found = {"first_byte": place, "format": None, "differing": None, "of": None, "parts": [], "note": None}
    reader = _READERS.get(old.suffix)
    if reader is not None:
        try:
            found |= reader(old, new)
        except (ValueError, KeyError, TypeError, RecursionError, pa.ArrowException) as error:
            found["note"] = f"one of them cannot be read as {old.suffix.removeprefix('.')}: {error}"[:SHOWN]
    return found


def first_byte(old: Path, new: Path) -> int | None:
    """Offset of the first byte that differs, the end of the shorter one if it begins the other; None if equal."""
    offset = 0
    with old.open("rb") as one, new.open("rb") as other:
        while True:
            left, right = one.read(BLOCK), other.read(BLOCK)
            if left != right:
                shorter = min(len(left), len(right))
                a, b = (np.frombuffer(side, np.uint8, shorter) for side in (left, right))
                apart = np.flatnonzero(a != b)
                return offset + (int(apart[0]) if len(apart) else shorter)
            if not left:
                return None
            offset += len(left)


def sentence(found: Found) -> str:
    """A difference in one line."""
    told = [f"first at byte {found['first_byte']:,}"]
    if found["differing"]:
        what = {"safetensors": "tensors", "parquet": "columns"}.get(found["format"], "fields")
        told.append(f"{found['differing']:,} of {found['of']:,} {what} differ")
    if found["parts"]:
        part = found["parts"][0]
        inside = f"{part['name']}: {part['differing']:,} of {part['of']:,} values"
        if part["max_abs_difference"] is not None:
            inside += f", by at most {part['max_abs_difference']:.3g}"
        told.append(f"{inside}, first {_shown(part['old'])} → {_shown(part['new'])}")
    if found["note"]:
        told.append(found["note"])
    return "; ".join(told)


# -- the formats -----------------------------------------------------------------------------------------------------


def _json(old: Path, new: Path) -> Found:
    if max(old.stat().st_size, new.stat().st_size) > MOST_TEXT_BYTES:
        return {"note": "too large to be compared by field"}
    one, other = (flat(json.loads(path.read_text(encoding="utf-8"))) for path in (old, new))
    names = list({**one, **other})  # in the order of the file
    parts = [
        _part(name, 1, 1, None, one.get(name), other.get(name))
        for name in names
        if not _same(one.get(name, _ABSENT), other.get(name, _ABSENT))
    ]
    note = None if parts else "the same content, written in another way"
    return {"format": "json", "differing": len(parts), "of": len(names), "parts": parts[:MOST_PARTS], "note": note}


def _json_lines(old: Path, new: Path) -> Found:
    """By field over all lines: the first line in which it differs."""
    parts: dict[str, Part] = {}
    fields: set[str] = set()
    counts = [0, 0]
    with old.open(encoding="utf-8") as one, new.open(encoding="utf-8") as other:
        for number, lines in enumerate(zip_longest(one, other)):
            counts = [count + (line is not None) for count, line in zip(counts, lines, strict=True)]
            if None in lines:
                continue
            left, right = ({} if line == lines[1 - i] else flat(json.loads(line)) for i, line in enumerate(lines))
            fields |= left.keys() | right.keys()
            for name in sorted(left.keys() | right.keys()):
                if not _same(left.get(name, _ABSENT), right.get(name, _ABSENT)):
                    _add(parts, _part(name, 1, 0, number, left.get(name), right.get(name)))
    for part in parts.values():
        part["of"] = min(counts)
    return _table("jsonl", list(parts.values()), len(fields), counts)


def _parquet(old: Path, new: Path) -> Found:
    """By column over the rows that both have."""
    with pq.ParquetFile(old, memory_map=True) as one, pq.ParquetFile(new, memory_map=True) as other:
        counts = [file.metadata.num_rows for file in (one, other)]
        names = [file.schema_arrow.names for file in (one, other)]
        shared = [name for name in names[0] if name in names[1]]
        parts: dict[str, Part] = {}
        row = 0
        for left, right in _aligned(one, other, shared):
            for name in shared:
                part = _column(name, left[name], right[name], row, min(counts))
                if part is not None:
                    _add(parts, part)
            row += len(left)
    gone, fresh = ([name for name in mine if name not in shared] for mine in names)
    found = _table("parquet", [parts[name] for name in shared if name in parts], len({*names[0], *names[1]}), counts)
    notes = [f"without the column {name}" for name in gone] + [f"with a new column {name}" for name in fresh]
    if notes:
        found["note"] = "; ".join(filter(None, [found["note"] if counts[0] != counts[1] else None, *notes]))
    return found


def _safetensors(old: Path, new: Path) -> Found:
    """Tensor by tensor, so that memory is bounded by the largest."""
    from safetensors import SafetensorError, safe_open  # with torch behind it, for bf16; loaded for models only

    parts: list[Part] = []
    try:
        opened = [safe_open(str(path), "pt") for path in (old, new)]
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    with opened[0] as one, opened[1] as other:
        names = [list(file.keys()) for file in (one, other)]
        for name in sorted({*names[0], *names[1]}):
            old_side = one.get_tensor(name) if name in names[0] else None
            new_side = other.get_tensor(name) if name in names[1] else None
            part = _tensor(name, old_side, new_side)
            if part is not None:
                parts.append(part)
    note = None if parts else "the same values, in other bytes (header, signs of zero, kinds of NaN)"
    total = len({*names[0], *names[1]})
    return {"format": "safetensors", "differing": len(parts), "of": total, "parts": parts[:MOST_PARTS], "note": note}


_READERS: dict[str, Callable[[Path, Path], Found]] = {
    ".json": _json, ".jsonl": _json_lines, ".parquet": _parquet, ".safetensors": _safetensors,
}  # fmt: skip


# -- their values ----------------------------------------------------------------------------------------------------


def _tensor(name: str, old: Any, new: Any) -> Part | None:
    if old is None or new is None or old.dtype != new.dtype or old.shape != new.shape:
        sides = [None if side is None else f"{side.dtype} {list(side.shape)}" for side in (old, new)]
        size = max(side.numel() for side in (old, new) if side is not None)
        return None if sides[0] == sides[1] else _part(name, size, size, None, *sides)
    one, other = (side.double().numpy().reshape(-1) for side in (old, new))
    return _numbers(name, one, other, 0, len(one))


def _numbers(name: str, old: Any, new: Any, row: int, of: int) -> Part | None:
    """Arrays (N,) of numbers, in which two NaN are the same."""
    apart = np.flatnonzero((old != new) & ~(np.isnan(old) & np.isnan(new)))
    if not len(apart):
        return None
    first = int(apart[0])
    part = _part(name, len(apart), of, row + first, float(old[first]), float(new[first]))
    with np.errstate(invalid="ignore"):
        by = np.abs(old[apart] - new[apart])
    part["max_abs_difference"] = float(np.nanmax(by)) if np.isfinite(by).any() else None
    return part


def _column(name: str, old: pa.ChunkedArray, new: pa.ChunkedArray, row: int, of: int) -> Part | None:
    if old.equals(new):
        return None
    numeric = [pa.types.is_floating(side.type) or pa.types.is_integer(side.type) for side in (old, new)]
    if all(numeric) and not old.null_count and not new.null_count:
        left, right = (side.cast(pa.float64(), safe=False).to_numpy() for side in (old, new))
        return _numbers(name, left, right, row, of)
    one, other = old.to_pylist(), new.to_pylist()
    apart = [place for place, sides in enumerate(zip(one, other, strict=True)) if not _same(*sides)]
    if not apart:
        return None
    return _part(name, len(apart), of, row + apart[0], one[apart[0]], other[apart[0]])


def _aligned(one: pq.ParquetFile, other: pq.ParquetFile, names: list[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Pieces of both tables with the same rows, as long as both have some."""
    if not names:
        return
    pieces = [file.iter_batches(BATCH_ROWS, columns=names, use_threads=False) for file in (one, other)]
    held = [file.schema_arrow.empty_table().select(names) for file in (one, other)]
    while True:
        for side, piece in enumerate(pieces):
            while not len(held[side]):
                batch = next(piece, None)
                if batch is None:
                    return
                held[side] = pa.Table.from_batches([batch])
        rows = min(len(held[0]), len(held[1]))
        yield held[0].slice(0, rows), held[1].slice(0, rows)
        held = [table.slice(rows) for table in held]


def _table(form: str, parts: list[Part], of: int, counts: list[int]) -> Found:
    note = f"{counts[0]:,} → {counts[1]:,} rows" if counts[0] != counts[1] else None
    if not parts and note is None:
        note = "the same rows, written in another way"
    return {"format": form, "differing": len(parts), "of": of, "parts": parts[:MOST_PARTS], "note": note}


def _part(name: str, differing: int, of: int, first: int | None, old: Any, new: Any) -> Part:
    numbers = [isinstance(side, int | float) and not isinstance(side, bool) for side in (old, new)]
    by = abs(old - new) if all(numbers) and isfinite(old) and isfinite(new) else None
    return {
        "name": name, "differing": differing, "of": of, "first": first, "old": _plain(old), "new": _plain(new),
        "max_abs_difference": by,
    }  # fmt: skip


def _add(parts: dict[str, Part], part: Part) -> None:
    """Count a further difference of the same field or column."""
    known = parts.setdefault(part["name"], part)
    if known is not part:
        known["differing"] += part["differing"]
        sides = [side for side in (known["max_abs_difference"], part["max_abs_difference"]) if side is not None]
        known["max_abs_difference"] = max(sides, default=None)


def _same(old: Any, new: Any) -> bool:
    return (bool(old == new) and isinstance(old, bool) == isinstance(new, bool)) or (old != old and new != new)


def _plain(value: Any) -> Any:
    """A value that JSON can hold, short enough to be shown."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    text = value if isinstance(value, str) else f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True) if not isinstance(value, float) else f"{value:.6g}"
    return text if len(text) <= 60 else text[:59] + "…"
