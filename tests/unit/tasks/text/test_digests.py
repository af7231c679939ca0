"""Remembered digests: right when files change, safe when the memory is damaged or shared."""

import hashlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.text import digests
from tasks.text.digests import DigestMemory, digest_of, memory_place


@pytest.fixture
def long_ago(monkeypatch):
    """A ctime cannot be put back, so files written just now count as settled."""
    monkeypatch.setattr("tasks.text.digests._SETTLED_NS", -1)


@pytest.fixture
def old_file(tmp_path, long_ago):
    path = tmp_path / "a.txt"
    path.write_text("one")
    os.utime(path, ns=(10**18, 10**18))
    return path


def look(place, path):
    with DigestMemory(place) as memory:
        return memory.digest(path), memory.hashed


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_read_once(tmp_path, old_file):
    place = tmp_path / "cache" / "digests.sqlite"
    assert look(place, old_file) == ((3, sha("one")), 1)
    assert look(place, old_file) == ((3, sha("one")), 0)


def test_a_changed_file_is_read_again_even_with_the_same_size(tmp_path, old_file):
    place = tmp_path / "digests.sqlite"
    look(place, old_file)
    old_file.write_text("two")
    os.utime(old_file, ns=(10**18 + 1, 10**18 + 1))
    assert look(place, old_file) == ((3, sha("two")), 1)
    replacement = old_file.with_name("b.txt")
    replacement.write_text("six")
    os.utime(replacement, ns=(10**18 + 1, 10**18 + 1))
    replacement.replace(old_file)  # the same size and time, but another inode
    assert look(place, old_file) == ((3, sha("six")), 1)


def test_a_file_changed_just_now_is_not_remembered(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    place = tmp_path / "digests.sqlite"
    assert look(place, path)[1] == 1
    assert look(place, path)[1] == 1


def test_a_damaged_memory_is_set_aside_and_built_anew(tmp_path, old_file):
    place = tmp_path / "digests.sqlite"
    place.write_bytes(b"not a database at all" * 100)
    assert look(place, old_file) == ((3, sha("one")), 1)
    assert look(place, old_file)[1] == 0
    assert place.with_suffix(".damaged").exists()


def test_an_unreadable_file_raises(tmp_path):
    with DigestMemory(tmp_path / "digests.sqlite") as memory, pytest.raises(OSError):
        memory.digest(tmp_path / "absent")


def test_several_threads_give_the_digests_in_order_and_the_errors_in_their_places(tmp_path, monkeypatch, long_ago):
    monkeypatch.setattr(digests, "_BATCH_FILES", 3)
    paths = [tmp_path / f"{number}.txt" for number in range(20)]
    for number, path in enumerate(paths):
        if number % 7:
            path.write_text(str(number))
    with DigestMemory(tmp_path / "digests.sqlite") as memory:
        found = list(memory.digests(paths, workers=4))
        assert memory.hashed == 17
    assert [number for number, one in enumerate(found) if isinstance(one, FileNotFoundError)] == [0, 7, 14]
    assert all(one == (len(str(n)), sha(str(n))) for n, one in enumerate(found) if n % 7)


def test_many_at_once_lose_nothing(tmp_path, long_ago):
    paths = []
    for number in range(40):
        path = tmp_path / f"{number}.txt"
        path.write_text(str(number))
        os.utime(path, ns=(10**18, 10**18))
        paths.append(path)
    place = tmp_path / "digests.sqlite"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: look(place, path), paths))
    with sqlite3.connect(place) as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (40,)
    database.close()


def test_a_large_file_is_only_read_in_a_state_that_is_not_known(tmp_path, monkeypatch, long_ago):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home ?#"))
    read, file_digest = [], hashlib.file_digest

    def watched(file, name):
        read.append(file.name)
        return file_digest(file, name)

    monkeypatch.setattr(digests.hashlib, "file_digest", watched)
    path = tmp_path / "large.jsonl"

    def told():
        read.clear()
        with path.open("rb") as file:
            return digest_of(file), len(read)

    text = "x" * (1 << 20)
    path.write_text(text)
    assert told() == (sha(text), 1)  # there is no memory yet
    look(memory_place(), path)
    assert told() == (sha(text), 0)
    status, text = path.stat(), "y" * (1 << 20)
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # its ctime tells
    assert told() == (sha(text), 1)
    look(memory_place(), path)
    memory_place().write_bytes(b"damaged")
    assert told() == (sha(text), 1)
    path.write_text("short")
    look(memory_place(), path)
    assert told() == (sha("short"), 1)
