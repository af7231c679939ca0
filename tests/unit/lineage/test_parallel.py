"""Work in several processes: the same results in the same order, and errors that arrive."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from tasks.lineage import crew, parallel
from tasks.lineage.config import Resources
from tasks.lineage.parallel import Behind, ahead, count_workers, map_ordered, suited
from tasks.lineage.shared_work import HELD


def test_one_worker_and_two_give_the_same_results_in_order():
    values = list(range(-5, 5))
    assert list(map_ordered(abs, values, 1)) == list(map_ordered(abs, values, 2)) == list(map(abs, values))


def test_an_error_in_a_process_is_raised_here():
    with pytest.raises(ValueError, match="invalid literal"):
        list(map_ordered(int, ["1", "x", "3"], 2))


def test_workers_are_as_many_as_asked_for_or_as_there_are_cores():
    assert count_workers(8) == 8
    assert 1 <= count_workers(None) <= (os.cpu_count() or 1)


def test_pieces_are_taken_as_they_are_needed():
    taken = []

    def pieces():
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ordered(abs, pieces(), 2)
    assert next(results) == 0
    assert len(taken) <= 2 * HELD + 1
    assert list(results) == list(range(1, 100))


@pytest.mark.parametrize("workers", [1, 2])
def test_one_piece_is_made_ahead_in_a_thread_and_what_making_it_raises_arrives(workers):
    made = []

    def pieces():
        for number in range(5):
            made.append(threading.current_thread() is threading.main_thread())
            yield number
        raise ValueError("no more")

    found = ahead(pieces(), workers)
    assert next(found) == 0
    with pytest.raises(ValueError, match="no more"):
        assert [next(found) for _ in range(4)] == [1, 2, 3, 4] and next(found)
    assert made == [workers == 1] * 5
    some = ahead(iter(range(100)), workers)
    assert [next(some), next(some)] == [0, 1]
    some.close()  # and no thread stays
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("workers", [1, 2])
def test_calls_made_behind_come_in_order_and_their_errors_arrive(workers):
    done, behind = [], Behind(workers)
    for number in range(5):
        behind(lambda number: done.append((number, threading.current_thread().name[:6])), number)
    behind.wait()
    assert done == [(number, "behind" if workers > 1 else "MainTh") for number in range(5)]
    with pytest.raises(ValueError, match="invalid literal"):
        behind(int, "x")
        behind(done.clear)
    behind.close()
    assert len(done) == 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("behind")]


def test_threads_work_on_little_text_and_what_a_user_names_is_used():
    given = parallel.in_this_process
    many, little = parallel.WORTH_PROCESSES, parallel.WORTH_PROCESSES - 1
    assert suited(given, Resources(runner="ray"), little) is suited(given, Resources(), many) is given
    names = set(suited(given, Resources(workers=2), little)(lambda _: threading.current_thread().name, range(4)))
    assert names and all(name.startswith("ThreadPool") for name in names)


def test_one_piece_is_worked_on_here():
    assert list(map_ordered(_pid, [None], 4)) == [os.getpid()]
    assert list(map_ordered(abs, [], 4)) == []


def test_the_caller_works_while_helpers_do_and_waits_for_none_that_is_starting():
    """The first piece is a helper's, which takes longer to start than the caller for all it may do before."""
    begun = time.monotonic()
    results = map_ordered(_pid_after, [0.01] * 60, 2)
    found = [next(results)]
    assert time.monotonic() - begun > 0.01 * HELD
    found += results
    assert found[0] != os.getpid() and set(found[1 : 2 * HELD]) == {os.getpid()}
    assert set(found) == {found[0], os.getpid()}
    assert found.count(os.getpid()) < 60 - 10


def test_no_helper_is_at_work_when_a_call_has_ended(tmp_path):
    pieces = [(tmp_path, 0.0, False), (tmp_path, 0.5, False), (tmp_path, 0.5, True), (tmp_path, 0.5, False)]
    for _ in range(2):  # with a helper that starts, and one that is there
        with pytest.raises(ValueError, match="a bad piece"):
            list(map_ordered(_leave_a_file, pieces, 2))
        left = len(list(tmp_path.iterdir()))
        time.sleep(1)
        assert len(list(tmp_path.iterdir())) == left


def test_what_making_a_piece_raises_arrives():
    def pieces():
        yield from [-1, -2, -3]
        raise ValueError("no more")

    results = map_ordered(abs, pieces(), 2)
    assert [next(results) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="no more"):
        next(results)


def test_workers_stay_for_the_next_call_and_end_when_idle(monkeypatch):
    first, second = (_helpers() for _ in range(2))
    assert first & second
    monkeypatch.setenv("PEDIGREE_HOME", "elsewhere")  # they would not know
    monkeypatch.setattr(crew, "IDLE_SECONDS", 0.1)
    third = _helpers()
    assert third and not third & first
    deadline = time.monotonic() + 300
    while any("spawn_main" in _command(pid) for pid in first | second | third):
        assert time.monotonic() < deadline, "the workers stayed"
        time.sleep(0.05)


def test_workers_that_died_are_replaced():
    with pytest.raises(BrokenExecutor):
        list(map_ordered(_exit_unless_in, [os.getpid()] * 4, 2))
    assert list(map_ordered(abs, [-1, -2], 2)) == [1, 2]


def _pid(_):
    return os.getpid()


def _helpers():
    return set(map_ordered(_pid, [None] * 8, 3)) - {os.getpid()}


def _pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def _leave_a_file(piece):
    folder, seconds, is_bad = piece
    time.sleep(seconds)
    if is_bad:
        raise ValueError("a bad piece")
    (folder / f"{time.monotonic_ns()}").touch()


def _exit_unless_in(pid):
    if os.getpid() != pid:
        os._exit(1)


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import time\nfrom tasks.lineage.parallel import map_ordered\n"
        "if __name__ == '__main__':\n    list(map_ordered(time.sleep, [600, 600, 600], 3))\n"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    workers = _wait_for(lambda: [pid for pid in _children(parent.pid) if "spawn_main" in _command(pid)], count=2)
    time.sleep(1)  # for the workers to reach their first piece
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 300
    while any("spawn_main" in _command(pid) for pid in workers):
        assert time.monotonic() < deadline, "the workers outlived their parent"
        time.sleep(0.1)


def test_workers_do_not_import_the_main_module(tmp_path):
    script = tmp_path / "main_module.py"
    script.write_text(
        "import __main__\nfrom tasks.lineage.parallel import map_ordered\nprint('imported')\n"
        "if __name__ == '__main__':\n    print(list(map_ordered(abs, [-1, -2], 2)), __main__.__file__)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == f"imported\n[1, 2] {script}\n", done.stderr


def _wait_for(found, count):
    deadline = time.monotonic() + 300
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
