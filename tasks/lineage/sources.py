"""The normalised source of every definition that a record was made by, kept by digest in `code/<digest>`.

Small text files, each named by the SHA-256 of its content, so that a change of code can be shown and not only named.
A lost one costs nothing but that.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path

from tasks.lineage.files import write_atomically
from tasks.lineage.fingerprint import Fingerprint, digest_of
from tasks.lineage.store import Store

NOT_KEPT = "the source of the earlier code was not kept"
_CONTEXT = 3  # unchanged lines around a change


def path_of(store: Store, digest: str) -> Path:
    return store.root / "code" / digest


def keep(store: Store, code: Fingerprint) -> None:
    """Write down what is not there yet, or is there only in part. Raises OSError."""
    for digest, source in code.sources.items():
        path, content = path_of(store, digest), source.encode("utf-8", "surrogatepass")
        try:
            whole = path.stat().st_size == len(content)
        except FileNotFoundError:
            whole = False
        if not whole:
            write_atomically(path, content, durable=False)  # a hundred waits for the disk would be felt


def read(store: Store, digest: str) -> str | None:
    """The source with that digest; None if it was never kept, or is damaged."""
    try:
        source = path_of(store, digest).read_bytes().decode("utf-8", "surrogatepass")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return source if digest_of(source) == digest else None


def difference(store: Store, name: str, old: str | None, new: str | None, now: Mapping[str, str]) -> str | None:
    """Unified diff of a definition between two digests; None if a source is not to be had.

    now: sources at hand, by digest. A digest is None where the definition is not there.
    """
    before, after = ("" if digest is None else now.get(digest) or read(store, digest) for digest in (old, new))
    if before is None or after is None:
        return None
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name} (earlier)", f"{name} (now)", lineterm="", n=_CONTEXT
    )
    return "\n".join(lines) + "\n"
