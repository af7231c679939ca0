"""Ids of words put together to those of texts, and counted: loops compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tasks.text.kernels import NONE, ONE, THREE

FEW = THREE  # ids that nearly all words have at most


@njit(nogil=True, error_model="numpy")
def join_ids(numbers: Any, sizes: Any, words: Any, begins: Any, ids: Any, result: Any) -> Any:
    """Write the ids of all texts end to end to result, where there is room for FEW more; how many each text has, (N,)
    int64. numbers: of the words, (S,); sizes: how many of them each text has, (N,). words: how many ids the word of
    each number has, and its first FEW; ids[begins[n] :] are all of those of number n."""
    per_text = np.empty(len(sizes), np.int64)
    first, written = NONE, NONE
    for text in range(len(sizes)):
        before, after = written, first + np.uint64(sizes[text])
        for word in range(first, after):
            number = np.uint64(numbers[word])
            count = np.uint64(words[number, 0])
            for step in range(FEW):  # as many as nearly all words have at most: how many no processor can foresee
                result[written + step] = words[number, ONE + step]
            if count > FEW:
                begin = np.uint64(begins[number])
                for step in range(FEW, count):
                    result[written + step] = ids[begin + step]
            written += count
        per_text[text] = written - before
        first = after
    return per_text


@njit(nogil=True, error_model="numpy")
def join_with_ends(ids: Any, lengths: Any, chosen: Any, end: Any, result: Any) -> None:
    """As `with_ends` (encoder.py), written to result."""
    first, written = NONE, NONE
    for text in range(len(lengths)):
        length = np.uint64(lengths[text])
        if chosen[text]:
            for place in range(length):
                result[written + place] = ids[first + place]
            result[written + length] = end
            written += length + ONE
        first += length


@njit(nogil=True, error_model="numpy")
def count_tokens(ids: Any, lengths: Any, partial: Any, used: Any) -> Any:
    """How many ids of each text, (N,) int64, are of the tokens marked in partial, (V,) bool. ids: end to end, (T,);
    lengths: how many each text has, (N,). Each id's uses are added to used, (V,) int64."""
    result, first = np.empty(len(lengths), np.int64), NONE
    for text in range(len(lengths)):
        after, count = first + np.uint64(lengths[text]), 0
        for place in range(first, after):
            number = np.uint64(ids[place])
            used[number] += 1
            count += partial[number]
        result[text] = count
        first = after
    return result
