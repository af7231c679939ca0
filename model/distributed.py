"""Training by several processes that torchrun started: each takes its rows of every batch, and gradients are summed.

A batch is a pure function of (seed, step), and each rank takes its part of the rows of the very batch that one process
would see. Losses are weighted by what each rank's rows count, so the gradient is that of the whole batch: the result is
the same function of seed and step whatever the number of ranks, up to rounding; on the same number of ranks, the same
bytes.

`DistributedDataParallel` is not used: it regroups its buckets after the first step, so that sums are taken in another
order after a resume than without one. Here the buckets are fixed.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 32 << 20  # of gradients that are summed at once
PATIENCE = timedelta(minutes=30)  # for the slowest rank, before the others give up

ReadBatch = Callable[[int], dict[str, Tensor]]
ReadMicroBatches = Callable[[int], list[dict[str, Tensor]]]


@runtime_checkable
class Divisible(Protocol):
    """Batches that say themselves what each of several processes reads of them, since it is not some of the rows."""

    def share(self, rank: int, size: int) -> ReadBatch:
        """What process `rank` of `size` reads."""


class Ranks:
    """The processes that train together, and which of them this is. Alone, nothing here does or costs anything."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    @classmethod
    def here(cls) -> "Ranks":
        """Those of the process group, if there is one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls(0, 1)

    @property
    def together(self) -> bool:
        """Whether there is more than one."""
        return self.size > 1

    @property
    def first(self) -> bool:
        """Whether this is the one that reports and saves."""
        return self.rank == 0

    def share(self, batches: ReadBatch, parts: int = 1) -> ReadMicroBatches:
        """This rank's rows of the batches, each batch in `parts` micro-batches: fewer, of a row or two, where there are
        not so many rows, and equally many on every rank. Reading raises ValueError where a rank would have no row."""
        if self.together and isinstance(batches, Divisible):
            batches, size = batches.share(self.rank, self.size), 1  # `size` ranks divide what is read by its rows
        else:
            size = self.size
        rank = self.rank if size > 1 else 0

        def read(step: int) -> list[dict[str, Tensor]]:
            batch = batches(step)
            if size == parts == 1:
                return [batch]
            rows = len(next(iter(batch.values())))
            if rows < size:
                raise ValueError(
                    f"step {step} has {rows} rows, too few for {size} processes; raise batch_size, or lower "
                    f"resources.nproc or resources.nnodes"
                )
            split = {
                name: tensor.tensor_split(size)[rank].tensor_split(max(1, min(parts, rows // size)))
                for name, tensor in batch.items()
            }
            return [dict(zip(split, tensors, strict=True)) for tensors in zip(*split.values(), strict=True)]

        return read

    def sums(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The values, each summed over all ranks (in float64)."""
        if not self.together:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def any(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """Whether each flag is set on any rank: what all then do."""
        return [value > 0 for value in self.sums([float(flag) for flag in flags], device)]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over all ranks. Every rank must have the same parameters with gradients."""
        if not self.together:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            dist.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in bucket])
            torch._foreach_copy_(bucket, [part.view_as(g) for part, g in zip(parts, bucket, strict=True)])

    def gather(self, value: bytes) -> list[bytes]:
        """The values of all ranks, which must be of one length."""
        if not self.together:
            return [value]
        device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
        own = torch.frombuffer(bytearray(value), dtype=torch.uint8).to(device)
        all_ranks = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(all_ranks, own)
        return [bytes(one.tolist()) for one in all_ranks]

    def gather_lists(self, own: Sequence[Sequence[int]], most: int, longest: int) -> list[list[int]]:
        """The lists of all ranks, in their order: lists of numbers from 0 that fit int32, none of them empty, `most` of
        a rank and of `longest` numbers at most."""
        if not self.together:
            return [list(one) for one in own]
        table = np.full((most, longest), -1, dtype=np.int32)
        for row, one in enumerate(own):
            table[row, : len(one)] = one
        rows = np.frombuffer(b"".join(self.gather(table.tobytes())), dtype=np.int32).reshape(-1, longest)
        return [row[row >= 0].tolist() for row in rows if row[0] >= 0]

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.together:
            dist.barrier()


ALONE = Ranks(0, 1)


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, cut into lists of one format and about BUCKET_BYTES."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size >= BUCKET_BYTES or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun, or what does as it does, has started."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Within it this process belongs to those that torchrun started (RANK, WORLD_SIZE, MASTER_ADDR … say which).

    NCCL where `device` is a GPU (each rank takes that of its LOCAL_RANK), gloo elsewhere.
    """
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks.here()
    finally:
        dist.destroy_process_group()
