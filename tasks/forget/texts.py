"""The texts that corpora, pairs and token shards in the store hold, with whose they are."""

import json
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lineage.fates import stored_outputs
from tasks.lineage.store import Store
from tasks.text.forgotten import Wording, quarantined_id
from tasks.text.shards import shard_paths

PAIRS = "pairs.parquet"
ANSWER_WORDS = 8  # a shorter answer, such as "Yes.", is not a text of its own


def folders(store: Store) -> Iterator[Path]:
    """The outputs in the store that hold documents or pairs as text."""
    for digest in stored_outputs(store):
        folder = store.object_path(digest)
        if shard_paths(folder) or (folder / PAIRS).is_file():
            yield folder


def wordings(store: Store, ids: Mapping[str, float | None]) -> Iterator[Wording]:
    """Every wording of the documents and pairs with these ids: as collected, as cleaned, of a pair also its answer.

    ids: each with the similarity from which another text counts as the same, None for the exact text only.
    """
    seen: set[tuple[str, str]] = set()
    for folder in folders(store):
        for name, text, source in _of(folder, ids):
            if (name, text) not in seen:
                seen.add((name, text))
                yield Wording(text, name, source, ids[name])


def _of(folder: Path, ids: Container[str]) -> Iterator[tuple[str, str, str | None]]:
    for path in shard_paths(folder):
        for row in _rows(path, "doc_id", ["text", "source"], ids):
            yield row["doc_id"], row["text"], row["source"]
    if (folder / PAIRS).is_file():
        for row in _rows(folder / PAIRS, "pair_id", ["prompt", "response"], ids):
            yield row["pair_id"], f"{row['prompt']}\n{row['response']}", None
            if len(row["response"].split()) >= ANSWER_WORDS:
                yield row["pair_id"], row["response"], None


def _rows(path: Path, identity: str, columns: list[str], ids: Container[str]) -> Iterator[dict[str, str]]:
    """The rows with these ids. Other columns are read only of the row groups that hold any."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, columns=[identity])[identity].to_pylist()
            rows = [row for row, name in enumerate(names) if name in ids]
            if rows:
                table = file.read_row_group(group, columns=[identity, *columns])
                yield from table.take(pa.array(rows)).to_pylist()


def shown(folder: Path) -> Iterator[str]:
    """Ids of the documents of which an output shows an excerpt, though it may have dropped them."""
    for name in ("samples.jsonl", "quarantine.jsonl"):
        if (folder / name).is_file():
            with (folder / name).open(encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    if "doc_id" in row:
                        yield row["doc_id"]
                    elif {"uri", "line", "excerpt"} <= row.keys():
                        yield quarantined_id(row)
