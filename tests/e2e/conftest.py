"""Real servers in a home of their own, started once for all end-to-end tests and ended after them."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tests.e2e.command import RUN_SECONDS, TRAIN, Finished, Pedigree, running_stage, until
from tests.openlineage_receiver import Receiver


@pytest.fixture(scope="session")
def taken_port() -> Iterator[int]:
    """Prefect's usual port, taken by somebody else for as long as the servers run."""
    with socket.socket() as somebody:
        somebody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # left over connections do not count
        with suppress(OSError):  # taken already: just as good
            somebody.bind(("127.0.0.1", 4200))
            somebody.listen()
        yield 4200


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """What OpenLineage events are sent to."""
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def pedigree(tmp_path_factory: pytest.TempPathFactory, taken_port: int, receiver: Receiver) -> Iterator[Pedigree]:
    command = Pedigree(tmp_path_factory.mktemp("home"), {"OPENLINEAGE_URL": receiver.url})
    yield command
    ours = [psutil.Process(pid) for pid in _pids(command) if psutil.pid_exists(pid)]
    ended = command("down")
    assert ended.code == 0, ended.err
    left = [process for process in ours if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    for process in left:
        process.send_signal(signal.SIGKILL)
    assert not left, f"`pedigree down` left {left}"


def _pids(command: Pedigree) -> list[int]:
    if not (command.home / "servers.json").exists():
        return []  # only tests that need no server were chosen
    servers = command.servers()
    return [servers[name]["pid"] for name in ("prefect_process", "mlflow_process", "worker") if servers[name]]


@pytest.fixture(scope="session")
def killed(pedigree: Pedigree) -> Finished:
    """The whole course at the test preset, its process killed (-9) while it pretrains, after a checkpoint."""
    with pedigree.begin(*TRAIN) as command:
        entry = until(lambda: running_stage(pedigree.home, "pretrain") or command.poll() is not None)
        assert isinstance(entry, dict), f"it ended before it could be killed: {command.communicate()[1]}"
        os.kill(entry["process"]["pid"], signal.SIGKILL)
        out, err = command.communicate(timeout=RUN_SECONDS)
    assert not list((pedigree.home / "records").glob(f"{entry['key']}*")), "nothing half-made is in the store"
    return Finished(command.returncode, out, err)


@pytest.fixture(scope="session")
def trained(pedigree: Pedigree, killed: Finished) -> Finished:
    """The same once more, to its end."""
    finished = pedigree(*TRAIN)
    assert finished.code == 0, f"{finished.err}\n{pedigree.worker_log()[-8000:]}"
    return finished


@pytest.fixture(scope="session")
def again(pedigree: Pedigree, trained: Finished) -> Finished:
    """And once more: nothing is left to do."""
    finished = pedigree(*TRAIN)
    assert finished.code == 0, finished.err
    return finished
