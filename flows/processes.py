"""Detached processes that outlive the command which started them: begin, recognise, end.

A process is recognised by its number *and* its start time, since the system hands numbers out again.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

START_TIME_SLACK = 2.0  # seconds; the system rounds start times differently after a suspend


@dataclass(frozen=True)
class Process:
    """A process started here. `started` is its start time in seconds since 1970, as the system tells it."""

    pid: int
    started: float
    log: str

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def start(command: list[str], *, env: dict[str, str], directory: Path, log: Path) -> Process:
    """Starts `command` in a session of its own, with its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            env=env,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Process(child.pid, psutil.Process(child.pid).create_time(), str(log))


def alive(process: Process | None) -> bool:
    """Whether this very process (not another under the same number) still runs."""
    if process is None:
        return False
    try:
        found = psutil.Process(process.pid)
        return found.status() != psutil.STATUS_ZOMBIE and abs(found.create_time() - process.started) < START_TIME_SLACK
    except psutil.NoSuchProcess:
        return False


def end(process: Process, *, patience: float = 15.0) -> bool:
    """Ends a process, all its descendants and its whole group. Returns False if it was gone already.

    Asks first (SIGTERM), and after `patience` seconds insists (SIGKILL).
    """
    if not alive(process):
        return False
    members = _family(process.pid)
    _signal_group(process.pid, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(members[:1], timeout=patience)
    for member in [*stubborn, *members[1:]]:
        if member.is_running():
            _quietly(member.terminate)
    _, stubborn = psutil.wait_procs(members, timeout=patience if not stubborn else 1.0)
    if stubborn:
        _signal_group(process.pid, signal.SIGKILL)
        for member in stubborn:
            _quietly(member.kill)
        psutil.wait_procs(stubborn, timeout=5.0)
    return True


def _family(pid: int) -> list[psutil.Process]:
    """The process and its descendants, some of which may have groups of their own."""
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # the group's last member is gone


def _quietly(action: Callable[[], object]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return  # it ended between the look and the signal


def free_port(preferred: int) -> int:
    """`preferred` if nothing listens there on loopback, otherwise any free port."""
    if not listening(preferred) and _bindable(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def listening(port: int) -> bool:
    """Whether somebody listens there on loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def serves(process: Process, port: int) -> bool:
    """Whether it is this process, or one it has started, that listens on the port; also true where that is hidden."""
    for member in _family(process.pid):
        try:
            open_here = member.net_connections(kind="tcp")
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            return True
        if any(found.status == psutil.CONN_LISTEN and found.laddr.port == port for found in open_here):
            return True
    return False


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log file, for a message about why its process ended."""
    if not log.exists():
        return "(no log)"
    text = log.read_bytes()[-20_000:].decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-count:])


def wait_until(condition: Callable[[], bool], *, timeout: float, interval: float = 0.2) -> bool:
    """Calls `condition` until it is true; False after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(interval)
    return False
