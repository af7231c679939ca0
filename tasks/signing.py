"""One pass over a corpus before copies are looked for: digests, shingles and MinHash signatures of its texts.

Row groups are worked on in any process; what they give is put together in the order of the corpus.
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_digest

from tasks.deduplicate_config import DeduplicateConfig
from tasks.lineage import canonical
from tasks.lineage.fingerprint import fingerprint
from tasks.lineage.home import home
from tasks.lineage.parallel import Behind, Mapper, in_this_process
from tasks.text import kernels
from tasks.text.clusters import ShingleStore
from tasks.text.minhash import permutations, short_dtype, shortened, signatures
from tasks.text.shards import slices_by_bytes
from tasks.text.shingles import Shingles, shingle_sets
from tasks.text.signature_memory import PLACE, Remembered, SignatureMemory
from tasks.text.spans import CHARACTERS, TextBatch
from tasks.text.text_numbers import TextNumbers

SIGNED_BYTES = 1 << 21  # of text worked on at once: its words and shingles take fifty times as much
LIBRARIES = ("numba", "numpy", "pyarrow", "scipy", "xxhash")


class Group(Protocol):
    """Documents that lie together, as `RowGroup`."""

    def read(self, columns: list[str]) -> pa.Table:
        """Some columns of them."""


@dataclass(frozen=True)
class Signed:
    """Of some texts their digests, (N, 2) uint64, shingles and signatures, (N, K) of `short_dtype`, and whether no
    earlier run had signed them, (N,) bool."""

    digests: np.ndarray
    shingles: Shingles
    signatures: np.ndarray
    new: np.ndarray


@dataclass(frozen=True)
class Survey:
    """What one pass over the corpus learns. Documents are numbered in corpus order, distinct texts as they appear.

    texts: (N,) for each document, the number of its text. digests: (T, 2) uint64 of the distinct texts. num_signed: of
    these, how many no earlier run had signed.
    """

    store: ShingleStore
    texts: np.ndarray
    digests: np.ndarray
    num_signed: int


def normalised_digests(lowered: TextBatch, compiled: bool = False) -> np.ndarray:
    """128-bit digests of texts already in lower case, blind to how their words are spaced, (N, 2) uint64."""
    if compiled:
        data, offsets = kernels.kept(kernels.evenly_spaced)(lowered.data, lowered.offsets, CHARACTERS.known(lowered))
    else:
        data, offsets = lowered.evenly_spaced()
    view, bounds = data.data, offsets.tolist()
    digests = [xxh3_128_digest(view[begin:end]) for begin, end in pairwise(bounds)]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def sign(lowered: TextBatch, config: DeduplicateConfig, compiled: bool = False) -> tuple[Shingles, np.ndarray]:
    """Shingles, each once, and signatures (N, K) of texts in lower case. What earlier runs signed is taken from
    them under the digest of the code that this function reaches, so all that shapes a signature belongs here.

    Of each value of a signature a part is kept; what that brings together is told apart when shingles are compared.
    """
    shingles = shingle_sets(lowered, config.shingle_words, compiled)
    factors, summands = permutations(config.num_permutations, config.seed)
    found = signatures(shingles.hashes, shingles.offsets, factors, summands, compiled)
    return shingles, shortened(found, short_dtype(config.rows))


def signature_memory(config: DeduplicateConfig) -> SignatureMemory:
    """What earlier runs signed by the same code, libraries and settings."""
    short = short_dtype(config.rows)
    depends = {
        "code": fingerprint(sign).digest,
        "versions": {name: version(name) for name in LIBRARIES},
        "unicode": unicodedata.unidata_version,
        "settings": [config.shingle_words, config.num_permutations, config.seed, short.name],
    }
    return SignatureMemory(home() / PLACE, canonical.digest(depends), config.num_permutations, short)


def sign_group(group: Group, config: DeduplicateConfig, remembered: Remembered, compiled: bool) -> list[Signed]:
    """Its documents, in parts. compiled: by machine code, which pays where there is much text (kernels.py)."""
    return [
        sign_texts(part["text"], config, remembered, compiled)
        for part in slices_by_bytes(group.read(["text"]), SIGNED_BYTES)
    ]


def sign_texts(column: pa.ChunkedArray, config: DeduplicateConfig, remembered: Remembered, compiled: bool) -> Signed:
    """Texts that no earlier run signed are signed, the others looked up."""
    batch = TextBatch(pc.utf8_lower(column))
    digests = normalised_digests(batch, compiled)
    known, their_shingles, their_signatures = remembered.recall(digests, compiled)
    new = np.ones(len(batch), bool)
    new[known] = False
    shingles, its_own = sign(batch if new.all() else batch.take(np.flatnonzero(new)), config, compiled)
    if len(known):
        order = np.argsort(np.concatenate((np.flatnonzero(new), known)))
        shingles = shingles.followed_by(their_shingles).take(order)
        its_own = np.concatenate((its_own, their_signatures))[order]
    return Signed(digests, shingles, its_own, new)


def survey(
    groups: Iterable[Group],
    place: Path,
    config: DeduplicateConfig,
    remembered: Remembered,
    on_documents: Callable[[int], None] = lambda documents: None,
    mapper: Mapper = in_this_process,
    compiled: bool = False,
    workers: int = 1,
) -> Survey:
    """Digests of all documents; shingles, signatures and bands of the distinct texts, in `place`.

    mapper: signs the groups. on_documents: is told how many have been. workers: with several, what was signed is
    written in a thread meanwhile.
    """
    shutil.rmtree(place, ignore_errors=True)
    store = ShingleStore(place, config.num_permutations, config.bands, config.rows, compiled)
    numbers = TextNumbers(compiled)
    texts: list[np.ndarray] = [np.zeros(0, np.int64)]
    num_documents = num_signed = 0
    work = partial(sign_group, config=config, remembered=remembered, compiled=compiled)
    with closing(Behind(workers)) as behind:
        for part in (part for parts in mapper(work, groups) for part in parts):
            found, fresh = numbers.number(part.digests)
            texts.append(found)
            num_signed += int(part.new[fresh].sum())
            num_documents += len(found)
            if len(fresh) == len(found):
                behind(store.add, part.shingles, part.signatures)
            else:
                chosen = np.zeros(len(found), bool)
                chosen[fresh] = True
                behind(store.add, part.shingles.where(chosen), part.signatures[chosen])
            on_documents(num_documents)
    store.seal()
    return Survey(store, np.concatenate(texts), numbers.digests(), num_signed)
