"""The files that a person gives to be adopted: which they are, and the digest of them all."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.lineage import canonical
from tasks.lineage.errors import ConfigError, DataError

Report = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much."""

CHUNK_BYTES = 8 << 20
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".dill"})


@dataclass(frozen=True)
class GivenFile:
    """One file. name: relative to what was given, with forward slashes; empty for a file that was given itself."""

    name: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Given:
    """The files, in the order of their names; and the names of those in the folder that are not taken."""

    files: tuple[GivenFile, ...]
    left_out: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Of names and contents, wherever they lie."""
        return canonical.digest([[file.name, file.size, file.sha256] for file in self.files])

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)


def existing(path: Path) -> Path:
    """The file or folder. Raises ConfigError if there is none."""
    path = path.expanduser()
    if not path.exists():
        raise ConfigError(f"{path} does not exist: give the file or folder to adopt.")
    if not (path.is_file() or path.is_dir()):
        raise ConfigError(f"{path} is neither a file nor a folder: give one of them.")
    return path


def refuse_pickle(path: Path) -> None:
    """Raises ConfigError for a file that runs code when it is opened."""
    if path.suffix.lower() in PICKLES:
        raise ConfigError(
            f"{path} is (or may be) a pickle, which runs whatever code it holds when it is opened, so none is adopted. "
            "Convert it where you trust it: a model to safetensors, data to JSONL or Parquet."
        )


def hashed(named: Iterable[tuple[str, Path]], report: Report) -> tuple[GivenFile, ...]:
    """The files with their digests. Raises DataError for one that cannot be read."""
    waiting = sorted(named)
    total = sum(path.stat().st_size for _, path in waiting)
    done, files = 0, []
    for name, path in waiting:
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("rb") as file:
                while block := file.read(CHUNK_BYTES):
                    digest.update(block)
                    size += len(block)
                    report("reading", done + size, total)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        done += size
        files.append(GivenFile(name, path, size, digest.hexdigest()))
    return tuple(files)


def quiet(what: str, done: int, total: int) -> None:
    """Reports nothing."""


def unchanged(found: Given, digest: str, path: Path) -> None:
    """Raises DataError unless the files are what they were when they were first looked at."""
    if found.digest != digest:
        raise DataError(f"what lies at {path} changed while it was adopted: wait until it is whole, and do it again.")
