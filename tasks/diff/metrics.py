"""The figures of two pieces of work side by side, with their 95% intervals."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

ENDS = ("_low", "_high")
Row = dict[str, Any]


def figures(stage: str, a: Mapping[str, float], b: Mapping[str, float]) -> Iterator[Row]:
    """{"stage", "name", "a": {"value", "low", "high"} | None, "b": …, "change", "apart"} of every figure, by name.

    A value that is not a finite number is None. apart: whether the intervals have no point in common; None where one
    of them is not known.
    """
    names = sorted(name for name in {*a, *b} if not _is_end(name, a) and not _is_end(name, b))
    for name in names:
        one, other = _estimate(name, a), _estimate(name, b)
        yield {"stage": stage, "name": name, "a": one, "b": other, "change": _change(one, other),
               "apart": _apart(one, other)}  # fmt: skip


def _is_end(name: str, metrics: Mapping[str, float]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in metrics for end in ENDS)


def _estimate(name: str, metrics: Mapping[str, float]) -> Row | None:
    if name not in metrics:
        return None
    return {"value": _finite(metrics[name]), **{end[1:]: _finite(metrics.get(name + end)) for end in ENDS}}


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _change(a: Row | None, b: Row | None) -> float | None:
    if a is None or b is None or a["value"] is None or b["value"] is None:
        return None
    change: float = b["value"] - a["value"]
    return change


def _apart(a: Row | None, b: Row | None) -> bool | None:
    if a is None or b is None or None in (a["low"], a["high"], b["low"], b["high"]):
        return None
    return bool(a["high"] < b["low"] or b["high"] < a["low"])
