"""Muon (Jordan et al. 2024): momentum whose matrix updates are orthogonalised by a Newton–Schulz iteration.

The updates equal `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")` (the scaling of Liu et al. 2025, "Muon is scalable
for LLM training"); but matrices of one shape (or of its transpose) are orthogonalised together as one batch, which
takes about half the time on a CPU, and in a chosen number format, since bf16 is slow where a processor emulates it.
Where the matrices are divided over processes (model.sharding), each orthogonalises its share of them.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from model.precision import fits_machine_code
from model.sharding import gather_matrices, is_sharded, own_rows, scatter_matrices

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic with the steepest slope at 0 (Jordan et al. 2024)
ITERATIONS = 5
EPSILON = 1e-7
LARGEST = 3.4e38  # factor that PyTorch takes in fp32; training at such a rate diverges


def orthogonalize(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Replaces the singular values of each (R, C) matrix of the batch (N, R, C), R ≤ C, by values near 1
    (about 0.7 to 1.2). Returns `dtype`."""
    x = matrices.to(dtype)
    return newton_schulz(x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=EPSILON))


def newton_schulz(x: Tensor) -> Tensor:
    """The same of matrices of norm 1."""
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = torch.bmm(x, x.mT)  # (N, R, R)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)  # a x + (b G + c G²) x
    return x


class Muon(torch.optim.Optimizer):
    """Muon for matrices. Decoupled weight decay; Nesterov momentum kept as an exponential average."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "dtype": dtype})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(
                        f"Muon takes matrices only, not a parameter of shape {tuple(parameter.shape)}; give it to AdamW"
                    )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            batches: dict[tuple[int, int], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rows, columns = sorted(parameter.shape)
                    batches.setdefault((rows, columns), []).append(parameter)
            for shape, parameters in batches.items():
                self._update(parameters, shape, group)

    def _update(self, parameters: list[nn.Parameter], shape: tuple[int, int], group: dict) -> None:
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        decay, size = group["lr"] * group["weight_decay"], min(group["lr"] * 0.2 * math.sqrt(shape[1]), LARGEST)
        targets = [own_rows(parameter) for parameter in parameters]
        gradients = [own_rows(parameter.grad) for parameter in parameters if parameter.grad is not None]
        buffers = [own_rows(self.state[parameter]["momentum_buffer"]) for parameter in parameters]
        if not is_sharded(parameters[0]) and fits_kernels(targets + gradients + buffers, group["dtype"]):
            from model.gathered import GatheredMatrices  # numba need not be installed

            together = GatheredMatrices(targets, gradients, buffers, shape, group["dtype"])
            together.gather(group["momentum"], EPSILON)
            if together.is_for_threads():
                together.newton_schulz(COEFFICIENTS, ITERATIONS)
            else:
                together.batch = newton_schulz(together.batch)
            together.apply(1 - decay, -size)
            return
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        directions = torch._foreach_lerp(gradients, buffers, group["momentum"])
        if is_sharded(parameters[0]):  # from some rows of all matrices to all rows of some, and back
            shapes = [parameter.shape for parameter in parameters]
            whole = _orthogonal(gather_matrices(directions, shapes), group["dtype"])
            updates = scatter_matrices(whole, shapes, like=directions[0])
        else:
            updates = _orthogonal(directions, group["dtype"])
        torch._foreach_mul_(targets, 1 - decay)
        torch._foreach_add_(targets, updates, alpha=-size)


def fits_kernels(matrices: Sequence[Tensor], dtype: torch.dtype) -> bool:
    """Whether machine code can gather and apply these in the format `dtype`; see model/muon_kernels.py."""
    return all(
        fits_machine_code(dtype, matrix.device)
        and matrix.dtype == torch.float32
        and matrix.is_contiguous()
        and matrix.shape[0] % 16 == matrix.shape[1] % 16 == 0
        for matrix in matrices
    )


def _orthogonal(matrices: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Matrices of one shape, or of its transpose, orthogonalised as one batch; in their own format."""
    if not matrices:
        return []
    wide = torch.stack([m.mT if m.shape[0] > m.shape[1] else m for m in matrices])
    orthogonal = orthogonalize(wide, dtype).to(matrices[0].dtype)
    return [u.mT if m.shape[0] > m.shape[1] else u for u, m in zip(orthogonal, matrices, strict=True)]
