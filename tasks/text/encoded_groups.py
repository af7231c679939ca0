"""Documents of a corpus in tokens, row group by row group, in any process."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.tokenizer import Tokenizer
from tasks.lineage.errors import StageError
from tasks.text.encoder import BatchEncoder, PlainEncoder, encoder_of, with_ends
from tasks.text.fertility import BY, Fertility, Pieces
from tasks.text.shards import RowGroup
from tasks.text.spans import TextBatch
from tasks.text.token_shards import token_dtype

CHECKED_BYTES = 1024  # per batch, of text that is encoded by `tokenizers` too and compared; a document at least


@dataclass(frozen=True)
class Encoded:
    """Tokens (T,) of the documents of each split end to end, as they are stored; how many each document has, and its
    bytes, both (N,) and of all documents; what Fertility adds up, None where no document is in a split."""

    tokens: list[np.ndarray]
    lengths: np.ndarray
    sizes: np.ndarray
    tally: dict[str, Any] | None


class Encoding(NamedTuple):
    """A tokenizer and what goes through texts with it."""

    tokenizer: Tokenizer
    encoder: BatchEncoder | PlainEncoder
    pieces: Pieces
    compiled: bool


_kept = threading.local()  # an encoder writes down the words that it meets, so each thread has its own


def encoding_of(folder: Path, compiled: bool) -> Encoding:
    """That of this thread. folder: where tokenizer.json lies. compiled: by machine code (kernels.py)."""
    if getattr(_kept, "of", None) != (folder, compiled):
        tokenizer = Tokenizer.load(folder)
        _kept.encoding = Encoding(tokenizer, encoder_of(tokenizer.backend, compiled), Pieces.of(tokenizer), compiled)
        _kept.of = (folder, compiled)
    encoding: Encoding = _kept.encoding
    return encoding


@dataclass(frozen=True)
class Chosen:
    """Documents that lie together, and which of them each split gets, each (N,) bool."""

    group: RowGroup
    splits: tuple[np.ndarray, ...]


def encode_group(chosen: Chosen, folder: Path, compiled: bool) -> Encoded:
    """The documents in tokens; those of no split have none. folder: of the tokenizer."""
    table = chosen.group.read(["text", *BY.values()], as_numbers=BY.values())
    sizes = pc.fill_null(pc.binary_length(table["text"]), 0).to_numpy()
    among = np.logical_or.reduce(chosen.splits)
    lengths = np.zeros(len(sizes), np.int64)
    if not among.any():
        return Encoded([np.zeros(0, np.uint16) for _ in chosen.splits], lengths, sizes, None)
    if not among.all():
        table = table.filter(pa.array(among))
    tokens, lengths[among], tally = encode(
        table, [split[among] for split in chosen.splits], encoding_of(folder, compiled)
    )
    return Encoded(tokens, lengths, sizes, tally)


def encode(
    table: pa.Table, splits: list[np.ndarray], encoding: Encoding
) -> tuple[list[np.ndarray], np.ndarray, dict[str, Any]]:
    """Tokens of each split, how many each document has, (N,), and what Fertility adds up; of the first documents it is
    checked that `tokenizers` gives the same. Raises StageError."""
    batch, tokenizer = TextBatch(table["text"]), encoding.tokenizer
    ids, lengths = encoding.encoder.encode(batch)
    checked = max(1, int(np.searchsorted(batch.offsets[1:], CHECKED_BYTES, side="right")))
    check_identity(tokenizer, table["text"].slice(0, checked).to_pylist(), ids, lengths[:checked])
    fertility = Fertility(encoding.pieces, encoding.compiled)
    fertility.add(table, batch, ids, lengths, splits[0])
    dtype = token_dtype(tokenizer.vocab_size)
    tokens = [with_ends(ids, lengths, split, tokenizer.endoftext_id, dtype, encoding.compiled) for split in splits]
    return tokens, lengths + 1, fertility.tally()


def check_identity(tokenizer: Tokenizer, texts: list[str], ids: np.ndarray, lengths: np.ndarray) -> None:
    """Raise StageError if the batch encoder's ids of the first texts differ from those of `tokenizers`."""
    begin = 0
    for text, length in zip(texts, lengths.tolist(), strict=True):
        if ids[begin : begin + length].tolist() != tokenizer.encode(text):
            raise StageError(
                f"the batch encoder and tokenizers disagree on {text[:80]!r}: this is a fault in "
                "tasks/text/encoder.py; report it with the text"
            )
        begin += length
