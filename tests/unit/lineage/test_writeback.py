"""A hint to the disk: it changes nothing that can be seen, and may fail without harm."""

import sys
from pathlib import Path

import pytest

from tasks.lineage import writeback
from tasks.lineage.writeback import begin_writing


def test_a_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "shard.bin"
    with path.open("wb") as file:
        file.write(b"one")
        begin_writing(path)  # while it is open
        file.write(b"two")
    begin_writing(path)
    assert path.read_bytes() == b"onetwo"


def test_what_is_not_there_is_left_alone(tmp_path: Path) -> None:
    begin_writing(tmp_path / "absent")


def test_a_system_without_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writeback, "_sync_file_range", lambda: None)
    (tmp_path / "a").write_bytes(b"a")
    begin_writing(tmp_path / "a")


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_linux_has_it(tmp_path: Path) -> None:
    begin = writeback._sync_file_range()
    assert begin is not None
    with (tmp_path / "a").open("wb") as file:
        file.write(b"a" * 10_000)
        assert begin(file.fileno(), 0, 0, 2) == 0
