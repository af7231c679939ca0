"""Files that are known by their digest, and are there whole or not at all, whatever ends the program or the machine."""

import hashlib
import os
from pathlib import Path


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place and moves it there."""
    temporary = path.with_name(f".writing-{path.name}")
    temporary.write_bytes(content)
    fsync(temporary)
    temporary.replace(path)
