"""The merges of byte-level BPE (Sennrich et al. 2016) as a table of numbers, and words encoded with it by machine code.

The ids are those of `tokenizers`: of all pairs of neighbours the one learnt first is merged, of several such the
leftmost, until none is left. kernels.py says where the machine code is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

LONGEST_WORD = 256  # bytes; the time of a word goes with the square of its length
_MIX = np.uint64(0x9E3779B97F4A7C15)
_NONE = np.int32(2**31 - 1)


class Merges:
    """What a byte-level BPE model (the `model` of a tokenizer.json) merges. ValueError where it does more than that.

    byte_ids: id of each byte, (256,). keys, ranks, ids: open addressing by the pair's two ids.
    """

    def __init__(self, model: dict[str, Any], alphabet: list[str]) -> None:
        if model.get("ignore_merges") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
            raise ValueError("words are encoded in another way than by merges alone")
        vocabulary: dict[str, int] = model["vocab"]
        if not set(alphabet) <= vocabulary.keys():
            raise ValueError("a byte has no token")
        self.byte_ids = np.array([vocabulary[character] for character in alphabet], np.int32)
        pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
        learnt = {(vocabulary[left], vocabulary[right]): rank for rank, (left, right) in enumerate(pairs)}
        merged = {(vocabulary[left], vocabulary[right]): vocabulary[left + right] for left, right in pairs}
        size = 1 << max(4 * len(learnt), 4).bit_length()
        self.keys = np.zeros(size, np.uint64)
        self.ranks, self.ids = np.full(size, _NONE, np.int32), np.zeros(size, np.int32)
        for (left, right), rank in learnt.items():
            key = left << 32 | right
            slot = (key * int(_MIX) >> 32) & (size - 1)  # as `find_merge` has it
            while self.ranks[slot] != _NONE:
                slot = (slot + 1) & (size - 1)
            self.keys[slot], self.ranks[slot], self.ids[slot] = key, rank, merged[left, right]


@njit(nogil=True, error_model="numpy")
def find_merge(left: Any, right: Any, keys: Any, ranks: Any) -> Any:
    """The slot of a pair; one whose rank is _NONE where it is never merged."""
    mask = np.uint64(len(keys) - 1)
    key = np.uint64(left) << np.uint64(32) | np.uint64(right)
    slot = key * _MIX >> np.uint64(32) & mask
    while ranks[slot] != _NONE and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(nogil=True, error_model="numpy")
def encode_words(data: Any, starts: Any, lengths: Any, byte_ids: Any, keys: Any, ranks: Any, ids: Any) -> Any:
    """Ids of words (spans of `data`, none longer than LONGEST_WORD) end to end, int32, and how many each has, (W,)."""
    result, counts = np.empty(lengths.sum(), np.int32), np.zeros(len(starts), np.int64)
    word, slots = np.empty(LONGEST_WORD + 1, np.int32), np.empty(LONGEST_WORD + 1, np.uint64)
    written = 0
    for number in range(len(starts)):
        count = lengths[number]
        for place in range(count):
            word[place] = byte_ids[data[starts[number] + place]]
        for place in range(count - 1):
            slots[place] = find_merge(word[place], word[place + 1], keys, ranks)
        while count > 1:
            best, least = 0, _NONE
            for place in range(count - 1):
                if ranks[slots[place]] < least:
                    best, least = place, ranks[slots[place]]
            if least == _NONE:
                break
            word[best] = ids[slots[best]]
            count -= 1
            for place in range(best + 1, count):
                word[place], slots[place] = word[place + 1], slots[place + 1]
            if best + 1 < count:
                slots[best] = find_merge(word[best], word[best + 1], keys, ranks)
            if best > 0:
                slots[best - 1] = find_merge(word[best - 1], word[best], keys, ranks)
        result[written : written + count] = word[:count]
        written += count
        counts[number] = count
    return result[:written].copy(), counts
