"""The file of events: whole lines whoever writes and however he ends, and bounded."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.openlineage import log

WRITER = """
import json, sys
from tasks.openlineage import log
for number in range(10**6):
    log.append(json.dumps({"writer": sys.argv[1], "number": number, "filling": "x" * 5000}).encode())
"""


def text() -> str:
    files = [path for number in range(log.KEPT, -1, -1) if (path := log.path(number)).exists()]
    return "".join(path.read_text() for path in files)


def written() -> list[dict[str, object]]:
    return [json.loads(line) for line in text().splitlines()]


def test_lines_of_killed_writers_are_whole_and_in_order() -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name], env={**os.environ}) for name in "ab"]
    deadline = time.monotonic() + 300
    while not all(f'"writer": "{name}"' in text() for name in "ab"):  # the last line may be being written
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    log.append(b'{"writer": "c", "number": 0}')  # the lock went with its holder
    for name in "abc":
        numbers = [entry["number"] for entry in written() if entry["writer"] == name]
        assert numbers == list(range(len(numbers))) and numbers


def test_half_a_line_is_ended_before_the_next() -> None:
    log.append(b'{"a": 1}')
    with log.path().open("ab") as file:
        file.write(b'{"b": ')
    log.append(b'{"c": 1}')
    assert log.path().read_bytes() == b'{"a": 1}\n{"b": \n{"c": 1}\n'


def test_old_files_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST_BYTES", 100)
    for number in range(100):
        log.append(json.dumps({"number": number}).encode())
    kept = sorted(path.name for path in log.folder().glob("*.jsonl"))
    assert kept == ["events.1.jsonl", "events.2.jsonl", "events.3.jsonl", "events.4.jsonl", "events.jsonl"]
    numbers = [entry["number"] for entry in written()]
    assert numbers == list(range(numbers[0], 100)), "the newest, without a gap"
    assert all(log.path(number).stat().st_size < 200 for number in range(5))


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    log.append(b'{"a": 1}')
    before = log.path().read_bytes()
    limits, old = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 4, limits[1]))
    try:
        with pytest.raises(OSError):
            log.append(b'{"a": 2}')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert log.path().read_bytes() == before
