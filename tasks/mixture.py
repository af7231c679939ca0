"""How much of each named source goes into a mixture, and which documents: pure functions, nothing is read or written.

Weights are shares of tokens. What limits a source is its text: it may be repeated, up to about four times at little
loss against new text (Muennighoff et al. 2023, section 5), and up to any cap that is set. If a source runs out, the
others take its room in proportion to their weights.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

UNKNOWN = "unknown"  # the pattern for documents of which a field is not known
ANY = ("*",)


class MixSource(BaseModel):
    """Documents taken together under a name: those that match a pattern in every field."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(
        ..., title="Name", pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$", description="names it in figures and tables"
    )
    weight: float = Field(1.0, gt=0, le=1e6, title="Weight", description="its share of the tokens, beside the others'")
    epochs: float = Field(
        4.0, gt=0, le=1000, title="Most epochs", description="how often its text may be read at most; below 1, a part"
    )
    max_tokens: int | None = Field(None, ge=1, title="Most tokens", description="a cap; empty: none")
    source: tuple[str, ...] = Field(
        ANY, title="Source", min_length=1, description="patterns with * and ? for the source URI or the origin"
    )
    license: tuple[str, ...] = Field(
        ANY, title="Licence", min_length=1, description="patterns for the licence; 'unknown' where there is none"
    )
    language: tuple[str, ...] = Field(
        ANY, title="Language", min_length=1, description="patterns for the language; 'unknown' where none was told"
    )
    kind: tuple[str, ...] = Field(
        ANY, title="Kind of text", min_length=1, description="patterns: docstring, markdown, rst, text, html, code"
    )

    def matches(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which rows (N,) of documents, with source, origin, license, language and kind, belong to it."""
        found = _matching(table["source"], self.source) | _matching(table["origin"], self.source)
        for name in ("license", "language", "kind"):
            found &= _matching(table[name], getattr(self, name))
        return found


def _matching(column: pa.ChunkedArray, patterns: Sequence[str]) -> NDArray[np.bool_]:
    if "*" in patterns:
        return np.ones(len(column), bool)
    wanted = re.compile("|".join(map(translate, patterns)))
    encoded = column.combine_chunks().dictionary_encode()
    fits = [wanted.match(value) is not None for value in encoded.dictionary.to_pylist()]
    known = encoded.indices.fill_null(len(fits)).to_numpy(zero_copy_only=False)
    return np.array([*fits, wanted.match(UNKNOWN) is not None])[known]


def unique_names(sources: Iterable[MixSource]) -> None:
    """Raises ValueError where two sources have one name."""
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several sources are named {', '.join(twice)}: give each its own name")


class Portions(NamedTuple):
    """Tokens of each source, all (S,): what there is, what may be taken, what the weights ask for, what is given."""

    available: NDArray[np.int64]
    limit: NDArray[np.int64]
    wanted: NDArray[np.int64]
    given: NDArray[np.int64]


def portions(sources: Sequence[MixSource], available: NDArray[np.int64], tokens: int | None) -> Portions:
    """How many tokens of each source to take.

    available (S,): tokens that each has. tokens: of the whole mixture; None: the most at which no source falls short
    of its weight. With a number, a source that has too little gives all it may, and the others share the rest by their
    weights; the sum falls short only where all are at their limits.
    """
    weights = np.array([source.weight for source in sources])
    weights /= weights.sum()
    limit = np.array(
        [
            min(int(source.epochs * count), source.max_tokens or np.iinfo(np.int64).max)
            for source, count in zip(sources, available.tolist(), strict=True)
        ],
        np.int64,
    )
    size = float((limit / weights).min()) if tokens is None else float(tokens)
    wanted = np.floor(weights * size + 1e-6).astype(np.int64)
    given, open_ = np.zeros(len(sources)), np.ones(len(sources), bool)
    while open_.any():
        room = size - given[~open_].sum()
        given[open_] = weights[open_] / weights[open_].sum() * room
        full = open_ & (given > limit)
        if not full.any():
            break
        given[full] = limit[full]
        open_ &= ~full
    return Portions(available, limit, wanted, np.minimum(np.floor(given + 1e-6).astype(np.int64), limit))


def draw(lengths: NDArray[np.int64], points: NDArray[np.float64], tokens: int) -> NDArray[np.int64]:
    """How often each document (N,) of a source is read, for at most `tokens` tokens.

    lengths (N,) in tokens, more than 0. points (N,): chance for each. All are read as often as they fit as a whole;
    the rest is filled in the order of the points by those that still fit.
    """
    passes, rest = divmod(tokens, int(lengths.sum()))
    times = np.full(len(lengths), passes, np.int64)
    shortest = int(lengths.min())
    for row in np.argsort(points, kind="stable").tolist():
        if rest < shortest:
            break
        if lengths[row] <= rest:
            times[row] += 1
            rest -= int(lengths[row])
    return times
