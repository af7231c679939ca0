"""The digest of a folder: a Merkle hash over its sorted relative paths, sizes and file contents.

Times, modes, owners and empty folders do not count; links and special files are refused, since they would make the
content depend on something outside the folder.
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.lineage import canonical
from tasks.lineage.errors import StageError
from tasks.lineage.record import StoredFile


def list_files(root: Path) -> list[Path]:
    """Every regular file under `root`, sorted by relative path. Raises StageError on links and special files."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        for name in (*names, *folders):
            path = Path(folder, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise StageError(f"{path} is a link or a special file; write a regular file in its place")
        found += [Path(folder, name) for name in names]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_tree(root: Path) -> list[StoredFile]:
    """Path, size and digest of every file under `root`, hashed in parallel (hashing releases the interpreter lock)."""
    paths = list_files(root)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = list(pool.map(hash_file, paths))
    return [
        StoredFile(path=path.relative_to(root).as_posix(), size=path.stat().st_size, sha256=digest)
        for path, digest in zip(paths, digests, strict=True)
    ]


def tree_digest(files: Iterable[StoredFile]) -> str:
    """The digest that names a folder with these files."""
    return canonical.digest([[file.path, file.size, file.sha256] for file in files])
