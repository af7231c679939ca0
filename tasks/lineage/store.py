"""The store: outputs by content, records by key. Nothing is in it half-written, and nothing in it changes.

An object is made elsewhere, digested, forced to disk and renamed into place; its record is written last, so a record
implies a whole object. As in the Nix store, every stored file carries one fixed modification time: another time means
that someone wrote to it, and the next hit hashes it again before trusting it.
"""

import contextlib
import logging
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import StageError
from tasks.lineage.files import remove_tree, sync, write_atomically
from tasks.lineage.home import home
from tasks.lineage.record import Output, Record, sealed, unsealed
from tasks.lineage.tombstone import lift, said_of
from tasks.lineage.tree import hash_file, hash_tree, list_files, tree_digest
from tasks.lineage.verify import verify

MISSING = "missing"
STORED_MTIME = 315532800  # 1980-01-01, the earliest that zip files can hold

logger = logging.getLogger("pedigree.store")


@dataclass(frozen=True)
class Store:
    """The objects and records under one home folder."""

    root: Path = field(default_factory=home)

    # -- places ------------------------------------------------------------------------------------------------

    def object_path(self, digest: str) -> Path:
        return self.root / "objects" / digest

    def record_path(self, key: str) -> Path:
        return self.root / "records" / f"{key}.json"

    def metrics_path(self, key: str) -> Path:
        return self.root / "metrics" / f"{key}.jsonl"

    def work_path(self, key: str) -> Path:
        return self.root / "work" / key

    def lock_path(self, key: str) -> Path:
        return self.root / "locks" / key

    # -- objects -----------------------------------------------------------------------------------------------

    def commit(self, folder: Path, kind: str) -> Output:
        """Move a finished folder into the store under its content's digest; an equal object already there is kept.

        Raises StageError if the folder holds no file. OSError (disk full) leaves the store as it was.
        """
        with ThreadPoolExecutor(1, "seal") as thread:  # the disk is waited for while the processor hashes
            sealed = thread.submit(_seal, folder)
            files = hash_tree(folder)
        sealed.result()
        if not files:
            raise StageError(f"the stage wrote nothing into {folder}; an output needs at least one file in run.output")
        output = Output(kind=kind, digest=tree_digest(files), files=files)
        target = self.object_path(output.digest)
        if target.exists():
            if not self.problems(output, deep=True):  # what is thrown away here is known to be whole
                remove_tree(folder)
                return output
            self.set_aside(output.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, target)
        lift(self.root, output.digest)
        target.chmod(0o555)
        sync(target.parent)
        return output

    def problems(self, output: Output, deep: bool = False) -> list[str]:
        """What is wrong with a stored output; empty if it is whole.

        Names and sizes are always compared. Contents are hashed where the modification time says that the file was
        touched, and everywhere if `deep`. A file found damaged is left with a new time, so that the next hit sees it
        too, even where a fault of the disk had left the time as it was.
        """
        root = self.object_path(output.digest)
        if not root.is_dir():
            return [said_of(self.root, output.digest) or MISSING]
        expected = {file.path: file for file in output.files}
        try:
            present = {path.relative_to(root).as_posix(): path for path in list_files(root)}
        except StageError as error:
            return [str(error)]
        found = [f"{path}: missing" for path in sorted(expected.keys() - present.keys())]
        found += [f"{path}: not part of the output" for path in sorted(present.keys() - expected.keys())]
        for path in sorted(expected.keys() & present.keys()):
            status = present[path].stat()
            if status.st_size != expected[path].size:
                found.append(f"{path}: {status.st_size} bytes, {expected[path].size} expected")
            elif deep or int(status.st_mtime) != STORED_MTIME:
                whole = hash_file(present[path]) == expected[path].sha256
                if not whole:
                    found.append(f"{path}: content differs from its digest")
                with contextlib.suppress(PermissionError):  # another user's file is looked at again the next time
                    os.utime(present[path], (STORED_MTIME, STORED_MTIME) if whole else None)
        return found

    def set_aside(self, digest: str) -> None:
        """Take a damaged object out of the store without destroying what a person may want to look at."""
        source = self.object_path(digest)
        if source.exists():
            source.chmod(0o755)
            self._move_aside(source)

    def _move_aside(self, source: Path) -> None:
        target = self.root / "aside" / f"{source.name}.{uuid.uuid4().hex[:8]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
        logger.warning("set aside the damaged %s as %s", source, target)

    # -- records -----------------------------------------------------------------------------------------------

    def record(self, key: str) -> Record | None:
        """The record of a key, or None. An unreadable one is set aside with a warning, and counts as none."""
        return self.read_record(self.record_path(key))

    def maker(self, artifact: Artifact) -> Record | None:
        """The record of the work that made this very artifact, superseded or not; None if it is gone."""
        record = self.record(artifact.key)
        if record is not None and record.output.digest == artifact.digest:
            return record
        return self.read_record(self._superseded_path(artifact.key, artifact.digest))

    def _superseded_path(self, key: str, digest: str) -> Path:
        return self.root / "records" / "superseded" / f"{key}.{digest[:12]}.json"

    def read_record(self, path: Path) -> Record | None:
        """The record in a file of `records/`, or None. An unreadable one is set aside with a warning."""
        try:
            return unsealed(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("the record %s cannot be read: %s", path, error)
            self._move_aside(path)
            return None

    def write_record(self, record: Record) -> None:
        """Make the work known; the last step of a commit.

        If the key gave another output before, that record moves to records/superseded: its output may be an input of
        others, who can still be told where it came from.
        """
        path = self.record_path(record.key)
        earlier = self.record(record.key)
        if earlier is not None and earlier.output.digest != record.output.digest:
            superseded = self._superseded_path(record.key, earlier.output.digest)
            superseded.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, superseded)
        write_atomically(path, sealed(record))

    def records(self, superseded: bool = False) -> Iterator[Record]:
        """Every readable record, by key; with those that a later run with the same key replaced, if `superseded`."""
        for path in sorted((self.root / "records").glob("**/*.json" if superseded else "*.json")):
            record = self.read_record(path)
            if record is not None:
                yield record

    def find(self, key: str) -> tuple[Record | None, list[str]]:
        """The record of a key and the problems of its output; a hit is a record without problems."""
        record = self.record(key)
        return record, [] if record is None else self.problems(record.output)

    def verify(self, deep: bool = False) -> dict[str, Any]:
        """Check everything; see tasks/lineage/verify.py."""
        return verify(self, deep)


def _seal(folder: Path) -> None:
    """Force a folder to disk and make its content read-only, with the fixed time."""
    for path in list_files(folder):
        os.utime(path, (STORED_MTIME, STORED_MTIME))
        path.chmod(0o444)
        sync(path)
    for name, _, _ in os.walk(folder, topdown=False):
        sync(Path(name))
        if Path(name) != folder:
            Path(name).chmod(0o555)
