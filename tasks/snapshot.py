"""Look at the outside world: which files and data sets the sources name, and what is in them now.

Always runs, and is cheap to repeat. Its output changes exactly when something it looks at has changed, so everything
after it can be found in the store.
"""

import glob
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import unquote_to_bytes, urlsplit

from pydantic import Field

from tasks.lineage.errors import ConfigError
from tasks.lineage.parallel import count_workers
from tasks.stage import Resources, StageConfig, StageRun, stage
from tasks.text import packages
from tasks.text.digests import DigestMemory, memory_place
from tasks.text.folder_licences import on_this_machine
from tasks.text.folders import files_of, reason_of
from tasks.text.formats import FORMATS, TABLES, format_of
from tasks.text.huggingface import splits_of
from tasks.text.items import Item, Snapshot
from tasks.text.remote import is_remote, remote_files
from tasks.text.sources import Source
from tasks.text.splits import family, side, sides


class SnapshotConfig(StageConfig):
    """Where text and prompt–response pairs come from."""

    sources: tuple[Source, ...] = Field(
        (Source(),),
        title="Sources",
        min_length=1,
        max_length=1000,
        description="Default: the documentation of the Python packages installed beside this program.",
    )
    evaluation_share: float = Field(
        0.1,
        ge=0,
        le=0.9,
        title="Evaluation share",
        description="Share of origins (packages, files, data sets) kept for evaluation: nothing of them is trained on. "
        "A source whose origins all fall on one side is split by document instead.",
    )
    seed: int = Field(
        427, ge=0, le=2**31 - 1, title="Seed",
        description="Decides which origins are kept for evaluation. With the default, they are a tenth of the text of "
        "this program's own environment, of packages of many kinds.",
    )  # fmt: skip


@dataclass
class Seen:
    """What is not among the items. unreadable: (URI, reason). left: URIs of files that are of no format that is read
    (of a source of pairs, that holds none). hidden: files and folders whose names begin with a dot."""

    unreadable: list[tuple[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    hidden: int = 0

    def entries(self) -> Iterator[dict[str, str | None]]:
        """The lines of quarantine.jsonl."""
        left = sorted(self.left)
        told = [*self.unreadable, *((uri, _NO_FORMAT) for uri in left[:_MOST_NAMED])]
        if len(left) > _MOST_NAMED:
            told.append((left[_MOST_NAMED], f"{_NO_FORMAT}, as {len(left) - _MOST_NAMED - 1:,} more files"))
        for uri, reason in told:
            yield {"uri": uri, "line": None, "reason": reason, "excerpt": ""}


_NO_FORMAT = "unknown format: its name says none that is read here"
_MOST_NAMED = 1000


@stage(output="snapshot", retries=2, always=True)
def snapshot(run: StageRun, config: SnapshotConfig, resources: Resources) -> None:
    """Write items.parquet (files and splits, with size, digest, origin, licence), sources.json, quarantine.jsonl.

    Raises ConfigError if a source names nothing that can be read.
    """
    root = (resources.root or Path()).absolute()
    items: list[Item] = []
    seen = Seen()
    workers = count_workers(resources.workers)
    with DigestMemory(memory_place()) as memory:
        for index, source in enumerate(config.sources):
            run.progress(index, len(config.sources))
            found = _look(index, source, root, config, memory, seen, workers)
            if not any(item.kind != "license" for item in found):
                raise ConfigError(_nothing(source, seen))
            items += _with_splits(found, source, config)
    run.progress(len(config.sources), len(config.sources))
    Snapshot(config.seed, config.evaluation_share, config.sources, tuple(items)).write(run.output)
    with (run.output / "quarantine.jsonl").open("w", encoding="utf-8") as file:
        for uri, reason in seen.unreadable:
            run.logger.warning("%s cannot be read and is left out: %s", uri, reason)
        for entry in seen.entries():
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    _report(run, items, seen, memory.hashed)


def _report(run: StageRun, items: list[Item], seen: Seen, num_hashed: int) -> None:
    sizes: Counter[str] = Counter()
    for item in items:
        sizes[item.origin] += item.size
    run.log_metrics({
        "items": len(items), "origins": len(sizes), "bytes": sum(sizes.values()),
        "quarantined": len(seen.unreadable), "files_left_out": len(seen.left), "hidden_left_out": seen.hidden,
    })  # fmt: skip
    run.logger.info(
        "%d files of %d origins, %.1f MB; %d of them read anew, %d unreadable; %d others are of no "
        "format that is read, %d hidden",
        len(items), len(sizes), sum(sizes.values()) / 1e6, num_hashed, len(seen.unreadable), len(seen.left),
        seen.hidden,
    )  # fmt: skip


def _nothing(source: Source, seen: Seen) -> str:
    if seen.unreadable:
        uri, reason = seen.unreadable[0]
        return f"nothing that {source.described()!r} names can be read; first: {uri}: {reason}"
    if source.kind == "packages":
        return "no installed package is chosen: widen the source's include, exclude or max_bytes"
    return f"{source.described()!r} names no file to read: check the path, and that the files end in {_endings()}"


def _endings() -> str:
    return f"{', '.join(FORMATS)} (also with .gz or .zst), or be of source code"


def _look(
    index: int, source: Source, root: Path, config: SnapshotConfig, memory: DigestMemory, seen: Seen, workers: int
) -> list[Item]:
    """What one source names, at its present content. Unreadable files are added to ``seen``."""
    if source.kind == "packages":
        return _package_items(index, source, config.seed, memory, seen, workers)
    if source.kind == "files":
        return _file_items(index, source, root, memory, seen, workers)
    return [
        Item(found.uri, found.size, found.sha256, found.origin, source.license or found.license, "dataset", index, None)
        for found in splits_of(source, root, lambda path: memory.digest(path)[1])
    ]


def _package_items(index: int, source: Source, seed: int, memory: DigestMemory, seen: Seen, workers: int) -> list[Item]:
    chosen = packages.installed(source.include, source.exclude)
    found: dict[str, list[Item]] = {package.name: [] for package in chosen}
    files = [(package, file) for package in chosen for file in package.files]
    digests = memory.digests([f"{package.root}/{file.path}" for package, file in files], workers)
    for (package, file), digest in zip(files, digests, strict=True):
        uri = package.uri(file.path)
        if isinstance(digest, OSError):
            seen.unreadable.append((uri, reason_of(digest)))
        else:
            licence = source.license or package.license
            found[package.name].append(Item(uri, *digest, package.name, licence, file.kind, index, None))
    sizes = [(name, sum(item.size for item in held)) for name, held in found.items()]
    taken = packages.within(sizes, source.max_bytes, seed)
    return [item for name in sorted(taken) for item in found[name]]


def _file_items(index: int, source: Source, root: Path, memory: DigestMemory, seen: Seen, workers: int) -> list[Item]:
    if is_remote(source.path or ""):
        return _remote_items(index, source, seen)
    named = root / _local(source.path or "")
    found = files_of(named, seen.unreadable)
    if found is None:
        raise ConfigError(f"{named} does not exist: check 'path' of the source; relative paths start from {root}")
    seen.left += [path.as_uri() for path in found.left]
    seen.hidden += found.hidden
    folders = on_this_machine(_top(named))
    items = []
    taken = [(path, uri) for path in found.files if _is_taken(path, uri := path.as_uri(), source, seen)]
    digests = memory.digests([path for path, _ in taken], workers)
    for (path, uri), digest in zip(taken, digests, strict=True):
        if isinstance(digest, OSError):
            seen.unreadable.append((uri, reason_of(digest)))
        else:
            licence = source.license or folders.of(path.resolve())
            items.append(Item(uri, *digest, uri, licence, _format(path), index, None))
    if named.is_file() and not found.files and not seen.unreadable:
        raise ConfigError(f"the name of {named} does not say how to read it: it should end in {_endings()}")
    return items


def _remote_items(index: int, source: Source, seen: Seen) -> list[Item]:
    files, left, hidden = remote_files(source.path or "")
    seen.left += left
    seen.hidden += hidden
    items = []
    for file in files:
        path = PurePosixPath(file.name)
        if _is_taken(path, file.uri, source, seen):
            licence = source.license or file.license
            items.append(Item(file.uri, file.size, file.digest, file.uri, licence, _format(path), index, None))
    return items


def _is_taken(path: PurePath, uri: str, source: Source, seen: Seen) -> bool:
    """Of a source of pairs only tables hold any."""
    taken = source.role != "pairs" or _format(path) in (*TABLES, "text")
    if not taken:
        seen.left.append(uri)
    return taken


def _format(path: PurePath) -> str:
    found = format_of(path)
    assert found is not None
    return found


def _local(path: str) -> Path:
    """A path on this machine, also given as file:///…"""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(path).path)) if path.startswith("file://") else path).expanduser()


def _top(named: Path) -> Path:
    """The folder that a source names: of a glob, the part before its first wildcard."""
    if named.is_dir():
        return named
    fixed = list(takewhile(lambda part: not glob.has_magic(part), named.parts))
    return Path(*fixed) if len(fixed) < len(named.parts) else named.parent


def _with_splits(items: list[Item], source: Source, config: SnapshotConfig) -> list[Item]:
    """Items with their side of the evaluation split, where it can be told before reading them.

    By origin (packages of one family together). If all fall on one side: packages by file; other items keep None, and
    are split by document when they are read. So are rows that carry an origin of their own.
    """
    if source.origin_field:
        return items
    seed, share = config.seed, config.evaluation_share
    of_package = source.kind == "packages"
    names = {item.origin: family(item.origin) if of_package else item.origin for item in items}
    by_name = sides(seed, share, names.values())
    if by_name is not None:
        return [_on(item, by_name[names[item.origin]]) for item in items]
    return [_on(item, side(seed, share, item.uri)) for item in items] if of_package else items


def _on(item: Item, split: str) -> Item:
    return Item(item.uri, item.size, item.sha256, item.origin, item.license, item.kind, item.source, split)
