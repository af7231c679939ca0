"""Fully sharded data parallel training (FSDP2; Zhao et al. 2023): each process keeps its rows of every weight, gradient
and optimiser moment, and sees a layer whole only while that layer computes.

`torch.distributed.fsdp.fully_shard` does this; here stands what a training needs beside it. A sharded tensor is a
`DTensor`, cut along its first dimension as `Tensor.chunk` would: `rows_of` says which rows a process has.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from model.transformer import Transformer


def shard(model: nn.Module, device: torch.device) -> None:
    """Divides a `Transformer` over the process group, in place; what a process keeps is moved to `device`, layer by
    layer, so that no device ever holds all of it.

    Backward passes then sum gradients over the processes. Raises ValueError for another kind of model.
    """
    if not isinstance(model, Transformer):
        raise ValueError(f"only a Transformer can be divided over processes, not a {type(model).__name__}")
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    # The rest (embedding, final norm, head) is one part: the loss reads the output matrix after `hidden` has returned,
    # and FSDP leaves the outermost part whole between forward and backward.
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "hidden")
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)  # the sum: the engine weights losses and divides itself
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no other


def reshard(model: nn.Module) -> None:
    """Frees what a forward pass without a backward pass has left whole."""
    if isinstance(model, FSDPModule):
        model.reshard()


def is_sharded(tensor: Tensor) -> bool:
    """Whether each process has some of its rows only."""
    return isinstance(tensor, DTensor)


def own_rows(tensor: Tensor) -> Tensor:
    """The rows that this process has, not a copy: all of them unless the tensor is sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def rows_of(num_rows: int, rank: int, size: int) -> slice:
    """The rows of process `rank` of `size`: the first processes have equally many, the last fewer or none."""
    most = -(-num_rows // size)
    return slice(min(num_rows, rank * most), min(num_rows, (rank + 1) * most))


def rows_like(whole: Tensor, like: Tensor) -> Tensor:
    """Of a whole tensor the rows that this process has of `like`, a tensor of the same shape."""
    if not isinstance(like, DTensor):
        return whole
    return whole[rows_of(len(whole), dist.get_rank(), dist.get_world_size())]


def sharded_like(rows: Tensor, like: Tensor) -> Tensor:
    """This process's rows as a tensor that is sharded as `like`, if that is."""
    if not isinstance(like, DTensor):
        return rows
    mesh, placements = like.device_mesh, like.placements
    return DTensor.from_local(rows, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())


def gather_matrices(rows: Sequence[Tensor], shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Each process gives its rows of every matrix and gets its share of the matrices, whole: `rows_of` their list."""
    rank, size = dist.get_rank(), dist.get_world_size()
    mine = shapes[rows_of(len(shapes), rank, size)]
    received = _exchange(
        [_flat(rows[rows_of(len(rows), to, size)], rows[0]) for to in range(size)],
        [_numel([_cut(shape, of, size) for shape in mine]) for of in range(size)],
    )
    parts = [_split(flat, [_cut(shape, of, size) for shape in mine]) for of, flat in enumerate(received)]
    return [torch.cat(pieces) for pieces in zip(*parts, strict=True)]


def scatter_matrices(matrices: Sequence[Tensor], shapes: Sequence[torch.Size], like: Tensor) -> list[Tensor]:
    """The way back from `gather_matrices`: this process's rows of every matrix. `like`: a tensor of their kind."""
    rank, size = dist.get_rank(), dist.get_world_size()
    cuts = [[_cut(shape, rank, size) for shape in shapes[rows_of(len(shapes), of, size)]] for of in range(size)]
    received = _exchange(
        [_flat([matrix[rows_of(len(matrix), to, size)] for matrix in matrices], like) for to in range(size)],
        [_numel(cut) for cut in cuts],
    )
    return [piece for flat, cut in zip(received, cuts, strict=True) for piece in _split(flat, cut)]


def _cut(shape: torch.Size, rank: int, size: int) -> torch.Size:
    """The shape of a process's rows of a matrix."""
    rows = rows_of(shape[0], rank, size)
    return torch.Size([rows.stop - rows.start, *shape[1:]])


def _numel(shapes: Sequence[torch.Size]) -> int:
    return sum(shape.numel() for shape in shapes)


def _flat(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([like.new_empty(0), *(tensor.reshape(-1) for tensor in tensors)])


def _split(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    pieces = flat.split([shape.numel() for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def _exchange(sent: list[Tensor], received: list[int]) -> list[Tensor]:
    """Sends the n-th tensor to process n; gets what each process sends here, so many numbers from process n."""
    arriving = sent[0].new_empty(sum(received))
    dist.all_to_all_single(arriving, torch.cat(sent), received, [len(tensor) for tensor in sent])
    return list(arriving.split(received))
