"""Reads a `tokens` artifact: shards, document index and tokenizer."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.data import Span, TokenShards, overlapping
from model.ngram import window_trigrams
from model.seeding import numpy_generator
from model.tokenizer import Tokenizer
from tasks.lineage.errors import DataError


class HeldOut(NamedTuple):
    """Validation documents: ids, tokens (each ends with <|endoftext|>), and UTF-8 bytes (N,)."""

    doc_ids: list[str]
    documents: list[NDArray[np.int64]]
    num_bytes: NDArray[np.int64]


class Tokens:
    """The content of a `tokens` artifact at `path`."""

    def __init__(self, path: Path) -> None:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        self.path = path
        self.vocab_size: int = meta["vocab_size"]
        self.dtype: str = meta["dtype"]
        self.tokenizer = Tokenizer.load(path / "tokenizer.json")
        self.document_end = self.tokenizer.endoftext_id

    def shards(self, split: str) -> TokenShards:
        """The shards of "train" or "validation"."""
        return TokenShards(sorted(self.path.glob(f"{split}-*.bin")), self.dtype)

    def documents_in(self, spans: list[Span]) -> list[str]:
        """The doc_ids of training documents that lie in any of the spans."""
        index = pq.read_table(self.path / "index.parquet", filters=[("split", "=", "train")])
        shard, offset, length = (index[name].to_numpy() for name in ("shard", "offset", "length"))
        return [index["doc_id"][int(row)].as_py() for row in overlapping(spans, shard, offset, length)]

    def held_out(self, max_tokens: int, seed: int) -> HeldOut:
        """Validation documents in an order drawn from `seed`, until there are `max_tokens` tokens (at least one
        document). Raises DataError where there is none."""
        index = pq.read_table(self.path / "index.parquet", filters=[("split", "=", "validation"), ("bytes", ">", 0)])
        if index.num_rows == 0:
            raise DataError(
                "the tokens hold no validation document, so nothing can be measured: add text, or raise "
                "tokenize.validation_share"
            )
        lengths = index["length"].to_numpy()
        order = numpy_generator(seed, "held out").permutation(index.num_rows)
        before = np.cumsum(lengths[order]) - lengths[order]
        chosen = index.take(order[before < max_tokens])
        shards = self.shards("validation")
        documents = [
            shards.read(Span(row["shard"], row["offset"], row["offset"] + row["length"]))
            for row in chosen.select(["shard", "offset", "length"]).to_pylist()
        ]
        return HeldOut(chosen["doc_id"].to_pylist(), documents, chosen["bytes"].to_numpy().astype(np.int64))

    def trigrams_in(self, spans: list[Span]) -> NDArray[np.int64]:
        """The trigrams (N, 3) that end at each token of the spans (of one length) but their first; context is read
        from the shard before a span."""
        shards = self.shards("train")
        rows = []
        for span in spans:
            row = shards.read(Span(span.shard, max(0, span.start - 1), span.stop))
            rows.append(row if span.start else np.concatenate([[self.document_end], row]))
        return window_trigrams(np.stack(rows), self.document_end)
