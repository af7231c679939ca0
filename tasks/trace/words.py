"""What tokens write, and the words of a text as tokens, so that runs of tokens can be matched at whole words.

A word is a run of letters and digits. GPT-2's pattern, by which byte-level tokenizers cut text before they merge, cuts
wherever such a run begins or ends, and takes one space into the word after it. So the same words give the same tokens
wherever they stand, but for the first, which has a space in it or not: `Query.suffixes` gives both. (The one exception
is a word of which an English contraction took the beginning, as in `'tis`: no match begins there.)
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.tokenizer import Tokenizer, byte_alphabet
from tasks.lineage.errors import DataError

WORD = re.compile(r"[^\W_]+")
NO_WORD, IN_WORD, UNCLEAR = 0, 1, 2  # what a token's edge is: unclear where it cuts a character in two


class Vocabulary:
    """What each token of a byte-level tokenizer writes.

    characters (V,): characters that begin in it. first, last (V,): NO_WORD, IN_WORD or UNCLEAR, of its edges.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.end = tokenizer.endoftext_id
        byte_of = {character: byte for byte, character in enumerate(byte_alphabet())}
        size = max(tokenizer.vocab_size, 1 + max(tokenizer.backend.get_vocab().values()))
        self.pieces = [b""] * size
        for piece, number in tokenizer.backend.get_vocab().items():
            if all(character in byte_of for character in piece):
                self.pieces[number] = bytes(byte_of[character] for character in piece)
        self.pieces[self.end] = b"\0"  # stands between documents, as no word does
        self.sizes = np.array([len(piece) for piece in self.pieces])
        self.characters = np.array([sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self.pieces])
        self.first = np.array([_edge(piece, first=True) for piece in self.pieces], np.uint8)
        self.last = np.array([_edge(piece, first=False) for piece in self.pieces], np.uint8)

    def write(self, tokens: Sequence[int]) -> bytes:
        """The bytes of tokens."""
        return b"".join(self.pieces[token] for token in tokens)


def _edge(piece: bytes, *, first: bool) -> int:
    """What the first or last character of a token is."""
    starts = [place for place, byte in enumerate(piece) if byte & 0xC0 != 0x80]
    if not starts or (first and starts[0] > 0):
        return UNCLEAR
    character = piece[: starts[1] if len(starts) > 1 else None] if first else piece[starts[-1] :]
    if character == b" " and not first:
        return IN_WORD  # a space is the beginning of the word after it
    try:
        return IN_WORD if character.decode().isalnum() else NO_WORD
    except UnicodeDecodeError:
        return UNCLEAR


class Suffix(NamedTuple):
    """The text from a word on as tokens (T,), with a space in front or not.

    ends (W,): for this word and each after it how many tokens there are up to its end, 0 where it ends within one.
    """

    tokens: NDArray[np.int64]
    ends: NDArray[np.int64]
    spaced: bool


class Query:
    """A text as words and as tokens. `words` holds (start, end) of each, in characters."""

    def __init__(self, text: str, tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
        self.text = text
        self.words = [match.span() for match in WORD.finditer(text)]
        self._tokenizer = tokenizer
        self._tokens = np.array(tokenizer.encode(text), np.int64)
        after = np.cumsum(vocabulary.sizes[self._tokens])
        if len(after) and after[-1] != len(text.encode()):
            raise DataError(
                "the tokenizer of these tokens does not write a text as it was read, so offsets in it cannot be told; "
                "trace needs a byte-level tokenizer, as `tokenize` makes them"
            )
        self._count_at = {int(size): number + 1 for number, size in enumerate(after)}
        before = np.cumsum([0, *(len(character.encode()) for character in text)])
        self._ends = np.array([self._count_at.get(int(before[end]), 0) for _, end in self.words], np.int64)
        self._heads: dict[str, NDArray[np.int64]] = {}

    @property
    def num_tokens(self) -> int:
        return len(self._tokens)

    def suffixes(self, word: int) -> list[Suffix]:
        """The text from the beginning of a word on, with and without a space before it."""
        done = self._ends[word]
        if not done:
            return []
        start, end = self.words[word]
        found = []
        for space in ("", " "):
            head = self._encoded(space + self.text[start:end])
            later = self._ends[word:]
            ends = np.where(later > 0, later - done + len(head), 0)
            found.append(Suffix(np.concatenate([head, self._tokens[done:]]), ends, bool(space)))
        return found

    def _encoded(self, word: str) -> NDArray[np.int64]:
        if word not in self._heads:
            self._heads[word] = np.array(self._tokenizer.encode(word), np.int64)
        return self._heads[word]
