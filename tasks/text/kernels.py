"""What numpy does in many passes over a batch, done in one: loops over bytes and words, compiled by numba.

Each function has a counterpart in numpy, which small corpora use and which the tests hold it against: both give the
same values. Compiling takes seconds, once, and the machine code is kept below the folder of state.

Texts are given as `data`, their UTF-8 end to end, and `offsets` (N + 1,); `classes` is the class of every code point
(spans.py), of which those of the characters that occur must be known.
"""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import Any

import numba
import numpy as np
from numba import njit

from model.byte_vectors import LANES
from model.pointers import octets
from tasks.lineage.fingerprint import fingerprint
from tasks.lineage.home import home
from tasks.text import spans
from tasks.text.edges import find_edges
from tasks.text.machine_code import PLACE
from tasks.text.spacing import space_evenly

WORD, SPACE, UNSPACED = np.uint64(spans.WORD), np.uint64(spans.SPACE), np.uint64(spans.UNSPACED)
LONG = spans.LONG_SPAN  # bytes of a word that is hashed by a library, not here
# Places are unsigned: numba takes a signed one for a place from the end where it is negative, and looks each time.
NONE, ONE, TWO, THREE, FOUR, EIGHT = (np.uint64(number) for number in (0, 1, 2, 3, 4, 8))
ALL = ~NONE
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
EMPTY = np.uint32(0xFFFFFFFF)
# In each of eight bytes the lowest bit, and the highest one.
LOWS, HIGHS = (np.uint64(int.from_bytes(bytes([byte] * 8), "little")) for byte in (0x01, 0x80))
_KEEPING = Lock()  # numba has one place for all
MOST_MOVES = 32  # of a hash on its way to its place; by chance it takes about one


@cache
def kept(function: Any) -> Any:
    """The function, which from now on takes its machine code from the folder of state and leaves it there.

    It lies there under the digest of all code that the function reaches: numba itself would see a change to its file,
    but not one to a constant of another.
    """
    place = str(home() / PLACE / fingerprint(function.py_func).digest[:16])
    with _KEEPING:
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, place
        function.enable_caching()
        numba.config.CACHE_DIR = before
    return function


@njit(nogil=True, error_model="numpy")
def mix64(value: Any) -> Any:
    """The finaliser of splitmix64, as in spans.py."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(nogil=True, error_model="numpy")
def mix32(value: Any) -> Any:
    """MurmurHash3's 32-bit finaliser, as in minhash.py."""
    value = np.uint32((value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    value = np.uint32((value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(value ^ (value >> np.uint32(16)))


@njit(nogil=True, error_model="numpy")
def zero_bytes(eight: Any) -> Any:
    """Of eight bytes, uint64, the highest bit of each that is zero; of the bytes above the first of these, it may be
    that of others, too."""
    return (eight - LOWS) & ~eight & HIGHS


@njit(nogil=True, error_model="numpy")
def character_at(data: Any, place: Any, classes: Any) -> Any:
    """The class of the character that begins at a byte, uint64, and how many bytes it has, uint64."""
    lead = data[place]
    if lead < 0x80:
        return np.uint64(classes[lead]), ONE
    code, size = np.uint64(lead & 0x1F), TWO
    if lead >= 0xF0:
        code, size = np.uint64(lead & 0x07), FOUR
    elif lead >= 0xE0:
        code, size = np.uint64(lead & 0x0F), THREE
    for byte in range(place + ONE, place + size):
        code = code << np.uint64(6) | np.uint64(data[byte] & 0x3F)
    return np.uint64(classes[code]), size


@njit(nogil=True, error_model="numpy")
def is_ascii(data: Any, begin: Any, end: Any) -> Any:
    """Whether these bytes are ASCII alone."""
    met = np.uint8(0)
    for place in range(begin, end):
        met |= data[place]
    return met < 0x80


@njit(nogil=True, error_model="numpy")
def evenly_spaced(data: Any, offsets: Any, classes: Any) -> Any:
    """As `TextBatch.evenly_spaced`: bytes, uint8, and offsets, (N + 1,)."""
    result, bounds = np.empty(offsets[-1] + LANES, np.uint8), np.zeros(len(offsets), np.int64)
    source, target, written = octets(data.ctypes.data), octets(result.ctypes.data), NONE
    for text in range(len(offsets) - 1):
        begin, place, end, after_space = written, np.uint64(offsets[text]), np.uint64(offsets[text + 1]), ONE
        if is_ascii(data, place, end):
            done, at, after_space = space_evenly(
                source, np.int64(place), np.int64(end), len(data), target, np.int64(written)
            )
            place, written = np.uint64(done), np.uint64(at)
            for byte in range(place, end):
                is_space = np.uint64(classes[data[byte]] & spans.SPACE) >> THREE
                result[written] = data[byte] if not is_space else 32
                written += ONE - (is_space & after_space)
                after_space = is_space
            place = end
        while place < end:
            # No jumps that depend on where words end, which the processor cannot foresee.
            bits, size = character_at(data, place, classes)
            is_space = (bits & SPACE) >> THREE
            result[written] = data[place] if not is_space else 32
            if size > ONE:
                for byte in range(ONE, size):
                    result[written + byte] = data[place + byte]
            written += size if not is_space else ONE - after_space
            after_space = is_space
            place += size
        if after_space and written > begin:
            written -= ONE
        bounds[text + 1] = written
    return result[:written], bounds


@njit(nogil=True, error_model="numpy")
def first_bytes(count: Any) -> Any:
    """A mask of so many of eight bytes, 1 to 8. Without a jump: how long words are no processor can foresee."""
    return ALL >> (EIGHT - count) * EIGHT


@njit(nogil=True, error_model="numpy")
def hash_word(data: Any, loads: Any, start: Any, length: Any) -> Any:
    """As `hash_spans`, of one span of 1 to LONG bytes."""
    value = mix64(loads[start] & first_bytes(min(length, EIGHT)) ^ length * MULTIPLIER)
    done = EIGHT
    while done < length:
        value = mix64(value * MULTIPLIER ^ loads[start + done] & first_bytes(min(length - done, EIGHT)))
        done += EIGHT
    return value


@njit(nogil=True, error_model="numpy")
def find_words(data: Any, place: Any, end: Any, classes: Any, edges: Any) -> Any:
    """As `TextBatch.words`, of one text: where each word begins and ends, written to `edges`; how many edges."""
    count, inside = NONE, NONE
    if is_ascii(data, place, end):  # of which no letter is a word by itself
        place, count, inside = find_edges(data, place, end, edges)
        for byte in range(place, end):
            edges[count] = byte
            within = ONE if classes[data[byte]] & spans.WORD else NONE
            count += within ^ inside
            inside = within
        place = end
    while place < end:
        bits, size = character_at(data, place, classes)
        edges[count] = place
        if bits & UNSPACED:
            count += inside
            edges[count], edges[count + ONE] = place, place + size
            count += TWO
            inside = NONE
        else:
            within = ONE if bits & WORD else NONE
            count += within ^ inside
            inside = within
        place += size
    edges[count] = end
    return count + inside


@njit(nogil=True, error_model="numpy")
def sort(values: Any, counts: Any, scratch: Any) -> bool:
    """Sort hashes, (S,) uint32, in place: spread over as many buckets as there are hashes by their highest bits, then
    by insertion. False, and they are lost, where that takes far longer than with hashes that differ by chance. counts,
    scratch: (≥ 2S,) and (≥ S,), overwritten."""
    bits = 1
    while 1 << bits < len(values):
        bits += 1
    shift = np.uint32(32 - bits)
    counts[: 1 << bits] = 0
    for value in values:
        counts[value >> shift] += 1
    before = 0
    for bucket in range(1 << bits):
        here = counts[bucket]
        counts[bucket] = before
        before += here
    for value in values:
        bucket = value >> shift
        scratch[counts[bucket]] = value
        counts[bucket] += 1
    moves = 0
    for number in range(len(values)):
        value, place = scratch[number], number
        while place and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value
        moves += number - place
        if moves > MOST_MOVES * len(values):
            return False
    return True


@njit(nogil=True, error_model="numpy")
def unique_shingles(data: Any, loads: Any, offsets: Any, classes: Any, size: int) -> Any:
    """As `unique_shingles(shingle(…, size))`: hashes, uint32, and offsets, (N + 1,); and whether it could be done here:
    no word was too long, and no hashes were such as chance would not give. If not, the rest is void."""
    texts = len(offsets) - 1
    longest: Any = 0
    for text in range(texts):
        longest = max(longest, offsets[text + 1] - offsets[text])
    words = np.empty(longest // 2 + 1, np.uint64)  # letters without a break are one word
    edges = np.empty(2 * len(words) + 2, np.uint64)
    counts, scratch = np.empty(2 * len(words), np.int32), np.empty(len(words), np.uint32)
    result, bounds = np.empty(offsets[-1] // 2 + texts, np.uint32), np.zeros(texts + 1, np.int64)
    powers = np.ones(size, np.uint64)
    for step in range(1, size):
        powers[step] = powers[step - 1] * MULTIPLIER
    written = 0
    for text in range(texts):
        num_edges: Any = find_words(data, np.uint64(offsets[text]), np.uint64(offsets[text + 1]), classes, edges)
        count: Any = np.int64(num_edges) // 2
        for word in range(count):
            start, length = edges[2 * word], edges[2 * word + 1] - edges[2 * word]
            if length > LONG:
                return result[:0], bounds, False
            words[word] = hash_word(data, loads, start, length)
        begin = written
        if count:
            run = min(size, count)
            for first in range(count - run + 1):
                rolled = words[first]
                for step in range(1, run):
                    rolled += words[first + step] * powers[step]
                result[written] = np.uint32(mix64(rolled) >> np.uint64(32))
                written += 1
            if not sort(result[begin:written], counts, scratch):
                return result[:0], bounds, False
            kept = begin + 1
            for number in range(begin + 1, written):
                if result[number] != result[number - 1]:
                    result[kept] = result[number]
                    kept += 1
            written = kept
        bounds[text + 1] = written
    return result[:written].copy(), bounds, True


@njit(nogil=True, error_model="numpy")
def signatures(hashes: Any, offsets: Any, factors: Any, summands: Any) -> Any:
    """As `minhash.signatures`: (N, K) uint32."""
    result = np.full((len(offsets) - 1, len(factors)), EMPTY, np.uint32)
    for text in range(len(offsets) - 1):
        least = result[text]
        number, end = offsets[text], offsets[text + 1]
        while number < end:  # four at once, the last again where there are fewer: each value is loaded and stored less
            first, second = mix32(hashes[number]), mix32(hashes[min(number + 1, end - 1)])
            third, fourth = mix32(hashes[min(number + 2, end - 1)]), mix32(hashes[min(number + 3, end - 1)])
            for index in range(len(factors)):
                factor, summand = factors[index], summands[index]
                one = min(np.uint32(first * factor + summand), np.uint32(second * factor + summand))
                other = min(np.uint32(third * factor + summand), np.uint32(fourth * factor + summand))
                least[index] = min(least[index], min(one, other))
            number += 4
    return result


@njit(nogil=True, error_model="numpy")
def band_hashes(signature: Any, bands: int, rows: int) -> Any:
    """As `minhash.band_hashes`: (bands, N) uint64."""
    result, keys = np.empty((bands, len(signature)), np.uint64), np.empty(bands, np.uint64)
    for text in range(len(signature)):
        for band in range(bands):
            keys[band] = band
        for row in range(rows):  # band by band each mixing would wait for the one before
            for band in range(bands):
                keys[band] = mix64(keys[band] * MULTIPLIER + np.uint64(signature[text, band * rows + row]))
        result[:, text] = keys
    return result


@njit(nogil=True, error_model="numpy")
def may_recur(hashes: Any) -> Any:
    """Whether each hash, (N,) uint32, may be among them more than once, (N,) bool: true of all that are, and of some
    that are not, since they are told apart by their lowest bits alone."""
    bits = 3
    while 1 << bits < 8 * len(hashes):
        bits += 1
    mask = np.uint32((1 << bits) - 1)
    met = np.zeros(1 << bits, np.uint8)
    for value in hashes:
        met[value & mask] += met[value & mask] < 2
    result = np.empty(len(hashes), np.bool_)
    for number in range(len(hashes)):
        result[number] = met[hashes[number] & mask] > 1
    return result
