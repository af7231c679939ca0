"""Work in several processes: the same results in the same order, and errors that arrive."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.text.parallel import count_workers, map_ordered


def test_one_worker_and_two_give_the_same_results_in_order():
    values = list(range(-5, 5))
    assert list(map_ordered(abs, values, 1)) == list(map_ordered(abs, values, 2)) == list(map(abs, values))


def test_an_error_in_a_process_is_raised_here():
    with pytest.raises(ValueError, match="invalid literal"):
        list(map_ordered(int, ["1", "x", "3"], 2))


def test_workers_are_no_more_than_pieces():
    assert count_workers(8, 3) == 3
    assert count_workers(2, 100) == 2
    assert count_workers(None, 0) == 1
    assert 1 <= count_workers(None, 100) <= (os.cpu_count() or 1)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import time\nfrom tasks.text.parallel import map_ordered\n"
        "if __name__ == '__main__':\n    list(map_ordered(time.sleep, [600, 600], 2))\n"
    )
    root = Path(__file__).parents[4]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    workers = _wait_for(lambda: [pid for pid in _children(parent.pid) if "spawn_main" in _command(pid)], count=2)
    time.sleep(1)  # for the workers to reach their first piece
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any("spawn_main" in _command(pid) for pid in workers):
        assert time.monotonic() < deadline, "the workers outlived their parent"
        time.sleep(0.1)


def _wait_for(found, count):
    deadline = time.monotonic() + 20
    while len(found()) < count:
        assert time.monotonic() < deadline, "the workers did not start"
        time.sleep(0.1)
    return found()


def _children(pid):
    psutil = pytest.importorskip("psutil")
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _command(pid):
    psutil = pytest.importorskip("psutil")
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline()) if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.NoSuchProcess:
        return ""
