"""From text to what `train` reads: which documents are held out, the tokenizer, and the tokens on disk.

Held-out documents are drawn by a hash of their text, so that copies of a document lie on one side.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.command.errors import TextError
from model.command.progress import Progress
from model.command.recipe import Recipe
from model.command.text import TextFiles, batches
from model.data import TokenShards
from model.tokenizer import Tokenizer, train_tokenizer

TOKENIZER_BYTES = 4_000_000  # of training text that the vocabulary is learnt from: more compresses hardly better
MOST_HELD_OUT = 0.1


@dataclass(frozen=True)
class Split:
    """Of each document, in order: whether it is held out, and whether the vocabulary is learnt from it (N,). And the
    digest and counts of the text."""

    held_out: NDArray[np.bool_]
    vocabulary: NDArray[np.bool_]
    identity: dict[str, Any]


def split(text: TextFiles, recipe: Recipe, progress: Progress) -> Split:
    """Reads the text once. Raises TextError where it has not two different documents."""
    whole = hashlib.sha256()
    points, sizes = [], []
    seed = f"{recipe.seed} held out ".encode()
    for document in text.documents():
        content = document.encode()
        digest = hashlib.sha256(content).digest()
        whole.update(digest)
        points.append(int.from_bytes(hashlib.sha256(seed + digest).digest()[:8], "big"))
        sizes.append(len(content))
    point, size = np.array(points, dtype=np.uint64), np.array(sizes, dtype=np.int64)
    if len(np.unique(point)) < 2:
        found = "no text" if not len(point) else "one document only, or copies of one"
        raise TextError(
            f"{', '.join(map(str, text.paths[:3]))}: there is {found} ({text.how()}), but one document is needed to "
            f"learn from and one to be held out. Add text, or cut it otherwise (--document-separator)."
        )
    for path, invalid in text.invalid.items():
        if invalid:
            progress.say(f"{path}: {invalid:,} bytes are not UTF-8 and are read as U+FFFD")
    order = np.argsort(point, kind="stable")
    before = np.cumsum(size[order]) - size[order]  # bytes of the documents of lower point
    last = order[before < min(recipe.held_out_bytes, MOST_HELD_OUT * size.sum())][-1]
    held_out = point <= min(point[last], np.sort(np.unique(point))[-2])  # copies together, and one left to learn from
    learnt = size[order] * ~held_out[order]
    vocabulary = np.zeros(len(point), bool)
    vocabulary[order[np.cumsum(learnt) - learnt < TOKENIZER_BYTES]] = True
    counts = {
        "train_documents": int((~held_out).sum()),
        "train_bytes": int(size[~held_out].sum()),
        "held_out_documents": int(held_out.sum()),
        "held_out_bytes": int(size[held_out].sum()),
        "invalid_bytes": text.invalid.total(),
    }
    return Split(held_out, vocabulary & ~held_out, {"sha256": whole.hexdigest(), **counts})


@dataclass(frozen=True)
class Corpus:
    """A tokenizer, the training tokens, and the held-out documents with their UTF-8 bytes (N,)."""

    tokenizer: Tokenizer
    train: TokenShards
    held_out: list[NDArray[np.int64]]
    num_bytes: NDArray[np.int64]


def prepare(text: TextFiles, parts: Split, recipe: Recipe, work: Path, progress: Progress) -> Corpus:
    """Learns the tokenizer and writes the tokens into `work`, where an earlier run has not done so."""
    vocabulary, train, held_out = work / "tokenizer.json", work / "train.bin", work / "held_out.bin"
    if not vocabulary.exists():
        progress.say("learning the tokenizer")
        chosen = (document for document, wanted in zip(text.documents(), parts.vocabulary, strict=True) if wanted)
        temporary = work / ".writing-tokenizer.json"
        train_tokenizer(chosen, recipe.vocab_size).save(temporary)
        temporary.replace(vocabulary)
    tokenizer = Tokenizer.load(vocabulary)
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    for path, wanted in ((train, ~parts.held_out), (held_out, parts.held_out)):
        if not path.exists():
            write_tokens(path, _chosen(text, wanted), int(wanted.sum()), tokenizer, dtype, Progress(progress.quiet))
    documents = _documents(np.fromfile(held_out, np.dtype(dtype).newbyteorder("<")), tokenizer.endoftext_id)
    texts = tokenizer.decode_batch([document[:-1].tolist() for document in documents], skip_special_tokens=False)
    num_bytes = np.array([len(document.encode()) for document in texts], dtype=np.int64)
    return Corpus(tokenizer, TokenShards([train], dtype), documents, num_bytes)


def _chosen(text: TextFiles, wanted: NDArray[np.bool_]) -> Iterator[str]:
    return (document for document, take in zip(text.documents(), wanted, strict=True) if take)


def write_tokens(
    path: Path, documents: Iterator[str], total: int, tokenizer: Tokenizer, dtype: str, progress: Progress
) -> None:
    """Every document's tokens, each with <|endoftext|> after it, in one file that is there whole or not at all."""
    temporary, done = path.with_name(f".writing-{path.name}"), 0
    with temporary.open("wb") as file:
        for batch in batches(documents):
            for document in encode(tokenizer, batch):
                file.write(document.astype(np.dtype(dtype).newbyteorder("<")).tobytes())
            done += len(batch)
            progress.report(done, total, "encoding document")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[NDArray[np.int64]]:
    """The tokens of each text, <|endoftext|> last, as training and measuring take them."""
    end = tokenizer.endoftext_id
    return [np.array([*ids, end], dtype=np.int64) for ids in tokenizer.encode_batch(texts)]


def _documents(tokens: NDArray[np.unsignedinteger], end: int) -> list[NDArray[np.int64]]:
    ends = np.flatnonzero(tokens == end) + 1  # no text can hold the end token
    return np.split(tokens.astype(np.int64), ends[:-1])
