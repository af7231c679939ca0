"""Digests by the processor's own instructions are those of hashlib."""

from hashlib import sha256

import numpy as np
import pytest

from tasks.text.sha256 import halves_of_digests, has_instructions

pytestmark = pytest.mark.skipif(not has_instructions(), reason="the processor has no instructions for SHA-256")


@pytest.mark.parametrize("start", [b"\0", b"file:///a.jsonl\0", b"x" * 55, b"y" * 64, b"z" * 200])
@pytest.mark.parametrize("sizes", [range(200), range(300, 0, -7), [5], [0, 0], [100_000, 0, 1, 64, 70_001], []])
def test_as_hashlib(start: bytes, sizes: list[int]) -> None:
    texts = [bytes(np.random.default_rng(size).integers(0, 256, size, np.uint8)) for size in sizes]
    data = np.frombuffer(b"before" + b"".join(texts), np.uint8)
    offsets = np.cumsum([6, *map(len, texts)])
    found = halves_of_digests(data, offsets, np.frombuffer(start, np.uint8))
    assert [bytes(half) for half in found] == [sha256(start + text).digest()[:16] for text in texts]
