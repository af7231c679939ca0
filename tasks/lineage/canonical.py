"""Canonical JSON: equal values give equal bytes, on every machine and in every run.

Whatever cannot promise that (sets, NaN, bytes, paths, arbitrary objects) is refused, with the remedy, instead of
being written in a way that happens to work today.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

from tasks.lineage.errors import CanonicalError

_REMEDIES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((set, frozenset), "sets have no order; use a sorted list or tuple"),
    ((bytes, bytearray, memoryview), "bytes are not text; use their hexadecimal digest or a decoded string"),
    (PurePath, "paths differ between machines; take a snapshot of the files, or move the path to Resources"),
    (complex, "complex numbers have no JSON form; use a list of two floats"),
)


def encode(value: Any) -> bytes:
    """Canonical JSON of `value` as UTF-8: keys sorted, no spaces, tuples as lists, enums as their values.

    Raises CanonicalError for what has no stable form, naming where in the value it stands.
    """
    plain = _plain(value, "value")
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def digest(value: Any) -> str:
    """SHA-256, in hexadecimal, of the canonical JSON of `value`."""
    return hashlib.sha256(encode(value)).hexdigest()


def _plain(value: Any, where: str) -> Any:
    """`value` in JSON's own types, or CanonicalError."""
    if isinstance(value, Enum):
        return _plain(value.value, where)
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int:
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise CanonicalError(
                f"{where} is {value}, which equals nothing, not even itself; use None or a finite number"
            )
        return value
    if type(value) is str:
        return _text(value, where)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_name(name, where): _plain(item, f"{where}.{name}") for name, item in value.items()}
    raise CanonicalError(f"{where} is a {type(value).__name__}: {_remedy(value)}")


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CanonicalError(
            f"{where} holds a lone surrogate, which UTF-8 cannot write; decode the text properly"
        ) from None
    return value


def _name(name: Any, where: str) -> str:
    if type(name) is not str:
        raise CanonicalError(f"{where} has the key {name!r} of type {type(name).__name__}; use strings as keys")
    return _text(name, f"a key of {where}")


def _remedy(value: Any) -> str:
    for types, remedy in _REMEDIES:
        if isinstance(value, types):
            return remedy
    return "only None, bool, int, float, str, lists, tuples and mappings of these are stable; convert it to one of them"
