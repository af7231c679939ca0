"""The suffix arrays beside stored outputs: home/index/<digest of the output>/trace-…/.

They are derived from the output and may be deleted at any time; the first question after that builds them again. Each
is written in a folder of its own and renamed when it is whole, so two processes may build the same at once. One of
pairs holds the pairs' tokens, so whoever deletes an output for its text's sake deletes its index too (see `drop`).
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.lineage.errors import DataError
from tasks.lineage.files import remove_tree
from tasks.lineage.store import Store
from tasks.trace.suffixes import DEPTH, SuffixArray, TokenText, count_tokens, sorted_suffixes

VERSION = 1  # of the files; raised when they change their meaning
ORDER, COUNTS, META = "order.bin", "counts.npy", "meta.json"

Progress = Callable[[int, int], None]


class Index:
    """The suffix array of one training text, and how often each token stands in it, (V,)."""

    def __init__(self, folder: Path, text: TokenText) -> None:
        meta = json.loads((folder / META).read_text())
        order = np.memmap(folder / ORDER, np.dtype(meta["dtype"]), "r") if text.length else np.zeros(0, np.uint32)
        self.suffixes = SuffixArray(text, order, meta["depth"])
        self.counts: NDArray[np.int64] = np.load(folder / COUNTS)


def folder_of(store: Store, digest: str, name: str) -> Path:
    """Where the index called `name` of an output lies."""
    return store.root / "index" / digest / f"trace-{VERSION}-{name}"


def drop(store: Store, digest: str) -> None:
    """Delete what was derived from an output."""
    remove_tree(store.root / "index" / digest)


def sweep(store: Store) -> None:
    """Delete what was derived from outputs that are no longer in the store."""
    for folder in (store.root / "index").glob("*/trace-*"):
        if not store.object_path(folder.parent.name).is_dir():
            drop(store, folder.parent.name)


def open_index(folder: Path, text: TokenText) -> Index | None:
    """The index in a folder; None where there is none, or none that fits the text."""
    try:
        meta = json.loads((folder / META).read_text())
        size = (folder / ORDER).stat().st_size
        if (meta["tokens"], size) != (text.length, text.length * np.dtype(meta["dtype"]).itemsize):
            return None
        return Index(folder, text)
    except (OSError, ValueError, KeyError):
        return None


def build_index(folder: Path, text: TokenText, vocab_size: int, progress: Progress, files: Sequence[Path] = ()) -> None:
    """Sort a text's suffixes into `folder`, which takes the place of what was there; `files` are moved in beside."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    work.mkdir()
    try:
        dtype = np.dtype("<u4" if text.length < 1 << 32 else "<u8")
        with (work / ORDER).open("wb") as file:
            for positions in sorted_suffixes(text, vocab_size, progress):
                positions.astype(dtype).tofile(file)
        np.save(work / COUNTS, count_tokens(text, vocab_size))
        (work / META).write_text(json.dumps({"tokens": text.length, "depth": DEPTH, "dtype": dtype.str}))
        for path in files:
            shutil.move(path, work / path.name)
        remove_tree(folder)
        os.rename(work, folder)
    except IndexError as error:
        raise DataError(
            f"a token is outside the vocabulary of {vocab_size}: the tokens are not this tokenizer's"
        ) from error
    except OSError:
        if not (folder / META).is_file():  # nobody else was quicker
            raise
    finally:
        remove_tree(work)
