"""Several examples in one row, with a document mask between them: every row is full or nearly so, and of one shape.

Rows are packed once for a run, by first-fit decreasing, which needs at most 11/9 of the fewest rows and a few more
(Johnson 1973); each epoch takes them in an order of its own. A batch is a pure function of (seed, step), as in
model/data.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.data import Example
from model.seeding import numpy_generator

if TYPE_CHECKING:
    from torch import Tensor


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Which items share a row: their positions, longest item first. Every length must be at most `capacity`."""
    rows: list[list[int]] = []
    room: list[int] = []
    open_from = 0  # rows before it have no room for the shortest item
    shortest = min(lengths, default=0)
    for item in sorted(range(len(lengths)), key=lambda item: (-lengths[item], item)):
        while open_from < len(rows) and room[open_from] < shortest:
            open_from += 1
        row = next((n for n in range(open_from, len(rows)) if room[n] >= lengths[item]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(capacity)
        rows[row].append(item)
        room[row] -= lengths[item]
    return rows


class PackedExamples:
    """Batches of packed rows of `context` tokens: as many rows a step as hold about `batch_size` examples.

    The rows left over at the end of an epoch wait for another epoch's order.
    """

    def __init__(
        self, examples: Sequence[Example], *, batch_size: int, seed: int, pad_token_id: int, context: int
    ) -> None:
        if not examples:
            raise ValueError("there are no examples to learn from; add pairs, or allow longer ones")
        self.examples, self.seed, self.pad_token_id, self.context = examples, seed, pad_token_id, context
        self.rows = first_fit([len(example.ids) - 1 for example in examples], context)
        self.num_rows = min(len(self.rows), max(1, round(batch_size * len(self.rows) / len(examples))))
        self.steps_per_epoch = len(self.rows) // self.num_rows
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        order = numpy_generator(self.seed, "packed rows", epoch).permutation(len(self.rows))
        return order[: self.steps_per_epoch * self.num_rows].reshape(-1, self.num_rows)  # (steps_per_epoch, rows)

    def packed_at(self, step: int) -> list[list[int]]:
        """The examples of each row of `step`."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return [self.rows[row] for row in self._order(epoch)[place]]

    def rows_at(self, step: int) -> NDArray[np.int64]:
        """Which examples are in the batch of `step`."""
        return np.array([example for row in self.packed_at(step) for example in row])

    def steps_with(self, rows: Sequence[int], steps: int) -> NDArray[np.int64]:
        """Which of the first `steps` steps have any of these examples in their batch, rising."""
        wanted = set(rows)
        holding = np.array([not wanted.isdisjoint(row) for row in self.rows])
        epochs = range(-(-steps // self.steps_per_epoch) if holding.any() else 0)
        hits = [
            epoch * self.steps_per_epoch + np.flatnonzero(holding[self._order(epoch)].any(axis=1)) for epoch in epochs
        ]
        found = np.concatenate([np.zeros(0, np.int64), *hits])
        return found[found < steps]

    def __call__(self, step: int) -> dict[str, Tensor]:
        """ "input_ids", "targets", "segment_ids" (rows, context) int64 and "loss_mask" (rows, context) bool. Padding
        at the end of a row is a segment of its own, and not learned."""
        import torch

        packed = self.packed_at(step)
        shape = (len(packed), self.context)
        ids, targets, segments = (np.full(shape, fill, np.int64) for fill in (self.pad_token_id, self.pad_token_id, 0))
        mask = np.zeros(shape, bool)
        for number, row in enumerate(packed):
            place = 0
            for segment, example in enumerate(self.examples[item] for item in row):
                part = np.s_[number, place : place + len(example.ids) - 1]
                ids[part], targets[part] = example.ids[:-1], example.ids[1:]
                mask[part], segments[part] = example.loss_mask[1:], segment
                place += len(example.ids) - 1
            segments[number, place:] = len(row)
        return {
            "input_ids": torch.from_numpy(ids),
            "targets": torch.from_numpy(targets),
            "segment_ids": torch.from_numpy(segments),
            "loss_mask": torch.from_numpy(mask),
        }
