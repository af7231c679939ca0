"""From text to what `train` reads: which documents are held out, the tokenizer, and the tokens on disk.

Held-out documents are drawn by a hash of their text, so that copies of a document lie on one side. A document that
would be too large a share of the text, such as a book without a blank line, is cut into passages first.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.command.errors import TextError
from model.command.progress import Progress
from model.command.recipe import Recipe
from model.command.text import Limit, TextFiles, batches
from model.command.work_files import WorkFiles
from model.data import TokenShards
from model.tokenizer import Tokenizer, train_tokenizer

TOKENIZER_BYTES = 4_000_000  # of training text that the vocabulary is learnt from: more compresses hardly better
MOST_HELD_OUT = 0.1  # of the text, rounded up to whole documents
LARGEST = 0.05  # share of the text that one document may be, and so what rounding up can add
FEW = 1_000  # bytes of held-out text
PASSAGES = 25  # a text of one document becomes about so many passages at least
SHORTEST, LONGEST = 64, 8_000  # bytes of such a passage


@dataclass(frozen=True)
class Split:
    """Of each document of `text`, in order: whether it is held out, and whether the vocabulary is learnt from it (N,).
    And the digest and counts of the text."""

    text: TextFiles
    held_out: NDArray[np.bool_]
    vocabulary: NDArray[np.bool_]
    identity: dict[str, Any]


def split(text: TextFiles, recipe: Recipe, progress: Progress) -> Split:
    """Reads the text once, or twice where documents have to be cut. Raises TextError where it has not two different
    documents even so."""
    point, size, digest = _read(text, recipe.seed)
    total = int(size.sum())
    largest = max(SHORTEST, int(LARGEST * total))
    if not text.whole_files and (size > largest).any():
        limit = Limit(largest, min(LONGEST, max(SHORTEST, total // PASSAGES)))
        text = dataclasses.replace(text, limit=limit, invalid=Counter())
        point, size, digest = _read(text, recipe.seed)
    held_out = _held_out(point, size, largest, min(recipe.held_out_bytes, MOST_HELD_OUT * total))
    if held_out is None:
        found = "no text" if not len(point) else "one document only, or copies of one"
        raise TextError(
            f"{', '.join(map(str, text.paths[:3]))}: there is {found} ({text.how()}), but one document is needed to "
            f"learn from and one to be held out. Add text, or cut it otherwise (--document-separator)."
        )
    for remark in text.remarks():
        progress.say(remark)
    if size[held_out].sum() < FEW:
        progress.say(f"only {size[held_out].sum():,} bytes are held out: figures of so little text say nothing")
    order = np.argsort(point, kind="stable")
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
    return Split(text, held_out, vocabulary & ~held_out, {"sha256": digest, **counts})


def _read(text: TextFiles, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.int64], str]:
    """Of each document the number that it is drawn by, and its bytes, (N,) each; and the digest of all."""
    whole = hashlib.sha256()
    points, sizes = [], []
    salt = f"{seed} held out ".encode()
    for document in text.documents():
        content = document.encode()
        digest = hashlib.sha256(content).digest()
        whole.update(digest)
        points.append(int.from_bytes(hashlib.sha256(salt + digest).digest()[:8], "big"))
        sizes.append(len(content))
    return np.array(points, dtype=np.uint64), np.array(sizes, dtype=np.int64), whole.hexdigest()


def _held_out(
    point: NDArray[np.uint64], size: NDArray[np.int64], largest: int, wanted: float
) -> NDArray[np.bool_] | None:
    """Which documents are held out (N,): by rising point until `wanted` bytes are reached, copies of a document
    together and never more than `largest` of them. At least one, and one is left. None: there are not two to part."""
    points, members = np.unique(point, return_inverse=True)
    if len(points) < 2:
        return None
    sizes = np.bincount(members, weights=size)
    small = sizes <= largest
    if not small.any():  # a few documents that must not be cut, or hardly any text
        small[sizes.argmin()] = True
    before = np.cumsum(sizes * small) - sizes * small
    taken = small & (before < wanted)
    if taken.all():
        taken[-1] = False
    held_out: NDArray[np.bool_] = taken[members]
    return held_out


@dataclass(frozen=True)
class Corpus:
    """A tokenizer, the training tokens, and the held-out documents with their UTF-8 bytes (N,)."""

    tokenizer: Tokenizer
    train: TokenShards
    held_out: list[NDArray[np.int64]]
    num_bytes: NDArray[np.int64]


def prepare(parts: Split, recipe: Recipe, work: Path, progress: Progress) -> Corpus:
    """Learns the tokenizer and writes the tokens into `work`, where an earlier run has not done so or its files have
    been damaged since: what is made again is the same."""
    files = WorkFiles(work, progress)

    def learn(path: Path) -> None:
        progress.say("learning the tokenizer")
        train_tokenizer(_chosen(parts.text, parts.vocabulary), recipe.vocab_size).save(path)

    tokenizer = Tokenizer.load(files.made("tokenizer.json", learn))
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"

    def tokens(name: str, wanted: NDArray[np.bool_]) -> Path:
        documents, counted = _chosen(parts.text, wanted), Progress(progress.quiet)
        return files.made(
            name, lambda path: write_tokens(path, documents, int(wanted.sum()), tokenizer, dtype, counted)
        )

    train, held_out = tokens("train.bin", ~parts.held_out), tokens("held_out.bin", parts.held_out)
    documents = _documents(np.fromfile(held_out, np.dtype(dtype).newbyteorder("<")), tokenizer.endoftext_id)
    texts = tokenizer.decode_batch([document[:-1].tolist() for document in documents], skip_special_tokens=False)
    num_bytes = np.array([len(document.encode()) for document in texts], dtype=np.int64)
    return Corpus(tokenizer, TokenShards([train], dtype), documents, num_bytes)


def _chosen(text: TextFiles, wanted: NDArray[np.bool_]) -> Iterator[str]:
    return (document for document, take in zip(text.documents(), wanted, strict=True) if take)


def write_tokens(
    path: Path, documents: Iterator[str], total: int, tokenizer: Tokenizer, dtype: str, progress: Progress
) -> None:
    """Every document's tokens, each with <|endoftext|> after it, in one file."""
    done = 0
    with path.open("wb") as file:
        for batch in batches(documents):
            for document in encode(tokenizer, batch, tokenizer.endoftext_id):
                file.write(document.astype(np.dtype(dtype).newbyteorder("<")).tobytes())
            done += len(batch)
            progress.report(done, total, "encoding document")


def encode(tokenizer: Tokenizer, texts: list[str], end: int) -> list[NDArray[np.int64]]:
    """The tokens of each text, `end` last, as training and measuring take them."""
    return [np.array([*ids, end], dtype=np.int64) for ids in tokenizer.encode_batch(texts)]


def _documents(tokens: NDArray[np.unsignedinteger], end: int) -> list[NDArray[np.int64]]:
    ends = np.flatnonzero(tokens == end) + 1  # no text can hold the end token
    return np.split(tokens.astype(np.int64), ends[:-1])
