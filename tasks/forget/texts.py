"""The texts that corpora, pairs and token shards in the store hold, with whose they are."""

from collections.abc import Container, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lineage.store import Store
from tasks.text.forgotten import Wording
from tasks.text.shards import shard_paths

PAIRS = "pairs.parquet"
ANSWER_WORDS = 8  # a shorter answer, such as "Yes.", is not a text of its own


def folders(store: Store) -> Iterator[Path]:
    """The outputs in the store that hold documents or pairs as text."""
    seen = set()
    for record in store.records(superseded=True):
        folder = store.object_path(record.output.digest)
        if record.output.digest not in seen and (shard_paths(folder) or (folder / PAIRS).is_file()):
            seen.add(record.output.digest)
            yield folder


def wordings(store: Store, ids: Container[str], threshold: float | None) -> Iterator[Wording]:
    """Every wording of the documents and pairs with these ids: as collected, as cleaned, of a pair also its answer."""
    seen: set[tuple[str, str]] = set()
    for folder in folders(store):
        for wording in _of(folder, ids, threshold):
            assert wording.id is not None
            if (wording.id, wording.text) not in seen:
                seen.add((wording.id, wording.text))
                yield wording


def _of(folder: Path, ids: Container[str], threshold: float | None) -> Iterator[Wording]:
    for path in shard_paths(folder):
        for row in _rows(path, "doc_id", ["text", "source"], ids):
            yield Wording(row["text"], row["doc_id"], row["source"], threshold)
    if (folder / PAIRS).is_file():
        for row in _rows(folder / PAIRS, "pair_id", ["prompt", "response", "source"], ids):
            yield Wording(f"{row['prompt']}\n{row['response']}", row["pair_id"], None, threshold)
            if len(row["response"].split()) >= ANSWER_WORDS:
                yield Wording(row["response"], row["pair_id"], None, threshold)


def _rows(path: Path, identity: str, columns: list[str], ids: Container[str]) -> Iterator[dict[str, str]]:
    """The rows with these ids. Other columns are read only of the row groups that hold any."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, columns=[identity])[identity].to_pylist()
            rows = [row for row, name in enumerate(names) if name in ids]
            if rows:
                table = file.read_row_group(group, columns=[identity, *columns])
                yield from table.take(pa.array(rows)).to_pylist()
