"""Batches as pure functions of (seed, step): nothing to save at a checkpoint, and who was seen when is computed.

Token files are read through `np.memmap`: a shard larger than memory costs nothing to open. PyTorch is imported only
where a batch is made, since asking which step saw what needs none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.seeding import numpy_generator

if TYPE_CHECKING:
    from torch import Tensor


class Span(NamedTuple):
    """Tokens [start, stop) of a shard."""

    shard: int
    start: int
    stop: int


class TokenShards:
    """The token files of one split, in order. `dtype`: "uint16" or "uint32", little-endian."""

    def __init__(self, paths: Sequence[Path], dtype: str) -> None:
        kind = np.dtype(dtype).newbyteorder("<")
        self.shards: list[NDArray[np.unsignedinteger]] = [
            np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, kind) for path in paths
        ]

    @property
    def num_tokens(self) -> int:
        """Tokens of all shards."""
        return sum(map(len, self.shards))

    def read(self, span: Span) -> NDArray[np.int64]:
        """The tokens of a span."""
        return self.shards[span.shard][span.start : span.stop].astype(np.int64)


class PackedWindows:
    """Rows of `context` tokens cut from the stream of documents, each with the token that follows as last target.

    The stream is cut into fixed windows, the rest of each shard left out; every epoch takes all windows in an order of
    its own, and epochs follow each other without a gap. `document_end`: a token id; if given, batches hold
    "segment_ids", which count the documents of a row (the end token belongs to the document it ends).
    """

    def __init__(
        self, shards: TokenShards, *, context: int, batch_size: int, seed: int, document_end: int | None = None
    ) -> None:
        self.shards, self.context, self.batch_size, self.seed = shards, context, batch_size, seed
        self.document_end = document_end
        counts = [max(0, (len(shard) - 1) // context) for shard in shards.shards]
        self._first = np.concatenate([[0], np.cumsum(counts)])  # the first window of each shard, and the end
        self.num_windows = int(self._first[-1])
        if self.num_windows == 0:
            raise ValueError(
                f"{shards.num_tokens} tokens do not fill one row of {context} tokens and its last target; "
                f"add text or shorten the context"
            )
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        return numpy_generator(self.seed, "windows", epoch).permutation(self.num_windows)

    def windows_at(self, step: int) -> list[int]:
        """The windows of a step's rows (B,)."""
        rows = range(step * self.batch_size, (step + 1) * self.batch_size)
        return [int(self._order(row // self.num_windows)[row % self.num_windows]) for row in rows]

    def spans_at(self, step: int) -> list[Span]:
        """What each row of the step reads: `context` + 1 tokens."""
        return [self.span(window) for window in self.windows_at(step)]

    def span(self, window: int) -> Span:
        """Where a window lies, its last target included."""
        shard = int(np.searchsorted(self._first, window, side="right")) - 1
        start = (window - int(self._first[shard])) * self.context
        return Span(shard, start, start + self.context + 1)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """ "input_ids" and "targets" (B, T) int64, and "segment_ids" (B, T) where asked for."""
        import torch

        tokens = torch.from_numpy(np.stack([self.shards.read(span) for span in self.spans_at(step)]))  # (B, T + 1)
        batch = {"input_ids": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()}
        if self.document_end is not None:
            ends = (batch["input_ids"] == self.document_end).long()
            batch["segment_ids"] = ends.cumsum(1) - ends
        return batch

    def steps_reading(self, spans: Sequence[Span], steps: int) -> NDArray[np.int64]:
        """Which of the first `steps` steps read any token of the spans, rising. Work and memory go with the epochs and
        the windows of one, not with the steps."""
        wanted = np.zeros(self.num_windows, bool)
        for span in spans:
            first, last = self._first[span.shard], self._first[span.shard + 1]
            low = first + max(0, (span.start - 1) // self.context)  # a window's last target is the next one's first
            wanted[low : min(last, first + (span.stop - 1) // self.context + 1)] = True
        epochs = range(-(-steps * self.batch_size // self.num_windows) if wanted.any() else 0)
        rows = [epoch * self.num_windows + np.flatnonzero(wanted[self._order(epoch)]) for epoch in epochs]
        found = np.unique(np.concatenate([np.zeros(0, np.int64), *rows]) // self.batch_size)
        return found[found < steps]

    def read_by(self, steps: int) -> NDArray[np.int64]:
        """The windows that the first `steps` steps read, each once, in the order of their first reading."""
        return self._order(0)[: steps * self.batch_size]


def overlapping(
    spans: Sequence[Span], shard: NDArray[np.integer], offset: NDArray[np.integer], length: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The rows of a document index (N,) whose tokens [offset, offset + length) of `shard` meet any of the spans."""
    meets = np.zeros(len(shard), dtype=bool)
    for span in spans:
        meets |= (shard == span.shard) & (offset < span.stop) & (offset + length > span.start)
    return np.flatnonzero(meets)


class Example(NamedTuple):
    """A sequence to learn from, and which of its tokens are to be learned."""

    ids: list[int]
    loss_mask: list[bool]


def collate(
    examples: Sequence[Example], pad_token_id: int, multiple: int = 1, context: int | None = None
) -> dict[str, Tensor]:
    """ "input_ids", "targets" (B, T) and "loss_mask" (B, T) bool, padded right to the longest example, or further to a
    multiple of `multiple` (few shapes, for a compiler), but not beyond `context`.

    There is no attention mask: with causal attention no real token looks at the padding after it.
    """
    import torch

    longest = max(len(example.ids) for example in examples) - 1
    rounded = -(-longest // multiple) * multiple
    width = (rounded if context is None else max(longest, min(rounded, context))) + 1
    ids = torch.full((len(examples), width), pad_token_id, dtype=torch.int64)
    mask = torch.zeros((len(examples), width), dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        mask[row, : len(example.ids)] = torch.tensor(example.loss_mask)
    return {
        "input_ids": ids[:, :-1].contiguous(),
        "targets": ids[:, 1:].contiguous(),
        "loss_mask": mask[:, 1:].contiguous(),
    }


class ExampleBatches:
    """Batches of examples, of like length to save padding.

    Each epoch has an order of its own; within every `bucket` batches of it, examples are sorted by length, cut into
    batches, and the batches shuffled. The examples left over at the end of an epoch wait for another epoch's order.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int,
        seed: int,
        pad_token_id: int,
        bucket: int = 16,
        multiple: int = 1,
        context: int | None = None,
    ) -> None:
        if not examples:
            raise ValueError("there are no examples to learn from; add pairs, or allow longer ones")
        self.examples, self.seed, self.pad_token_id = examples, seed, pad_token_id
        self.batch_size = min(batch_size, len(examples))
        self.bucket, self.multiple, self.context = bucket, multiple, context
        self.steps_per_epoch = len(examples) // self.batch_size
        self._lengths = np.array([len(example.ids) for example in examples])
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        random = numpy_generator(self.seed, "examples", epoch)
        order = random.permutation(len(self.examples))[: self.steps_per_epoch * self.batch_size]
        size = self.bucket * self.batch_size
        batches = [
            batch
            for start in range(0, len(order), size)
            for batch in self._by_length(order[start : start + size]).reshape(-1, self.batch_size)
        ]
        return np.stack(batches)[random.permutation(len(batches))]  # (steps_per_epoch, B)

    def _by_length(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows[np.argsort(self._lengths[rows], kind="stable")]

    def rows_at(self, step: int) -> NDArray[np.int64]:
        """Which examples are in the batch of `step`: (B,)."""
        return self._order(step // self.steps_per_epoch)[step % self.steps_per_epoch]

    def steps_with(self, rows: Sequence[int], steps: int) -> NDArray[np.int64]:
        """Which of the first `steps` steps have any of these examples in their batch, rising."""
        wanted = np.zeros(len(self.examples), bool)
        wanted[list(rows)] = True
        epochs = range(-(-steps // self.steps_per_epoch) if wanted.any() else 0)
        hits = [
            epoch * self.steps_per_epoch + np.flatnonzero(wanted[self._order(epoch)].any(axis=1)) for epoch in epochs
        ]
        found = np.concatenate([np.zeros(0, np.int64), *hits])
        return found[found < steps]

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The batch of `step`; see `collate`."""
        examples = [self.examples[row] for row in self.rows_at(step)]
        return collate(examples, self.pad_token_id, self.multiple, self.context)
