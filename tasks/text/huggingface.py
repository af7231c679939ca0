"""Data sets through `datasets`: from a folder written by save_to_disk, or from the hub at a fixed commit."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tasks.lineage.errors import ConfigError, DataError
from tasks.text.items import AGAIN, Item, path_of
from tasks.text.readers import Rejected, Row, checked_row
from tasks.text.remote import NotFetched
from tasks.text.sources import Source

_BATCH = 1_000


@dataclass(frozen=True)
class DatasetSplit:
    """One split of a data set. ``size`` is in bytes, 0 where the hub does not say."""

    uri: str
    size: int
    sha256: str
    origin: str
    license: str | None


def splits_of(source: Source, root: Path, digest_of: Callable[[Path], str]) -> list[DatasetSplit]:
    """The splits that a source names. ``digest_of`` gives a file's digest. Raises ConfigError if there are none."""
    folder = root / Path(source.path or "").expanduser()
    found = _saved_splits(folder, digest_of) if folder.is_dir() else _hub_splits(source)
    if source.split is not None:
        found = {name: split for name, split in found.items() if name == source.split}
    if not found:
        raise ConfigError(f"{source.described()} has no split {source.split!r}: leave 'split' empty for all")
    return [found[name] for name in sorted(found)]


def _saved_splits(folder: Path, digest_of: Callable[[Path], str]) -> dict[str, DatasetSplit]:
    if (folder / "dataset_dict.json").is_file():
        names = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        folders = {name: folder / name for name in names}
    elif (folder / "state.json").is_file():
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        folders = {(state.get("_split") or "train"): folder}
    else:
        raise ConfigError(
            f"{folder} was not written by datasets' save_to_disk (it has neither dataset_dict.json nor state.json): "
            "give that folder, or read plain files with kind 'files'"
        )
    return {
        name: DatasetSplit(
            path.resolve().as_uri(),
            sum(file.stat().st_size for file in _files(path)),
            folder_digest(path, digest_of),
            folder.resolve().as_uri(),
            None,
        )
        for name, path in folders.items()
    }


def _files(folder: Path) -> list[Path]:
    """The files that hold a saved split: its tables, and what describes them."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    tables = [folder / file["filename"] for file in state["_data_files"]]
    return [*tables, folder / "dataset_info.json", folder / "state.json"]


def folder_digest(folder: Path, digest_of: Callable[[Path], str]) -> str:
    """One digest over names and contents of a saved split's files."""
    content = [[path.name, digest_of(path)] for path in _files(folder)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _hub_splits(source: Source) -> dict[str, DatasetSplit]:
    import datasets
    from huggingface_hub import HfApi

    name = source.path or ""
    try:
        info = HfApi().dataset_info(name, revision=source.revision)
        builder = datasets.load_dataset_builder(name, source.subset, revision=info.sha)
        splits = builder.info.splits or dict.fromkeys(
            datasets.get_dataset_split_names(name, source.subset, revision=info.sha)
        )
    except Exception as error:  # the hub's client raises errors of several libraries, none with a common base
        raise ConfigError(
            f"the data set {name!r} is neither a folder here nor to be had from the hub: {error}. "
            "Check its name, subset and revision, the network, and HF_TOKEN if it is private."
        ) from error
    card = getattr(info, "card_data", None)
    named = card.get("license") if card is not None else None
    found = {}
    for split, details in splits.items():
        uri = f"hf://{quote(name)}@{info.sha}/{quote(builder.config.name, safe='')}/{quote(split, safe='')}"
        digest = hashlib.sha256(uri.encode()).hexdigest()  # the commit fixes the content
        licence = named if isinstance(named, str) else None
        found[split] = DatasetSplit(uri, (details and details.num_bytes) or 0, digest, f"hf://{quote(name)}", licence)
    return found


def read_dataset(item: Item, max_bytes: int) -> Iterator[Row | Rejected]:
    """Rows of a data set split; ``max_bytes`` bounds a text in one. Raises DataError if it has changed since the
    snapshot, NotFetched if the hub does not give it, and what `datasets` raises of a damaged one here."""
    rows = _rows_on_hub(item) if item.uri.startswith("hf://") else _saved_rows(item)
    for number, fields in enumerate(rows, 1):
        yield checked_row(number, fields, max_bytes)


def _rows_on_hub(item: Item) -> Iterator[dict[str, Any]]:
    import datasets

    name, _, rest = item.uri.removeprefix("hf://").partition("@")
    commit, subset, split = rest.split("/")
    try:
        dataset = datasets.load_dataset(
            unquote(name), unquote(subset), split=unquote(split), revision=commit, streaming=True
        )
        yield from _batched(dataset)
    except Exception as error:  # the hub's client raises errors of several libraries, none with a common base
        raise NotFetched(f"{item.uri} cannot be read from the hub: {type(error).__name__}: {error}") from error


def _saved_rows(item: Item) -> Iterator[dict[str, Any]]:
    import datasets

    folder = path_of(item)
    try:
        unchanged = folder_digest(folder, _digest) == item.sha256
    except OSError as error:
        raise DataError(f"{folder} can no longer be read: {error}. {AGAIN}") from error
    if not unchanged:
        raise DataError(f"{folder} has changed since the snapshot was taken. {AGAIN}")
    yield from _batched(datasets.load_from_disk(str(folder)))


def _batched(dataset: Any) -> Iterator[dict[str, Any]]:
    for batch in dataset.with_format("arrow").iter(batch_size=_BATCH):
        yield from batch.to_pylist()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
