"""Which documents a training step has read, in words: for when something is wrong with it."""

import numpy as np

from model.command.corpus import Split
from model.data import PackedWindows

MOST_NAMED = 20
MOST_CHARACTERS = 60  # of a document's beginning


def documents_of_step(parts: Split, windows: PackedWindows, end: int, step: int) -> str:
    """The documents in the batch of `step`, counted from 0: file, line, byte and first words of each. `end`: the token
    after each document. Reads the text again."""
    tokens = windows.shards.shards[0]
    ends = np.flatnonzero(tokens == end)
    wanted: set[int] = set()
    for span in windows.spans_at(step):
        first, last = np.searchsorted(ends, [span.start, span.stop - 1])
        wanted.update(range(int(first), int(last) + 1))
    learnt = (place for place, out in zip(parts.text.placed(), parts.held_out, strict=True) if not out)
    named = []
    for number, document in enumerate(learnt):
        if number in wanted:
            words = " ".join(document.text[: 4 * MOST_CHARACTERS].split())
            shown = words[:MOST_CHARACTERS] + ("…" if len(words) > MOST_CHARACTERS else "")
            named.append(f"{document.path} line {document.line:,} (byte {document.offset:,}): {printable(shown)}")
            if len(named) == min(MOST_NAMED, len(wanted)):
                break
    if len(wanted) > len(named):
        named.append(f"and {len(wanted) - len(named):,} more")
    return "\n  ".join(["The documents of this step:", *named])


def printable(text: str) -> str:
    """What could command a terminal is written out."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
