"""Byte-level BPE: training, and encoding in which a user's text can never produce a special token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from model.bpe import NUM_BYTES, Words, learn_merges
from model.errors import TokenizerError

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
PADDING = "<|pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END, PADDING)  # ids 0, 1, 2, 3 in a tokenizer trained here
SMALLEST_VOCABULARY = NUM_BYTES + len(SPECIAL_TOKENS)  # every byte has a token, so every text can be written


class Tokenizer:
    """A `tokenizers` tokenizer that adds nothing to a text and takes nothing in it for a special token.

    `<|im_end|>` in a text becomes the tokens of its ten characters, and decodes to the same characters. Special tokens
    enter a sequence only by id.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.no_padding()
        backend.no_truncation()
        backend.encode_special_tokens = True  # the library's name for "special tokens in a text are text"
        self.backend = backend

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a `tokenizer.json`, or the one in a model directory."""
        file = Path(path)
        if file.is_dir():
            file = file / "tokenizer.json"
        if not file.is_file():
            raise TokenizerError(f"{file} does not exist: give the path of a tokenizer.json or of its directory.")
        try:
            content = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise TokenizerError(f"{file} is no text ({error}): write it again or take another one.") from error
        return cls.from_json(content, origin=str(file))

    @classmethod
    def from_json(cls, content: str, *, origin: str = "the text") -> Tokenizer:
        """Build from the content of a `tokenizer.json`; `origin` is named in the error."""
        try:
            return cls(tokenizers.Tokenizer.from_str(content))
        except Exception as error:  # the library raises bare Exception for a file it cannot read
            raise TokenizerError(
                f"{origin} is not a tokenizer.json that tokenizers {tokenizers.__version__} reads "
                f"({error}): write it again or take another one."
            ) from error

    def to_json(self) -> str:
        """The content of a `tokenizer.json`; equal tokenizers give equal text."""
        return self.backend.to_str(pretty=True) + "\n"

    def save(self, path: str | Path) -> None:
        """Write a `tokenizer.json` at `path`."""
        Path(path).write_text(self.to_json(), encoding="utf-8", newline="\n")

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def token_id(self, token: str) -> int:
        """The id of a token by its text; `TokenizerError` where there is none."""
        token_id = self.backend.token_to_id(token)
        if token_id is None:
            raise TokenizerError(
                f"this tokenizer has no token {token}: use one with the special tokens {' '.join(SPECIAL_TOKENS)}."
            )
        return token_id

    def add_missing(self, tokens: Sequence[str]) -> list[str]:
        """Give each of these special tokens that is not there the next free id; returns those that were added.

        Raises `TokenizerError` where the ids have gaps, so that the library would give one away twice.
        """
        added = [token for token in tokens if self.backend.token_to_id(token) is None]
        self.backend.add_special_tokens(added)
        ids = self.backend.get_vocab(with_added_tokens=True).values()
        if added and len(set(ids)) < len(ids):
            raise TokenizerError(f"the ids of this tokenizer have gaps, so {' '.join(added)} cannot be added to it.")
        return added

    @property
    def endoftext_id(self) -> int:
        """Ends every document."""
        return self.token_id(END_OF_TEXT)

    @property
    def im_start_id(self) -> int:
        """Opens a turn of a conversation."""
        return self.token_id(TURN_START)

    @property
    def im_end_id(self) -> int:
        """Closes a turn of a conversation."""
        return self.token_id(TURN_END)

    @property
    def pad_id(self) -> int:
        """Fills rows; masks hide it, so a tokenizer without one pads with <|endoftext|>."""
        return self.endoftext_id if self.backend.token_to_id(PADDING) is None else self.token_id(PADDING)

    def encode(self, text: str) -> list[int]:
        """Ids of a text. No special token is added, and none is recognised."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode`, for many texts on all threads that TOKENIZERS_PARALLELISM and RAYON_NUM_THREADS allow."""
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of ids; bytes that are not UTF-8 (a character cut in two) become U+FFFD."""
        return self.backend.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def decode_batch(self, rows: Sequence[Sequence[int]], skip_special_tokens: bool = True) -> list[str]:
        """As `decode`, for many rows."""
        return self.backend.decode_batch([list(row) for row in rows], skip_special_tokens=skip_special_tokens)


def byte_alphabet() -> list[str]:
    """GPT-2's printable character for each byte (256,): itself where it is printable, else the next from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = count(0x100)
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(NUM_BYTES)]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn byte-level BPE from texts; see `tokenizer_of_words`. The same texts give the same one, in any order."""
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    written = {character: byte for byte, character in enumerate(byte_alphabet())}
    counts = Counter(word for text in texts for word, _ in cut(text))
    words = [bytes(written[character] for character in word) for word in counts]
    offsets = np.cumsum([0, *map(len, words)])
    data = np.frombuffer(b"".join(words), np.uint8)
    return tokenizer_of_words(Words(data, offsets, np.array(list(counts.values()), np.int64)), vocab_size)


def tokenizer_of_words(words: Words, vocab_size: int) -> Tokenizer:
    """Learn byte-level BPE merges (Sennrich et al. 2016) from words as GPT-2's pattern cuts them (Radford et al. 2019).

    vocab_size counts the four special tokens (ids 0–3) and the 256 bytes (ids 4–259). It is the tokenizer that the
    trainer of `tokenizers` gives. A small corpus may give fewer merges than asked for; `Tokenizer.vocab_size` says how
    many ids there are.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise TokenizerError(
            f"vocab_size is {vocab_size}: 256 bytes and {len(SPECIAL_TOKENS)} special tokens need at "
            f"least {SMALLEST_VOCABULARY}."
        )
    alphabet = byte_alphabet()
    tokens = [*SPECIAL_TOKENS, *sorted(alphabet)]
    byte_ids = np.array([tokens.index(character) for character in alphabet])
    merges = []
    for left, right, _ in learn_merges(words, byte_ids, vocab_size - len(tokens)):
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    backend = tokenizers.Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    return Tokenizer(backend)
