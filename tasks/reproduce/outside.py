"""What changed in the outside world between two snapshots, or since one: the files that it names."""

from pathlib import Path

import pyarrow as pa

from tasks.lineage.errors import DataError
from tasks.text.items import Item, Snapshot, path_of

SNAPSHOT = "snapshot"  # kind of artifact
ITEMS = "items.parquet"


def changes(old: Path, new: Path) -> dict[str, list[str]] | None:
    """{"changed", "removed", "added"}: URIs of files, sorted, by two snapshots' folders. None if one cannot be read."""
    before, after = _items(old), _items(new)
    if before is None or after is None:
        return None
    return {
        "changed": sorted(uri for uri in before.keys() & after.keys() if before[uri] != after[uri]),
        "removed": sorted(before.keys() - after.keys()),
        "added": sorted(after.keys() - before.keys()),
    }


def gone(old: Path) -> dict[str, list[str]] | None:
    """As `changes`, where no new snapshot can be taken: the files of the old one that are not there any more."""
    before = _items(old)
    if before is None:
        return None
    return {"changed": [], "removed": sorted(uri for uri, item in before.items() if _is_gone(item)), "added": []}


def _items(folder: Path) -> dict[str, Item] | None:
    """URI → item."""
    if not (folder / ITEMS).is_file():
        return None
    try:
        return {item.uri: item for item in Snapshot.read(folder).items}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):  # of another version of this program
        return None


def _is_gone(item: Item) -> bool:
    if not item.uri.startswith(("pypi://", "file://")):
        return False
    try:
        return not path_of(item).exists()
    except DataError:
        return True
