"""Checking the whole store: every damaged, missing or foreign file in it. Nothing is moved or mended here."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.lineage.errors import StageError
from tasks.lineage.record import Record, unsealed
from tasks.lineage.tombstone import Tombstone
from tasks.lineage.tree import hash_file, hash_tree, tree_digest

if TYPE_CHECKING:
    from tasks.lineage.store import Store

_DIGEST = "[0-9a-f]{64}"
_DRAFT = r"\..+\.[0-9a-f]{32}"  # of a writer that was killed: files.write_atomically
LAYOUT = {
    "objects": _DIGEST,
    "records": rf"superseded|{_DIGEST}\.json|{_DRAFT}",
    "records/superseded": rf"{_DIGEST}\.[0-9a-f]{{12}}\.json|{_DRAFT}",
    "metrics": rf"{_DIGEST}\.jsonl",
    "tombstones": rf"{_DIGEST}\.json|{_DRAFT}",
    "work": _DIGEST,
    "locks": r"[0-9a-z.-]+",
    "trash": r".+\.[0-9a-f]{8}",
    "aside": r".+\.[0-9a-f]{8}",
}
"""Folder of the store → names that belong there, as a regular expression."""
_HOLD_FOLDERS = ("objects", "work")
_HOLD_EITHER = ("trash", "aside")

Finding = dict[str, Any]


def verify(store: "Store", deep: bool = False) -> dict[str, Any]:
    """What is wrong with the store.

    {"objects": count, "damaged": [{digest, stage, key, problems}], "missing": [the same], "foreign": [{path, problem}]}

    Every byte of every output is hashed, every record is checked against its own checksum, and every name against the
    layout of the store. What was deleted on purpose has a tombstone and is not missing. An output that no record names
    (a process was killed between the two) is checked against its own name.

    deep: also what no output depends on: metrics files against the digest in their record, and tombstones.
    """
    records: list[tuple[Record, bool]] = []  # with whether a later run with the same key replaced it
    damaged: list[Finding] = []
    missing: list[Finding] = []
    for path in _record_files(store.root):
        try:
            records.append((_read(path), path.parent.name != "records"))
        except ValueError as error:
            reason = str(error).splitlines()[0]
            problem = f"its record {path.relative_to(store.root)} cannot be trusted: {reason}"
            damaged.append({"digest": None, "stage": None, "key": path.name.split(".")[0], "problems": [problem]})
    present = {path.name for path in _entries(store.root / "objects") if re.fullmatch(_DIGEST, path.name)}
    checked: set[str] = set()
    for record, superseded in records:
        digest = record.output.digest
        if digest in checked:
            continue
        checked.add(digest)
        if digest not in present:
            if superseded or _buried(store.root, digest):
                continue  # nobody is going to make it again
            missing.append(_finding(record, store.problems(record.output)))
        elif problems := store.problems(record.output, deep=True):
            damaged.append(_finding(record, problems))
    for digest in sorted(present - checked):
        if not _answers_to_its_name(store.object_path(digest)):
            problems = ["content differs from its digest"]
            damaged.append({"digest": digest, "stage": None, "key": None, "problems": problems})
    if deep:
        damaged += _metrics(store, [record for record, superseded in records if not superseded])
        damaged += _tombstones(store.root)
    return {"objects": len(present), "damaged": damaged, "missing": missing, "foreign": list(_foreign(store.root))}


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _record_files(root: Path) -> Iterator[Path]:
    """The files of records, the current ones first, so that an output is told of by those."""
    for folder in ("records", "records/superseded"):
        for path in _entries(root / folder):
            if path.is_file() and path.suffix == ".json" and re.fullmatch(LAYOUT[folder], path.name):
                yield path


def _read(path: Path) -> Record:
    record = unsealed(path.read_bytes())
    if record.key != path.name.split(".")[0]:
        raise ValueError(f"it is the record of {record.key}")
    return record


def _finding(record: Record, problems: list[str]) -> Finding:
    return {"digest": record.output.digest, "stage": record.stage, "key": record.key, "problems": problems}


def _buried(root: Path, digest: str) -> bool:
    """Whether a tombstone says that the output was deleted on purpose."""
    path = root / "tombstones" / f"{digest}.json"
    try:
        return Tombstone.model_validate_json(path.read_bytes()).digest == digest
    except (OSError, ValueError):
        return False


def _answers_to_its_name(folder: Path) -> bool:
    try:
        return tree_digest(hash_tree(folder)) == folder.name
    except (StageError, OSError):  # a link or a special file, which no output has
        return False


def _metrics(store: "Store", records: list[Record]) -> list[Finding]:
    """Metrics files that are not as they were when their record was written, and not being written again."""
    found = []
    for record in records:
        path = store.metrics_path(record.key)
        if record.metrics_digest is None or not path.is_file() or store.work_path(record.key).exists():
            continue
        if hash_file(path) != record.metrics_digest:
            found.append(_finding(record, [f"{path.relative_to(store.root)}: content differs from its digest"]))
    return found


def _tombstones(root: Path) -> list[Finding]:
    damaged = []
    for path in _entries(root / "tombstones"):
        if path.suffix == ".json" and not path.name.startswith(".") and not _buried(root, path.stem):
            problem = f"{path.relative_to(root)} cannot be read"
            damaged.append({"digest": path.stem, "stage": None, "key": None, "problems": [problem]})
    return damaged


def _foreign(root: Path) -> Iterator[Finding]:
    """Files and folders that nothing in Pedigree writes there. Files inside an output are compared with its record."""
    for folder, names in LAYOUT.items():
        for path in _entries(root / folder):
            where = path.relative_to(root).as_posix()
            wants_folder = folder in _HOLD_FOLDERS or where == "records/superseded"
            if not re.fullmatch(names, path.name):
                yield {"path": where, "problem": "no record and no part of Pedigree explains it"}
            elif path.is_symlink():
                yield {"path": where, "problem": "is a link"}
            elif folder not in _HOLD_EITHER and wants_folder != path.is_dir():
                yield {"path": where, "problem": "should be a folder" if wants_folder else "should be a file"}
