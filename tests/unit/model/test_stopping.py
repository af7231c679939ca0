"""SIGTERM and training in another thread than the main one, in real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from model import stopping
from model.stopping import StopRequest, sigterm_reaches_threads

SCRIPT = """
import sys, threading
from pathlib import Path
from model.losses import language_modelling_loss
from model.stopping import sigterm_reaches_threads
from model.training import TrainingConfig, train
import torch
from tests.one_batch import language_model

def batches(step):
    ids = torch.full((2, 8), step % 40)
    return {"input_ids": ids, "targets": ids}

def work():
    train(language_model(), batches, language_modelling_loss, TrainingConfig(steps=1_000_000),
          checkpoint_dir=Path(sys.argv[1]), checkpoint_seconds=1e6,
          on_step=lambda step, _: print(step, flush=True))  # each at once: the process ends without warning

thread = threading.Thread(target=work)
with sigterm_reaches_threads():
    thread.start()
    thread.join()
"""


def test_sigterm_saves_the_very_step_of_a_thread_and_then_ends_the_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=Path(__file__).parents[3], text=True,
        stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    steps = [int(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGTERM
    steps += map(int, output.split())
    assert [path.name for path in tmp_path.glob("step-*")] == [f"step-{steps[-1]:08d}"]


@pytest.fixture
def received():
    """The signals that reach whoever had the handler before."""
    seen: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGTERM, former)


def test_with_no_thread_to_wait_for_the_former_handler_is_called_at_once(received: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_reaches_threads():
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_that_does_not_stop_is_waited_for_so_long_and_no_longer(received: list[int]) -> None:
    entered, leave, asked = threading.Event(), threading.Event(), []

    def stubborn() -> None:
        with StopRequest() as stop:
            entered.set()
            leave.wait(30)
            asked.append(stop.requested())

    thread = threading.Thread(target=stubborn)
    thread.start()
    entered.wait(30)
    with sigterm_reaches_threads(saving_seconds=0.2):
        began = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM] and time.monotonic() - began >= 0.2
        leave.set()
        thread.join(30)
    assert asked == [True]


def test_the_main_loop_is_asked_first_and_the_former_handler_after_it(received: list[int]) -> None:
    with sigterm_reaches_threads():
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested() and received == []
        assert received == [signal.SIGTERM]


def test_sigterm_again_is_passed_on_at_once_but_not_if_it_is_the_same_request(received, monkeypatch) -> None:
    with StopRequest() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested() and received == []
        monkeypatch.setattr(stopping, "ONCE_SECONDS", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]


def test_in_another_thread_it_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def elsewhere() -> None:
        with sigterm_reaches_threads():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before]


def test_an_error_is_told_before_sigterm_is_passed_on(received: list[int], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OSError, match="full"), StopRequest():
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError("the disk is full")
    assert received == [signal.SIGTERM] and "Ending on SIGTERM: the disk is full" in caplog.text
