"""SHA-256 (FIPS 180-4) of many texts at once, by the processor's own instructions. hashlib takes longer to be called
for a short text than to work on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from model.byte_vectors import clear, copy
from model.pointers import BYTES, INT, call_llvm, octets
from model.processor import processor_flags

LANES = 2  # texts at once
BLOCK = 64  # bytes that are worked in at once
_LENGTH = 8  # bytes that tell a text's length, after its end
_WORDS, _BYTES = ir.VectorType(INT, 4), ir.VectorType(ir.IntType(8), 16)


def _root_bits(power: int, count: int) -> list[int]:
    """The first 32 bits behind the point of the square or cube roots of the first primes, as FIPS 180-4 defines its
    constants."""
    primes = [number for number in range(2, 312) if all(number % other for other in range(2, number))]
    found = []
    for prime in primes[:count]:
        shifted, root = prime << 32 * power, 0
        for bit in reversed(range(36)):
            if (root | 1 << bit) ** power <= shifted:
                root |= 1 << bit
        found.append(root & 0xFFFFFFFF)
    return found


_ROUNDS = _root_bits(3, 64)
# In the order in which the instructions take them: F, E, B, A and H, G, D, C.
_INITIAL = np.array(_root_bits(2, 8), np.uint32)[[5, 4, 1, 0, 7, 6, 3, 2]]
_FIRST = (3, 2, 7, 6)  # where A, B, C and D stand there


def has_instructions() -> bool:
    """Whether this processor can do what is done here."""
    return {"sha_ni", "sse4_1"} <= processor_flags()


@intrinsic
def work_in(typing: Any, state: Any, source: Any, place: Any, other: Any) -> Any:
    """Change two states, each 8 uint32 in the order of ``_INITIAL``, as the 64 bytes at a place and those at another
    ask for. Two, since each instruction waits for the one before, during which there is time for one more."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        states, data, *numbers = given

        def shuffled(a: Any, b: Any, lanes: list[int]) -> Any:
            return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT, len(lanes)), lanes))

        def at(pointer: Any, index: Any, more: int) -> Any:
            moved = builder.add(index, ir.Constant(index.type, more))
            return builder.bitcast(builder.gep(pointer, [moved]), _WORDS.as_pointer())

        def word(number: Any, known: list[Any]) -> Any:
            """The next four words of the schedule."""
            if len(known) < 4:
                big_endian = builder.bitcast(builder.load(at(data, number, 16 * len(known)), align=1), _BYTES)
                order = [4 * (byte // 4) + 3 - byte % 4 for byte in range(16)]
                return builder.bitcast(shuffled(big_endian, big_endian, order), _WORDS)
            first = call_llvm(builder, "llvm.x86.sha256msg1", _WORDS, *known[-4:-2])
            first = builder.add(first, shuffled(known[-2], known[-1], [1, 2, 3, 4]))
            return call_llvm(builder, "llvm.x86.sha256msg2", _WORDS, first, known[-1])

        if "avx" in processor_flags():  # these instructions wait far longer while upper halves of registers are in use
            call_llvm(builder, "llvm.x86.avx.vzeroupper", ir.VoidType())
        none = ir.Constant(numbers[0].type, 0)
        places = [[at(states, none, 32 * lane + half) for half in (0, 16)] for lane in range(LANES)]
        before = [[builder.load(place, align=1) for place in of_lane] for of_lane in places]
        now, words = [list(of_lane) for of_lane in before], [[] for _ in range(LANES)]  # type: list[Any], list[list[Any]]
        for step in range(0, 64, 4):
            for number, known, halves in zip(numbers, words, now, strict=True):
                known.append(word(number, known))
                summed = builder.add(known[-1], ir.Constant(_WORDS, _ROUNDS[step : step + 4]))
                for half, lanes in ((1, [0, 1, 2, 3]), (0, [2, 3, 2, 3])):
                    two = shuffled(summed, summed, lanes)
                    halves[half] = call_llvm(
                        builder, "llvm.x86.sha256rnds2", _WORDS, halves[half], halves[1 - half], two
                    )
        for of_lane, old, new in zip(places, before, now, strict=True):
            for place, a, b in zip(of_lane, old, new, strict=True):
                builder.store(builder.add(a, b), place, align=1)
        return context.get_dummy_value()

    return types.void(BYTES, BYTES, types.int64, types.int64), code


@njit(nogil=True, error_model="numpy")
def halves_of_digests(data: Any, offsets: Any, start: Any) -> Any:
    """The first 16 bytes of SHA-256 of each text, (N, 16) uint8. data, offsets: the texts end to end, uint8, and where
    each begins, (N + 1,). start: what comes before each of them, (S,) uint8."""
    num_texts, longest = len(offsets) - 1, 0
    for text in range(num_texts):
        longest = max(longest, offsets[text + 1] - offsets[text])
    room = (len(start) + longest) // BLOCK * BLOCK + 2 * BLOCK
    messages, states = np.zeros(LANES * room, np.uint8), np.zeros((LANES, 8), np.uint32)
    result = np.empty((num_texts, 16), np.uint8)
    texts, places, ends = np.full(LANES, -1), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    held, source = octets(states.ctypes.data), octets(messages.ctypes.data)
    given, first = octets(data.ctypes.data), octets(start.ctypes.data)
    begun = done = 0
    while done < num_texts:
        for lane in range(LANES):
            if places[lane] < ends[lane]:
                continue
            if texts[lane] >= 0:
                for word in range(4):
                    value = states[lane, _FIRST[word]]
                    for byte in range(4):
                        result[texts[lane], 4 * word + byte] = value >> np.uint32(24 - 8 * byte) & np.uint32(0xFF)
                done += 1
            place, size, texts[lane] = lane * room, BLOCK, -1  # idle, if nothing is left
            if begun < num_texts:
                size = _fill(given, offsets[begun], offsets[begun + 1], first, len(start), source, place)
                states[lane] = _INITIAL
                texts[lane] = begun
                begun += 1
            places[lane], ends[lane] = place, place + size
        work_in(held, source, places[0], places[1])
        places += BLOCK
    return result


@njit(nogil=True, error_model="numpy")
def _fill(data: Any, begin: Any, end: Any, start: Any, start_size: Any, message: Any, place: Any) -> Any:
    """Write a message, and what ends it, at a place. Gives how many bytes it takes then: whole blocks."""
    size = start_size + end - begin
    whole = (size + _LENGTH) // BLOCK * BLOCK + BLOCK
    clear(message, place + max(whole - 2 * BLOCK, 0))
    clear(message, place + whole - BLOCK)
    copy(start, 0, start_size, message, place)
    copy(data, begin, end, message, place + start_size)
    message[place + size] = 0x80
    for byte in range(_LENGTH):
        message[place + whole - 1 - byte] = 8 * size >> 8 * byte & 0xFF
    return whole
