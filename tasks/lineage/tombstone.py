"""What stands in the place of an output that was deleted on purpose: which one, when and why.

Its record stays, so that lineage still answers what the output was and what was made from it. A tombstone is written
before the output goes, so that a process killed between the two leaves an output that is there and nothing worse.
"""

import contextlib
import logging
import os
import uuid
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.lineage.files import remove_tree, write_atomically
from tasks.lineage.journal import now

Reason = Literal["forgotten", "unreachable"]
_WORDS = {"forgotten": "`pedigree forget --purge`", "unreachable": "`pedigree gc`"}
FATES = ".fates"

logger = logging.getLogger("pedigree.store")


class Tombstone(BaseModel):
    """One deleted output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    reason: Reason
    at: str = Field(description="ISO 8601, UTC")
    by: str | None = Field(None, description="the certificate of the deletion, if it has one")


def tombstone_path(root: Path, digest: str) -> Path:
    return root / "tombstones" / f"{digest}.json"


def tombstone(root: Path, digest: str) -> Tombstone | None:
    """The tombstone of an output; None if it was never deleted, or has been made again since."""
    try:
        return Tombstone.model_validate_json(tombstone_path(root, digest).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        logger.warning("the tombstone of %s cannot be read: %s", digest, error)
        return None


def said_of(root: Path, digest: str) -> str | None:
    """A sentence about a deleted output; None if it was not deleted."""
    stone = tombstone(root, digest)
    return f"deleted by {_WORDS[stone.reason]} on {stone.at[:10]}" if stone else None


def bury(root: Path, digest: str, reason: Reason, by: str | None = None) -> None:
    """Delete an output for good. Raises OSError; whatever is done by then, the store is valid."""
    stone = Tombstone(digest=digest, reason=reason, at=now(), by=by)
    write_atomically(tombstone_path(root, digest), stone.model_dump_json(indent=1).encode())
    discard_index(root, digest, keep_fates=reason == "forgotten")
    discard(root, root / "objects" / digest)


def discard_index(root: Path, digest: str, keep_fates: bool = False) -> None:
    """Delete what was sorted out of an output for quick answers; some of it is made of its text.

    keep_fates: but not which documents it held, by id, which still tells what learnt from something forgotten.
    """
    for path in (*root.glob(f"index/{digest}*"), *root.glob(f"index/documents/{digest}*")):
        if path.is_dir():
            remove_tree(path)
        elif not (keep_fates and path.suffix == FATES):
            path.unlink(missing_ok=True)


def discard(root: Path, path: Path) -> None:
    """Delete a file or folder of the store: out of its place in one step, then piece by piece."""
    if not path.exists():
        return
    trash = root / "trash" / f"{path.name}.{uuid.uuid4().hex[:8]}"
    trash.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        path.chmod(0o755)
    os.rename(path, trash)
    empty_trash(root)


def empty_trash(root: Path) -> None:
    """Delete what was moved out of its place, also by a process that was killed before it could."""
    for path in (root / "trash").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process is at it too
            if path.is_dir():
                remove_tree(path)
            else:
                path.unlink()


def lift(root: Path, digest: str) -> None:
    """Take a tombstone away: the output was made again."""
    tombstone_path(root, digest).unlink(missing_ok=True)
