"""Prefect's worker processes do not outlive the flow that started them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os

from tasks.runners import _open_runner

if __name__ == "__main__":
    workers = _open_runner("processes", None, 2)._executor  # of which one gets no work
    assert workers.submit(eval, "6 * 7").result() == 42
    print("worked", flush=True)
    os._exit(9)  # as when it is killed: nothing is told to end
"""


def test_workers_end_with_a_flow_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path)}
    # A worker that stays holds the other end of the pipe, and this waits for it until the time is over.
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment, timeout=300)
    assert (done.returncode, done.stdout) == (9, "worked\n"), done.stderr
