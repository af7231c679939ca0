"""Processes are recognised by number and start time, ended with all their descendants, and never mistaken."""

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flows import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# A child in a session of its own, as Prefect starts flow runs; both ignore the polite signal.
STUBBORN_WITH_CHILD = [
    sys.executable,
    "-c",
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, "
    'signal.SIG_IGN); print("ready", flush=True); time.sleep(60)\'], start_new_session=True)\n'
    "print(child.pid, flush=True)\ntime.sleep(60)\n",
]


def begin(command: list[str], tmp_path: Path) -> processes.Process:
    return processes.start(command, env=dict(os.environ), directory=tmp_path, log=tmp_path / "logs" / "it.log")


def test_a_started_process_is_alive_until_ended(tmp_path: Path) -> None:
    process = begin(SLEEP, tmp_path)
    assert processes.alive(process)
    assert processes.end(process)
    assert not processes.alive(process)
    assert not processes.end(process), "ending what is gone says so"


def test_the_same_number_with_another_start_time_is_another_process(tmp_path: Path) -> None:
    process = begin(SLEEP, tmp_path)
    impostor = replace(process, started=process.started - 3600)
    assert not processes.alive(impostor)
    assert not processes.end(impostor)
    assert processes.alive(process), "a stranger under a recycled number is left alone"
    processes.end(process)


def test_end_takes_stubborn_descendants_in_other_groups_along(tmp_path: Path) -> None:
    process = begin(STUBBORN_WITH_CHILD, tmp_path)
    log = tmp_path / "logs" / "it.log"
    assert processes.wait_until(lambda: len(log.read_text().split()) == 2, timeout=300)
    child = int(log.read_text().split()[0] if log.read_text().split()[0].isdigit() else log.read_text().split()[1])
    assert processes.end(process, patience=0.5)
    assert not processes.alive(process)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_taken_port_is_avoided() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        taken = server.getsockname()[1]
        assert processes.free_port(taken) != taken
    assert processes.free_port(taken) == taken


def test_a_log_s_end_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    assert processes.last_lines(log) == "(no log)"
    log.write_text("\n".join(str(number) for number in range(100)))
    assert processes.last_lines(log, 2) == "98\n99"


@pytest.mark.parametrize("outcome", [True, False])
def test_waiting_ends_with_the_condition_or_the_time(outcome: bool) -> None:
    assert processes.wait_until(lambda: outcome, timeout=0.3, interval=0.05) is outcome
