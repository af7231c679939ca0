"""Searching the data that a course was rebuilt on for text that should be gone: ledgers, texts, decoded token shards.

It looks at the bytes that training reads, not at what the stages say they did.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.forget.texts import PAIRS, shown
from tasks.lineage.artifact import Artifact
from tasks.lineage.store import Store
from tasks.text.forgotten import Forgotten
from tasks.text.shards import read_corpus, shard_paths
from tasks.tokens import Tokens

LEDGER, INDEX = "ledger.parquet", "index.parquet"
BATCH = 4096


@dataclass(frozen=True)
class Remains:
    """A document that is still there. where: "ledger", "text", "shard" or "sample"; similarity: to a forgotten text,
    None where the id says it."""

    doc_id: str
    stage: str
    digest: str
    where: str
    similarity: float | None


@dataclass(frozen=True)
class Searched:
    """What was looked at in one output."""

    stage: str
    kind: str
    digest: str
    ledger_rows: int
    texts: int
    decoded: int


def search(store: Store, outputs: Mapping[str, Artifact], forgotten: Forgotten) -> tuple[list[Searched], list[Remains]]:
    """Looks at every document of these outputs (stage → output). Memory: a batch of texts."""
    searched: list[Searched] = []
    remains: dict[Remains, None] = {}
    for stage, artifact in outputs.items():
        counts = dict.fromkeys(("ledger", "text", "shard", "sample"), 0)
        for where, ids, found in _looked_at(store.object_path(artifact.digest), forgotten):
            counts[where] += len(ids)
            for row in np.flatnonzero(found >= 0).tolist():
                likeness = None if found[row] == _BY_ID else round(float(found[row]), 4)
                remains[Remains(ids[row], stage, artifact.digest, where, likeness)] = None
        searched.append(
            Searched(stage, artifact.kind, artifact.digest, counts["ledger"], counts["text"], counts["shard"])
        )
    return searched, list(remains)


_BY_ID = 2.0  # in place of a similarity

_Look = tuple[str, list[str], np.ndarray]


def _looked_at(folder: Path, forgotten: Forgotten) -> Iterator[_Look]:
    """(where, ids, of each the similarity to what is forgotten, −1 for none or _BY_ID)."""
    if (folder / LEDGER).is_file():
        with pq.ParquetFile(folder / LEDGER) as file:
            for batch in file.iter_batches(1 << 16, columns=["doc_id", "reason"]):
                ids = batch["doc_id"].to_pylist()
                known = np.array([name in forgotten.ids for name in ids], bool)
                kept = pc.is_null(batch["reason"]).to_numpy(zero_copy_only=False)
                yield "ledger", ids, np.where(known & kept, _BY_ID, -1.0)
    if shard_paths(folder):
        for table in read_corpus(folder, ["doc_id", "text", "kind"]):
            ids = table["doc_id"].to_pylist()
            yield "text", ids, _compared(forgotten, ids, table["text"].combine_chunks(), table["kind"].to_pylist())
    if (folder / PAIRS).is_file():
        table = pq.read_table(folder / PAIRS, columns=["pair_id", "prompt", "response"])
        ids = table["pair_id"].to_pylist()
        both = pc.binary_join_element_wise(table["prompt"], table["response"], "\n")
        texts = (table["prompt"], table["response"], both)
        found = [_compared(forgotten, ids, column.combine_chunks()) for column in texts]
        yield "text", ids, np.maximum.reduce(found)
    if (folder / INDEX).is_file():
        for names, told in decoded(folder):
            yield "shard", names, _compared(forgotten, names, pa.array(told, pa.large_string()))
    excerpts = [name for name in shown(folder) if name in forgotten.ids]
    yield "sample", excerpts, np.full(len(excerpts), _BY_ID)


def _compared(forgotten: Forgotten, ids: list[str], texts: pa.Array, kinds: list[str | None] | None = None) -> Any:
    found = forgotten.likeness(texts, kinds or ())
    found[np.array([name in forgotten.ids for name in ids], bool)] = _BY_ID
    return found


def decoded(folder: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Documents' ids and their texts as the token shards hold them."""
    tokens = Tokens(folder)
    index = pq.read_table(folder / INDEX).to_pylist()
    for begin in range(0, len(index), BATCH):
        block = index[begin : begin + BATCH]
        rows = []
        for row in block:
            shard = np.memmap(folder / f"{row['split']}-{row['shard']:05d}.bin", tokens.dtype, "r")
            rows.append(shard[row["offset"] : row["offset"] + row["length"]].tolist())
        yield [row["doc_id"] for row in block], tokens.tokenizer.decode_batch(rows)


def answer(searched: list[Searched], remains: list[Remains]) -> dict[str, Any]:
    """As the certificate says it."""
    return {
        "clean": not remains,
        "searched": [asdict(entry) for entry in searched],
        "found": [asdict(entry) for entry in remains],
    }
