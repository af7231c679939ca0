"""Machine code on processors without AVX-512, as this one is made to look: what is compiled keeps to AVX2."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from model.processor import processor_flags

pytest.importorskip("numba")
HERE = Path(__file__).parent
TESTS = [
    "test_fused.py::test_fp32_is_the_plain_path_in_float64[odd]",
    "test_fused.py::test_fp32_is_the_plain_path_in_float64[documents]",
    "test_fused_training.py::test_it_learns_as_the_plain_path_does",
    "test_softmax_kernel.py::test_losses_and_gradients",
    "test_compiled_decoding.py::test_fp32_logits_are_those_of_torchs_operations[llama]",
    "test_compiled_decoding.py::test_logits_depend_neither_on_the_number_of_threads_nor_on_the_other_rows",
]


@pytest.mark.skipif("avx2" not in processor_flags(), reason="the processor has no AVX2")
def test_their_vectors_give_the_same(tmp_path: Path) -> None:
    limits = {
        "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+f16c,+bmi,+bmi2", "NUMBA_CACHE_DIR": str(tmp_path / "code"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(HERE / test) for test in TESTS)],
        env={**os.environ, **limits}, capture_output=True, text=True, check=False, cwd=HERE.parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b7 passed", done.stdout), done.stdout
