"""Writing token shards: `<split>-00000.bin` and so on, and an index that says where each document lies in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lineage.writeback import begin_writing

TRAIN, VALIDATION = "train", "validation"
SHARD_TOKENS = 1 << 25  # of several shards the digests are made side by side

INDEX = pa.schema(
    [
        ("doc_id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("length", pa.int32()),
        ("bytes", pa.int32()),
    ]
)


def index_writer(directory: Path) -> pq.ParquetWriter:
    """Writes the index of shards: `index.parquet`."""
    return pq.ParquetWriter(directory / "index.parquet", INDEX, compression="zstd", use_dictionary=["split", "shard"])


def token_dtype(vocab_size: int) -> np.dtype:
    """How tokens are stored: two bytes each where they fit."""
    return np.dtype("<u2" if vocab_size <= 65535 else "<u4")


class ShardWriter:
    """Token shards of one split, `<split>-00000.bin` and so on, and where each document went."""

    def __init__(self, directory: Path, split: str, dtype: np.dtype, shard_tokens: int = SHARD_TOKENS) -> None:
        self._directory, self._split, self._dtype, self._limit = directory, split, dtype, shard_tokens
        self._shard = 0
        self._open()
        self._offset = 0
        self.tokens = self.bytes = self.documents = 0

    def _open(self) -> None:
        self._path = self._directory / f"{self._split}-{self._shard:05d}.bin"
        self._file = self._path.open("wb")

    def write(self, doc_ids: pa.Array, tokens: np.ndarray, lengths: np.ndarray, sizes: np.ndarray) -> pa.Table:
        """Append documents: tokens (T,) end to end, lengths (N,) in tokens, sizes (N,) in bytes. Gives index rows."""
        if self._offset >= self._limit:
            self._file.close()
            self._shard, self._offset = self._shard + 1, 0
            self._open()
        tokens.astype(self._dtype, copy=False).tofile(self._file)
        begin_writing(self._path)
        rows = pa.table(
            [
                doc_ids,
                pa.repeat(self._split, len(lengths)),
                pa.array(np.full(len(lengths), self._shard, np.int32)),
                pa.array(self._offset + np.cumsum(lengths) - lengths),
                pa.array(lengths.astype(np.int32)),
                pa.array(sizes.astype(np.int32)),
            ],
            schema=INDEX,
        )
        self._offset += len(tokens)
        self.tokens += len(tokens)
        self.bytes += int(sizes.sum())
        self.documents += len(lengths)
        return rows

    def close(self) -> None:
        """Finish the last shard."""
        self._file.close()
