"""Small corpora for tests, placed in the store as an earlier stage would have."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lineage.artifact import Artifact
from tasks.lineage.home import home
from tasks.text import shards
from tasks.text.shards import SCHEMA, CorpusWriter


def document(text: str, source: str = "", **columns: str | None) -> dict[str, str | None]:
    source = source or f"file:///{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    doc_id = hashlib.sha256(f"{source}\0{text}".encode()).hexdigest()[:32]
    row: dict[str, str | None] = dict.fromkeys(SCHEMA.names)
    return {
        **row,
        "doc_id": doc_id,
        "text": text,
        "source": source,
        "origin": "test",
        "kind": "text",
        "collector": "test",
        "split": "train",
        **columns,
    }


def corpus(rows: list[dict[str, str | None]]) -> Artifact:
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()
    folder = home() / "objects" / digest
    if not folder.exists():
        folder.mkdir(parents=True)
        with CorpusWriter(folder) as writer:
            for table in shards.slices_by_bytes(pa.Table.from_pylist(rows, schema=SCHEMA), shards.BATCH_BYTES):
                writer.write(table)
    return Artifact(kind="corpus", digest=digest, key=digest)


def read(artifact: Artifact, pattern: str = "documents-*.parquet") -> list[dict]:
    paths = sorted(Path(artifact.path).glob(pattern))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def ledger(artifact: Artifact) -> dict[str, dict]:
    return {row["doc_id"]: row for row in read(artifact, "ledger.parquet")}
