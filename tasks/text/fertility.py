"""How well a tokenizer suits a text: tokens a word, bytes a token, and which scripts it only knows byte by byte.

*Fertility* is the mean number of tokens that a word becomes (Rust et al. 2021, section 3.2). A character that no token
holds as a whole is written by its bytes, or not at all; the share of such characters by script shows what a vocabulary
was not learnt from.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from model.tokenizer import Tokenizer, byte_alphabet
from tasks.text.cutting import count_words
from tasks.text.joining import count_tokens
from tasks.text.kernels import kept
from tasks.text.spans import CHARACTERS, CharacterTable, TextBatch

BY = {"language": "language", "kind": "kind", "origin": "origin"}
"""How a group is called → the column of documents that tells it."""

UNKNOWN = "unknown"
MOST_GROUPS = 50  # of each sort in the table: those with the most text
MOST_SCRIPTS = 250
NO_LETTER = "no letter"
OF_NO_SCRIPT = {"no", "COMBINING", "MODIFIER", "VARIATION"}  # how names of marks begin that go with any script
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
_COUNTS = ("documents", "bytes", "words", "tokens", "part_tokens")


class Scripts:
    """Numbers for scripts, named as Unicode names their letters: LATIN, CYRILLIC, CJK, …; 0 is what is no letter."""

    def __init__(self) -> None:
        self.names = [NO_LETTER]
        self._numbers = {NO_LETTER: 0}
        self.table = CharacterTable(lambda characters: [self.number(character) for character in characters])

    def number(self, character: str) -> int:
        name = NO_LETTER
        if unicodedata.category(character)[0] in "LM":
            name = unicodedata.name(character, NO_LETTER).split(" ")[0].split("-")[0]
            name = NO_LETTER if name in OF_NO_SCRIPT else name
        return self.named(name)

    def named(self, name: str) -> int:
        if name not in self._numbers and len(self.names) == MOST_SCRIPTS:
            name = NO_LETTER
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number


@dataclass(frozen=True)
class Pieces:
    """partial: (V,) whether a token writes less than a character. wholes: tokens that write beyond ASCII, and what."""

    partial: np.ndarray
    wholes: list[tuple[int, bytes]]

    @staticmethod
    def of(tokenizer: Tokenizer) -> Pieces:
        written = pieces_of(tokenizer)
        wholes = [(number, piece) for number, piece in enumerate(written) if max(piece, default=0) > 0x7F]
        return Pieces(np.array([_is_partial(piece) for piece in written]), wholes)


def pieces_of(tokenizer: Tokenizer) -> list[bytes]:
    """What each token (V,) writes; a token of a byte that is not byte-level writes nothing by itself."""
    vocabulary = tokenizer.backend.get_vocab()
    pieces = [b""] * (1 + max(vocabulary.values()))
    byte_of = {character: byte for byte, character in enumerate(byte_alphabet())}
    byte_level = '"ByteLevel"' in tokenizer.to_json()
    for token, number in vocabulary.items():
        written = [byte_of.get(character, -1) for character in token]
        if byte_level and -1 not in written:
            pieces[number] = bytes(written)
        elif not _BYTE_TOKEN.fullmatch(token):
            pieces[number] = token.encode()
    return pieces


class Fertility:
    """Adds up what a tokenizer makes of texts. compiled: by machine code (kernels.py)."""

    def __init__(self, pieces: Pieces, compiled: bool = False) -> None:
        self._scripts, self._compiled = Scripts(), compiled
        self._pieces = pieces
        self._used = np.zeros(len(pieces.partial), np.int64)
        self._characters = np.zeros(256, np.int64)  # beyond ASCII, by script
        self._groups: dict[tuple[str, str], np.ndarray] = {}
        self._all = np.zeros(len(_COUNTS), np.int64)

    def add(
        self, table: pa.Table, batch: TextBatch, ids: np.ndarray, lengths: np.ndarray, first: np.ndarray | None = None
    ) -> None:
        """Documents of `table` (N,) with their texts, their ids end to end (T,), and how many each has (N,). first:
        those whose scripts are met before those of the others, (N,) bool; scripts as frequent stand in that order."""
        if self._compiled:
            words = kept(count_words)(batch.data, batch.offsets, CHARACTERS.known(batch))
            partial = kept(count_tokens)(ids, lengths, self._pieces.partial, self._used)
        else:
            words = np.bincount(batch.words().documents, minlength=len(batch))
            before = np.concatenate(([0], np.cumsum(self._pieces.partial[ids])))
            partial = np.diff(before[np.concatenate(([0], np.cumsum(lengths)))])
            self._used += np.bincount(ids, minlength=len(self._used))
        counts = np.stack([np.ones(len(batch)), np.diff(batch.offsets), words, lengths, partial])  # as bincount adds
        self._all += counts.sum(axis=1).astype(np.int64)
        for by, column in BY.items():
            encoded = table[column].combine_chunks().dictionary_encode()
            names = [*encoded.dictionary.to_pylist(), UNKNOWN]
            rows = encoded.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False).astype(np.intp)
            sums = np.stack([np.bincount(rows, column, len(names)) for column in counts], axis=1).astype(np.int64)
            for place in np.flatnonzero(sums[:, 0]).tolist():
                held = self._groups.setdefault((by, names[place]), np.zeros(len(_COUNTS), np.int64))
                held += sums[place]
        if not batch.is_ascii:
            if first is not None:
                self._scripts.table.learn(batch.wide_characters[1][_within(batch, first)])
            found = self._scripts.table.known(batch)[batch.wide_characters[1]]
            self._characters += np.bincount(found, minlength=256)

    def tally(self) -> dict[str, Any]:
        """What was added up, to be merged elsewhere."""
        return {"scripts": self._scripts.names, "used": self._used, "characters": self._characters,
                "groups": self._groups, "all": self._all}  # fmt: skip

    def merge(self, tally: dict[str, Any]) -> None:
        """Add what another one of the same tokenizer added up."""
        self._used += tally["used"]
        self._all += tally["all"]
        for number, name in enumerate(tally["scripts"]):
            self._characters[self._scripts.named(name)] += tally["characters"][number]
        for group, counts in tally["groups"].items():
            self._groups[group] = self._groups.get(group, 0) + counts

    def rows(self) -> list[dict[str, Any]]:
        """The table: all text, then languages, kinds and origins, then scripts; those with the most text first."""
        groups = sorted(self._groups.items(), key=lambda group: (list(BY).index(group[0][0]), -group[1][1], group[0]))
        taken: Counter[str] = Counter()
        rows = [_row("all", "all", self._all)]
        for (by, name), counts in groups:
            taken[by] += 1
            if taken[by] <= MOST_GROUPS:
                rows.append(_row(by, name, counts))
        return rows + list(self._script_rows())

    def _script_rows(self) -> Iterator[dict[str, Any]]:
        whole: Counter[int] = Counter()
        for number, piece in self._pieces.wholes:
            times = int(self._used[number])
            if times:
                for character in piece.decode("utf-8", "ignore"):
                    if ord(character) > 0x7F:
                        whole[self._scripts.number(character)] += times
        for script in np.argsort(-self._characters, kind="stable")[:MOST_GROUPS].tolist():
            count = int(self._characters[script])
            if count:
                share = min(1.0, whole[script] / count)  # a normalizer may have made more of them than there were
                yield {"by": "script", "name": self._scripts.names[script], "characters": count, "whole_share": share}


def metrics_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The figures of the table that are logged: of all text, and by language, kind and script."""
    found: dict[str, float] = {}
    for row in rows:
        if row["by"] == "origin":
            continue
        where = "fertility" if row["by"] == "all" else f"fertility/{row['by']}/{_plain(row['name'])}"
        for figure in ("tokens_per_word", "bytes_per_token", "part_token_share", "whole_share"):
            if figure in row:
                found[f"{where}/{figure}"] = row[figure]
    return found


def _within(batch: TextBatch, chosen: np.ndarray) -> np.ndarray:
    """Which of the wide characters of a batch are in the chosen texts, (N,) bool; the others should be few."""
    others, leads = np.flatnonzero(~chosen), batch.wide_characters[0]
    begins, ends = (np.searchsorted(leads, batch.offsets[others + behind]).tolist() for behind in (0, 1))
    within = np.ones(len(leads), bool)
    for begin, end in zip(begins, ends, strict=True):
        within[begin:end] = False
    return within


def _plain(name: str) -> str:
    return re.sub(r"[^\w .-]", "_", name, flags=re.ASCII)[:60]


def _row(by: str, name: str, counts: np.ndarray) -> dict[str, Any]:
    held = dict(zip(_COUNTS, counts.tolist(), strict=True))
    part = held.pop("part_tokens")
    return {
        "by": by,
        "name": name,
        **held,
        "tokens_per_word": held["tokens"] / max(held["words"], 1),
        "bytes_per_token": held["bytes"] / max(held["tokens"], 1),
        "part_token_share": part / max(held["tokens"], 1),
    }


def _is_partial(piece: bytes) -> bool:
    """Whether a token writes a part of a character, or nothing."""
    try:
        return not piece.decode()
    except UnicodeDecodeError:
        return True
