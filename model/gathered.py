"""The matrices that Muon orthogonalises together, gathered and applied by machine code; see model/muon_kernels.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.machine_code import Kernel, address, plan_of, run, run_for
from model.muon_kernels import MATRICES, SCRATCH, apply_bf16, apply_fp32, gather_bf16, gather_fp32
from model.newton_schulz_kernels import EDGE, ITERATION, NUMBERS, iterate_bf16, iterate_fp32

ZEROS = torch.zeros(EDGE)
LARGEST = 9 << 20  # bytes; with twice as many, torch's products are as fast in fp32, and faster in bf16


def _whole(size: int) -> int:
    return -(-size // EDGE) * EDGE


def _room(rows: int, columns: int) -> int:
    """How many numbers a thread works in; see ITERATION."""
    R, C = _whole(rows), _whole(columns)
    return 3 * R * R + 2 * R * C


class GatheredMatrices:
    """Parameters of one shape (or of its transpose), their gradients and momentum buffers, all fp32; `batch` holds a
    direction for each, (N, R, C) with R ≤ C, in the format `dtype`."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        buffers: Sequence[Tensor],
        shape: tuple[int, int],
        dtype: torch.dtype,
    ) -> None:
        self.batch = torch.empty(len(parameters), *shape, dtype=dtype)
        self.scratch = torch.empty(torch.get_num_threads(), SCRATCH)
        self.parts: list[tuple[tuple[int, int], np.ndarray, slice]] = []  # shape, addresses, place in the batch
        begin = 0
        for rows, columns in dict.fromkeys((shape, shape[::-1])):
            own = [number for number, matrix in enumerate(parameters) if matrix.shape == (rows, columns)]
            kinds = (parameters, gradients, buffers)
            addresses = np.array([[address(kind[number]) for number in own] for kind in kinds], np.int64)
            self.parts.append(((rows, columns), addresses, slice(begin, begin + len(own))))
            begin += len(own)

    def gather(self, momentum: float, epsilon: float) -> None:
        """Moves the buffers, and fills the batch with directions of norm 1: gradients led on by momentum (Nesterov)."""
        self._run((gather_fp32, gather_bf16), momentum=momentum, epsilon=epsilon)

    def is_for_threads(self) -> bool:
        """Whether `newton_schulz` is faster than torch: there is a matrix for each thread, and it is not too large for
        the caches."""
        bytes_each = _room(*self.batch.shape[1:]) * self.batch.element_size()
        return len(self.batch) >= torch.get_num_threads() and bytes_each <= LARGEST

    def newton_schulz(self, coefficients: tuple[float, float, float], iterations: int) -> None:
        """Replaces the batch as `model.muon.newton_schulz` does."""
        count, rows, columns = self.batch.shape
        a, b, c = coefficients
        R, C = _whole(rows), _whole(columns)
        threads = torch.get_num_threads()
        formatted, numbers = self.batch.new_empty(threads, _room(rows, columns)), torch.empty(threads, NUMBERS)
        plan = plan_of(
            ITERATION, count=count, rows=rows, columns=columns, R=R, C=C, batch=self.batch, iterations=iterations,
            formatted=formatted, numbers=numbers, zeros=ZEROS, a=a, b=b, c=c,
        )  # fmt: skip
        run(iterate_fp32 if self.batch.dtype == torch.float32 else iterate_bf16, plan, threads)

    def apply(self, kept: float, size: float) -> None:
        """parameter = kept · parameter + size · its matrix of the batch."""
        self._run((apply_fp32, apply_bf16), kept=kept, size=size)

    def _run(self, kernels: tuple[Kernel, Kernel], **values: float) -> None:
        for (rows, columns), addresses, part in self.parts:
            parameters, gradients, buffers = (row.ctypes.data for row in addresses)
            run_for(
                self.batch.dtype, kernels, MATRICES, count=addresses.shape[1], rows=rows, columns=columns,
                parameters=parameters, gradients=gradients, buffers=buffers, batch=self.batch[part],
                scratch=self.scratch, **values,
            )  # fmt: skip
