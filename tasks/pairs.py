"""Reads a `pairs` artifact: prompts and the answers that people wrote."""

from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from model.seeding import numpy_generator


class HumanPair(NamedTuple):
    """A prompt and its human-written response."""

    pair_id: str
    prompt: str
    response: str


def read_pairs(path: Path, split: str, limit: int | None = None, seed: int = 0) -> list[HumanPair]:
    """The pairs of one split of the artifact at `path`, in the file's order; with `limit`, so many drawn by `seed`."""
    table = pq.read_table(path / "pairs.parquet", columns=list(HumanPair._fields), filters=[("split", "=", split)])
    rows = [HumanPair(**row) for row in table.to_pylist()]
    if limit is None or len(rows) <= limit:
        return rows
    drawn = numpy_generator(seed, "pairs", split).permutation(len(rows))[:limit]
    return [rows[index] for index in drawn]
