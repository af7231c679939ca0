"""Matches of whole words against a search through the texts themselves."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tokenizer import Tokenizer, train_tokenizer
from tasks.trace.matches import Matcher
from tasks.trace.suffixes import SuffixArray, TokenText, sorted_suffixes
from tasks.trace.words import WORD, Query, Vocabulary

LEARNED = train_tokenizer(["the cat sat on the mat, the cat ate. ", "été naïve 42 cats_on mats — émail"] * 9, 290)
VOCABULARY = Vocabulary(LEARNED)
PIECES = st.sampled_from(["the", "cat", "s", "sat", "42", "été", "é", "mat", " ", " ", "  ", "\n", "_", ", ", "—", "-"])
TEXTS = st.lists(PIECES, max_size=25).map("".join)


def matcher(documents: list[str], tokenizer: Tokenizer = LEARNED) -> tuple[Matcher, list[int]]:
    """A matcher over documents, and the position where each begins."""
    rows = [[*tokenizer.encode(text), tokenizer.endoftext_id] for text in documents]
    text = TokenText([np.array([token for row in rows for token in row], "<u2")])
    order = np.concatenate(list(sorted_suffixes(text, tokenizer.vocab_size, depth=4))).astype("<u4")
    starts = np.cumsum([0, *map(len, rows)])[:-1].tolist()
    return Matcher(SuffixArray(text, order, depth=4), VOCABULARY), starts


def whole_words(piece: str, document: str) -> list[int]:
    """Where a piece stands in a document with no word going on at its ends."""
    return [found.start() for found in re.finditer(rf"(?<![^\W_])(?={re.escape(piece)}(?![^\W_]))", document)]


def by_hand(text: str, documents: list[str], min_words: int) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """(first word, last word) → (document, character) of each place, of every match that lies in no longer one."""
    words = [match.span() for match in WORD.finditer(text)]
    found = {}
    for first, (start, _) in enumerate(words):
        for last in range(first + min_words - 1, len(words)):
            piece = text[start : words[last][1]]
            places = [(i, at) for i, document in enumerate(documents) for at in whole_words(piece, document)]
            if places:
                found[first, last] = places
    return {
        (first, last): places
        for (first, last), places in found.items()
        if not any((a, b) != (first, last) and a <= first and last <= b for a, b in found)
    }


@settings(deadline=None, max_examples=400)
@given(text=TEXTS, documents=st.lists(TEXTS, min_size=1, max_size=4), min_words=st.integers(1, 3))
def test_matches_are_those_that_a_search_through_the_texts_finds(
    text: str, documents: list[str], min_words: int
) -> None:
    searched, starts = matcher(documents)
    query = Query(text, LEARNED, VOCABULARY)
    found = {}
    for match in searched.matches(query, min_words):
        places = []
        for positions, spaced in match.places:
            for position in positions.tolist():
                number = int(np.searchsorted(starts, position, side="right")) - 1
                before = LEARNED.encode(documents[number])[: position - starts[number]]
                places.append((number, int(VOCABULARY.characters[before].sum()) + spaced))
        found[match.first, match.last] = sorted(places)
    assert found == by_hand(text, documents, min_words)


def test_a_word_is_not_found_within_a_word() -> None:
    searched, _ = matcher(["the cats sat on 42mat"])
    assert list(searched.matches(Query("the cat", LEARNED, VOCABULARY), 2)) == []
    assert list(searched.matches(Query("on 42", LEARNED, VOCABULARY), 2)) == []
    [match] = searched.matches(Query("xx cats sat on", LEARNED, VOCABULARY), 3)
    assert (match.first, match.last) == (1, 3)
