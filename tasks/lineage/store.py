"""The store: outputs by content, records by key. Nothing is in it half-written, and nothing in it changes.

An object is made elsewhere, digested, forced to disk and renamed into place; its record is written last, so a record
implies a whole object. As in the Nix store, every stored file carries one fixed modification time: another time means
that someone wrote to it, and the next hit hashes it again before trusting it.
"""

import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.lineage.errors import StageError
from tasks.lineage.files import sync, write_atomically
from tasks.lineage.home import home
from tasks.lineage.record import Output, Record
from tasks.lineage.tree import hash_file, hash_tree, list_files, tree_digest

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
        files = hash_tree(folder)
        if not files:
            raise StageError(f"the stage wrote nothing into {folder}; an output needs at least one file in run.output")
        output = Output(kind=kind, digest=tree_digest(files), files=files)
        target = self.object_path(output.digest)
        if target.exists():
            if not self.problems(output):
                shutil.rmtree(folder)
                return output
            self.set_aside(output.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        _seal(folder)
        os.rename(folder, target)
        target.chmod(0o555)
        sync(target.parent)
        return output

    def problems(self, output: Output, deep: bool = False) -> list[str]:
        """What is wrong with a stored output; empty if it is whole.

        Names and sizes are always compared. Contents are hashed where the modification time says that the file was
        touched, and everywhere if `deep`.
        """
        root = self.object_path(output.digest)
        if not root.is_dir():
            return ["missing"]
        expected = {file.path: file for file in output.files}
        present = {path.relative_to(root).as_posix(): path for path in list_files(root)}
        found = [f"{path}: missing" for path in sorted(expected.keys() - present.keys())]
        found += [f"{path}: not part of the output" for path in sorted(present.keys() - expected.keys())]
        for path in sorted(expected.keys() & present.keys()):
            status = present[path].stat()
            if status.st_size != expected[path].size:
                found.append(f"{path}: {status.st_size} bytes, {expected[path].size} expected")
            elif deep or int(status.st_mtime) != STORED_MTIME:
                if hash_file(present[path]) != expected[path].sha256:
                    found.append(f"{path}: content differs from its digest")
                else:
                    os.utime(present[path], (STORED_MTIME, STORED_MTIME))
        return found

    def set_aside(self, digest: str) -> Path:
        """Take a damaged object out of the store without destroying what a person may want to look at."""
        source = self.object_path(digest)
        target = self.root / "aside" / f"{digest}.{uuid.uuid4().hex[:8]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        source.chmod(0o755)
        os.rename(source, target)
        logger.warning("set aside the damaged object %s as %s", digest[:12], target)
        return target

    # -- records -----------------------------------------------------------------------------------------------

    def record(self, key: str) -> Record | None:
        """The record of a key, or None. An unreadable one is set aside with a warning, and counts as none."""
        path = self.record_path(key)
        try:
            return Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            target = self.root / "aside" / f"{path.name}.{uuid.uuid4().hex[:8]}"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            logger.warning("set aside the unreadable record %s as %s: %s", path.name, target, error)
            return None

    def write_record(self, record: Record) -> None:
        """Make the work known; the last step of a commit."""
        write_atomically(self.record_path(record.key), record.model_dump_json(indent=1).encode())

    def records(self) -> Iterator[Record]:
        """Every readable record, by key."""
        for path in sorted((self.root / "records").glob("*.json")):
            record = self.record(path.stem)
            if record is not None:
                yield record

    def find(self, key: str) -> tuple[Record | None, list[str]]:
        """The record of a key and the problems of its output; a hit is a record without problems."""
        record = self.record(key)
        return record, [] if record is None else self.problems(record.output)

    def verify(self, deep: bool = True) -> dict[str, Any]:
        """Check everything: {"objects": count, "damaged": [{digest, stage, key, problems}], "missing": [the same]}."""
        damaged: list[dict[str, Any]] = []
        missing: list[dict[str, Any]] = []
        digests = {path.name for path in (self.root / "objects").glob("*")}
        for record in self.records():
            problems = self.problems(record.output, deep)
            entry = {"digest": record.output.digest, "stage": record.stage, "key": record.key, "problems": problems}
            if problems == ["missing"]:
                missing.append(entry)
            elif problems:
                damaged.append(entry)
        return {"objects": len(digests), "damaged": damaged, "missing": missing}


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
