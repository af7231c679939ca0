"""A document that is too long, cut into passages at the best places there are."""

import re
from collections import deque
from collections.abc import Iterator

# From the best place to end a passage at to the worst; each pattern ends where the next passage may begin.
PLACES = (
    re.compile(rb"\n"),
    re.compile(rb"[.!?][\"')\]]*\s+|" + "|".join("。！？؟।").encode()),  # the end of a sentence
    re.compile(rb"\s"),
)
FIRST_OF_CHARACTER = re.compile(rb"[^\x80-\xbf]")  # in UTF-8 the other bytes of a character are 0x80 to 0xBF


def passages(document: bytes, longest: int) -> Iterator[tuple[int, bytes]]:
    """The passages of a document of UTF-8 (or nearly so), none longer than `longest` bytes, and where each begins.

    Each ends at the last end of a line that fits, else of a sentence, else of a word, else of a character; white space
    there belongs to neither passage, but for what a line begins with.
    """
    start = 0
    while len(document) - start > longest:
        end = _end(document, start, start + longest)
        yield start, document[start:end].rstrip()
        start = end
    yield start, document[start:]


def _end(document: bytes, start: int, limit: int) -> int:
    """Where the passage that begins at `start` ends: after it, at `limit` at most."""
    for place in PLACES:
        found = deque(place.finditer(document, start, limit), maxlen=1)
        if found:
            return found[0].end()
    if not FIRST_OF_CHARACTER.match(document, limit):  # within a character: leave all of it to the next passage
        for before in range(limit, max(start, limit - 4), -1):
            if FIRST_OF_CHARACTER.match(document, before):
                return before
    return limit
