"""What the rules of quality measure, for all texts of a batch at once. Every property is (N,), one value a text."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np

from tasks.text.repetition import WordRuns, share, share_repeated
from tasks.text.spans import DIGIT, LETTER, SPACE, UNSPACED, WORD, Spans, TextBatch, sum_by_offsets

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher's (Rae et al. 2021)
_NEWLINE, _HASH, _FULL_STOP = ord("\n"), ord("#"), ord(".")
_BULLETS = b"-*+"
_PUNCTUATION = b".!?\"':;)"
_WIDE_BULLETS = ("•", "‣", "◦", "·", "–", "●", "▪", "・")
_WIDE_PUNCTUATION = ("。", "！", "？", "…", "”", "’", "»", "」", "։", "।", "؟")
_ELLIPSIS = "…"
_UNBROKEN = re.compile(rb"[0-9A-Za-z_+/=]{101,}")


class Features:
    """Measurements of a batch, each made when first asked for."""

    def __init__(self, batch: TextBatch) -> None:
        self.batch = batch

    def _count(self, flags: np.ndarray) -> np.ndarray:
        """Characters of each text whose bytes hold True."""
        if self.batch.continuation is not None:
            flags = flags & ~self.batch.continuation
        return self.batch.per_document(flags)

    def _has(self, bits: int) -> np.ndarray:
        return (self.batch.classes & bits) != 0

    def _starting_with(self, characters: tuple[str, ...]) -> np.ndarray:
        """True at bytes where one of some characters beyond ASCII begins, (B,)."""
        flags = np.zeros(self.batch.num_bytes, bool)
        if not self.batch.is_ascii:
            leads, codes = self.batch.wide_characters
            flags[leads[np.isin(codes, [ord(character) for character in characters])]] = True
        return flags

    @cached_property
    def num_chars(self) -> np.ndarray:
        return self.batch.num_chars

    @cached_property
    def num_letters(self) -> np.ndarray:
        return self._count(self._has(LETTER))

    @cached_property
    def num_digits(self) -> np.ndarray:
        return self._count(self._has(DIGIT))

    @cached_property
    def num_visible(self) -> np.ndarray:
        """Characters other than white space."""
        return self._count(~self._has(SPACE))

    @cached_property
    def num_unspaced(self) -> np.ndarray:
        """Characters of scripts that write no spaces between words."""
        return np.zeros(len(self.batch), np.int64) if self.batch.is_ascii else self._count(self._has(UNSPACED))

    @cached_property
    def num_broken(self) -> np.ndarray:
        """U+FFFD, which stands where bytes could not be decoded."""
        if self.batch.is_ascii:
            return np.zeros(len(self.batch), np.int64)
        return self.batch.per_document(self._starting_with(("\ufffd",)))

    @cached_property
    def words(self) -> Spans:
        """Words as Gopher counts them, between white space; each character by itself in scripts without spaces."""
        return self.batch.runs(~self._has(SPACE), None if self.batch.is_ascii else self._has(UNSPACED))

    @cached_property
    def num_words(self) -> np.ndarray:
        return np.bincount(self.words.documents, minlength=len(self.batch))

    @cached_property
    def word_offsets(self) -> np.ndarray:
        """Where the words of each text begin in `words`, (N + 1,)."""
        return np.concatenate(([0], np.cumsum(self.num_words)))

    @cached_property
    def addresses(self) -> np.ndarray:
        """True for each word that holds "://", (W,): a URL may be long without being noise."""
        data, first = self.batch.bytes, self.batch.first_bytes
        flags = np.zeros(self.batch.num_bytes, bool)
        flags[:-2] = (data[:-2] == ord(":")) & (data[1:-1] == ord("/")) & (data[2:] == ord("/"))
        flags[:-2] &= ~(first[1:-1] | first[2:])
        places = np.flatnonzero(flags)
        words = self.words
        return np.searchsorted(places, words.starts + words.lengths) > np.searchsorted(places, words.starts)

    @cached_property
    def mean_word_chars(self) -> np.ndarray:
        """Characters of the mean word that is no URL."""
        which = np.flatnonzero(self.addresses)
        words, texts = self.words, self.words.documents[which]
        sizes = self.batch.num_chars_between(words.starts[which], words.starts[which] + words.lengths[which])
        in_addresses = np.bincount(texts, weights=sizes, minlength=len(self.batch))
        return share(self.num_visible - in_addresses, self.num_words - np.bincount(texts, minlength=len(self.batch)))

    @cached_property
    def share_worded(self) -> np.ndarray:
        """Share of words with a letter."""
        if not len(self.words):
            return np.zeros(len(self.batch))
        with_letter = np.logical_or.reduceat(self._has(LETTER), self.words.starts)  # between words there are no letters
        return share(sum_by_offsets(with_letter, self.word_offsets), self.num_words)

    @property
    def long_words(self) -> Spans:
        """Words of more than 100 bytes: white space ends a word, and an unbroken run."""
        return self.words.take(np.flatnonzero(self.words.lengths > 100))

    @cached_property
    def share_unbroken(self) -> np.ndarray:
        """Share of the bytes in runs of over 100 that are letters, digits and "_+/=", outside URLs: encoded files."""
        held = np.zeros(len(self.batch), np.int64)
        words = self.long_words
        for start, length, text in zip(
            words.starts.tolist(), words.lengths.tolist(), words.documents.tolist(), strict=True
        ):
            word = self.batch.data[start : start + length].tobytes()
            if b"://" not in word:
                held[text] += sum(map(len, _UNBROKEN.findall(word)))
        return share(held, np.diff(self.batch.offsets))

    @cached_property
    def num_symbols(self) -> np.ndarray:
        """Hash marks and ellipses (Gopher)."""
        data, inner = self.batch.bytes, ~self.batch.first_bytes
        dots = data == _FULL_STOP
        after_dot = np.zeros(len(data), bool)
        after_dot[1:] = dots[:-1] & inner[1:]
        row = dots & after_dot  # at least the second dot in a row
        ellipses = np.zeros(len(data), bool)
        ellipses[2:] = row[2:] & row[1:-1]
        ellipses[3:] &= ~(row[3:] & row[2:-1] & row[1:-2])  # a row of dots counts once
        return self.batch.per_document((data == _HASH) | ellipses | self._starting_with((_ELLIPSIS,)))

    @cached_property
    def num_braces(self) -> np.ndarray:
        data = self.batch.bytes
        return self.batch.per_document((data == ord("{")) | (data == ord("}")))

    @cached_property
    def num_lorem_ipsum(self) -> np.ndarray:
        """Occurrences of "lorem ipsum", in any case, the filler of unfinished pages (C4)."""
        begins = np.flatnonzero((self.batch.bytes | 0x20) == ord("l"))
        loads = np.ndarray((max(len(self.batch.data) - 7, 0),), "<u8", self.batch.data, strides=(1,))
        lowered = loads[begins] | np.uint64(0x2020202020202020)
        here = begins[lowered == np.uint64(int.from_bytes(b"lorem ip", "little"))]
        texts = np.searchsorted(self.batch.offsets, here, "right") - 1
        here = texts[here + 8 <= self.batch.offsets[1:][texts]]
        return np.bincount(here, minlength=len(self.batch))

    @cached_property
    def _stop_words(self) -> np.ndarray:
        """How often each of `STOP_WORDS` occurs, in any case, (N, 8)."""
        words = self.batch.runs(self._has(WORD))
        short = np.flatnonzero((words.lengths >= 2) & (words.lengths <= 4))
        loads = np.ndarray((max(len(self.batch.data) - 3, 0),), "<u4", self.batch.data, strides=(1,))
        keep = np.array([0, 0, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF], np.uint32)[words.lengths[short]]
        keys = (loads[words.starts[short]] | np.uint32(0x20202020)) & keep
        texts = words.documents[short]
        wanted = (np.uint32(int.from_bytes(word.encode(), "little")) for word in STOP_WORDS)
        return np.stack([np.bincount(texts[keys == word], minlength=len(self.batch)) for word in wanted], axis=1)

    @property
    def num_stop_words(self) -> np.ndarray:
        """Occurrences of `STOP_WORDS`, in any case."""
        return self._stop_words.sum(1)

    @property
    def num_different_stop_words(self) -> np.ndarray:
        """How many of `STOP_WORDS` occur, in any case."""
        return (self._stop_words > 0).sum(1)

    @cached_property
    def lines(self) -> Spans:
        """Lines that are not empty."""
        return self.batch.runs(self.batch.bytes != _NEWLINE)

    @cached_property
    def num_lines(self) -> np.ndarray:
        return np.bincount(self.lines.documents, minlength=len(self.batch))

    def _share_of_lines(self, flags: np.ndarray) -> np.ndarray:
        return share(np.bincount(self.lines.documents[flags], minlength=len(self.batch)), self.num_lines)

    @cached_property
    def share_bullets(self) -> np.ndarray:
        """Share of lines that begin with a bullet and a blank."""
        lines, data = self.lines, self.batch.data
        after = np.searchsorted(self.words.starts, lines.starts)
        first = self.words.starts[np.minimum(after, max(len(self.words) - 1, 0))] if len(self.words) else lines.starts
        plain = np.isin(data[first], np.frombuffer(_BULLETS, np.uint8)) & (data[first + 1] == ord(" "))
        return self._share_of_lines(plain | self._starting_with(_WIDE_BULLETS)[first])

    def last_leads(self) -> np.ndarray:
        """First byte of the last character of each line."""
        last = self.lines.starts + self.lines.lengths - 1
        if self.batch.continuation is not None:
            for _ in range(3):
                last = last - self.batch.continuation[last]
        return last

    @property
    def share_ellipses(self) -> np.ndarray:
        """Share of lines that end in an ellipsis."""
        return self._share_of_lines(self.lines_in_ellipses)

    @cached_property
    def lines_in_ellipses(self) -> np.ndarray:
        """True for each line that ends in an ellipsis, (L,)."""
        last, data = self.last_leads(), self.batch.data
        back = np.minimum(self.lines.lengths - 1, 2)
        dotted = (back == 2) & (data[last] == _FULL_STOP)
        dotted &= (data[last - back // 2] == _FULL_STOP) & (data[last - back] == _FULL_STOP)
        return dotted | self._starting_with((_ELLIPSIS,))[last]

    @cached_property
    def share_punctuated(self) -> np.ndarray:
        """Share of lines that end in punctuation, as sentences do (FineWeb, Penedo et al. 2024)."""
        return self._share_of_lines(self.lines_ending(_PUNCTUATION))

    def lines_ending(self, marks: bytes) -> np.ndarray:
        """True for each line that ends in one of these marks, or in one of other scripts' that end a sentence, (L,)."""
        last = self.last_leads()
        plain = np.isin(self.batch.data[last], np.frombuffer(marks, np.uint8))
        return plain | self._starting_with(_WIDE_PUNCTUATION)[last]

    @cached_property
    def share_short_lines(self) -> np.ndarray:
        """Share of lines of at most 30 bytes (FineWeb)."""
        return self._share_of_lines(self.lines.lengths <= 30)

    @cached_property
    def repeated_lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Of lines that stood before in the same text: their share in number, and in bytes."""
        return share_repeated(self.batch, self.lines)

    @cached_property
    def _repeated_paragraphs(self) -> tuple[np.ndarray, np.ndarray]:
        return share_repeated(self.batch, self.paragraphs)

    @property
    def share_repeated_lines(self) -> np.ndarray:
        """Share of bytes in lines that stood before in the same text (Gopher's duplicate-line character fraction)."""
        return self.repeated_lines[1]

    @property
    def share_lines_repeated(self) -> np.ndarray:
        """Share of lines that stood before in the same text (Gopher's duplicate-line fraction)."""
        return self.repeated_lines[0]

    @property
    def share_repeated_paragraphs(self) -> np.ndarray:
        """Share of bytes in paragraphs that stood before in the same text."""
        return self._repeated_paragraphs[1]

    @property
    def share_paragraphs_repeated(self) -> np.ndarray:
        """Share of paragraphs that stood before in the same text."""
        return self._repeated_paragraphs[0]

    @cached_property
    def word_hashes(self) -> np.ndarray:
        """Of each word, (W,) uint64."""
        return self.batch.hashes(self.words)

    @cached_property
    def share_repeated_words(self) -> np.ndarray:
        """Share of five-word sequences that stood before in the same text."""
        return WordRuns(self.words, self.word_hashes, 5).share_repeated(self.num_words)

    def share_of_top_run(self, size: int) -> np.ndarray:
        """Share of bytes in the most frequent run of `size` words (Gopher's top n-gram character fraction)."""
        return WordRuns(self.words, self.word_hashes, size).share_of_most_frequent(np.diff(self.batch.offsets))

    def share_in_repeated_runs(self, size: int) -> np.ndarray:
        """Share of bytes in repeated runs of `size` words (Gopher's duplicate n-gram character fraction)."""
        return WordRuns(self.words, self.word_hashes, size).share_covered_by_repeats(len(self.batch))

    @cached_property
    def paragraphs(self) -> Spans:
        """What stands between empty lines."""
        data = self.batch.bytes
        newline = data == _NEWLINE
        gap = np.zeros(len(data), bool)
        gap[:-1] = newline[:-1] & newline[1:]
        gap[1:] |= newline[1:] & newline[:-1]
        return self.batch.runs(~gap)

    @cached_property
    def num_sentences(self) -> np.ndarray:
        """Marks that end a sentence: . ! ? before white space, a quotation mark or the end; 。！？ anywhere."""
        data, after = self.batch.bytes, self.batch.data[1 : self.batch.num_bytes + 1]
        ends = np.isin(data, np.frombuffer(b".!?", np.uint8))
        last = np.zeros(len(data), bool)
        last[:-1] = self.batch.first_bytes[1:]
        ends &= last | np.isin(after, np.frombuffer(b" \n\t\"')\0\xe2", np.uint8))
        return self.batch.per_document(ends | self._starting_with(("。", "！", "？", "।")))
