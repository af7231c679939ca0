"""What tests of machine code share: marks, since it is not for every processor (`model.processor.has_kernels`), and the
number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from model.processor import has_kernels

needs_kernels = pytest.mark.skipif(not has_kernels("fp32"), reason="the processor has no vectors for machine code")
needs_bf16 = pytest.mark.skipif(not has_kernels("bf16"), reason="the processor has no vectors for machine code in bf16")
PRECISIONS = ["fp32", pytest.param("bf16", marks=needs_bf16)]
FORMATS = [torch.float32, pytest.param(torch.bfloat16, marks=needs_bf16)]
IN_BF16 = [False, pytest.param(True, marks=needs_bf16)]


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Within it torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
