"""Durable, atomic writing of small files, and making a whole folder safe on disk."""

import os
import shutil
import uuid
from pathlib import Path


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Write `content` to `path` so that a reader, or whoever comes after a kill, sees the old file or the new one.

    durable: also after a power cut, at the price of waiting for the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def end_last_line(path: Path) -> None:
    """Make sure that `path` exists and that what is appended starts a line: a killed writer leaves half of one."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


def remove_tree(folder: Path) -> None:
    """Delete a folder, read-only parts included. Nothing happens if it is not there."""
    for name, _, _ in os.walk(folder):
        os.chmod(name, 0o755)
    if folder.exists():
        shutil.rmtree(folder)


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
