"""What cuBLAS needs is set by the time that anything could be computed on a GPU."""

import os
import subprocess
import sys

import pytest

NAME = "CUBLAS_WORKSPACE_CONFIG"


@pytest.mark.parametrize(("given", "expected"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_importing_the_engine_fixes_the_workspace_of_cublas(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != NAME}
    if given:
        environment[NAME] = given
    script = f"import model.training, os; print(os.environ['{NAME}'])"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
