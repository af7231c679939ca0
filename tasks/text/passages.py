"""Plain text files cut into passages, line by line and in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tasks.text.compression import DAMAGED
from tasks.text.decoding import BINARY, decode_from, is_binary
from tasks.text.encodings import NotText
from tasks.text.readers import Passage, Rejected, excerpt_of, legacy_of, lines, newlines, opened, start_of


def read_passages(path: Path, document_chars: int, max_bytes: int) -> Iterator[Passage | Rejected]:
    """A text file cut at blank lines into passages of about ``document_chars``; a shorter file is one passage.

    A passage ends at the first blank line after it has reached half of ``document_chars``, or where the next line
    would take it above ``document_chars``: so paragraphs stay whole where they can.
    """
    stream, wide = opened(path)
    with stream:
        try:
            start = start_of(stream)
        except DAMAGED as error:
            yield Rejected(None, f"the file is cut short or damaged: {error}", "", path.stat().st_size)
            return
        if is_binary(start):
            yield Rejected(None, BINARY, excerpt_of(start), path.stat().st_size)
            return
        decoded = _decoded(lines(stream, max_bytes), legacy_of(path, max_bytes), wide)
        yield from _cut(decoded, document_chars, max_bytes)


def _decoded(
    numbered: Iterator[tuple[int, bytes | Rejected]], legacy: Callable[[], str], wide: str | None
) -> Iterator[tuple[int, str | Rejected, str | None]]:
    for number, line in numbered:
        if isinstance(line, Rejected):
            yield number, line, None
            continue
        try:
            text, encoding = decode_from(line, legacy) if len(line) > 64 else _decode_short(line, legacy)
        except NotText as error:
            yield number, Rejected(number, str(error), excerpt_of(line), len(line)), None
        else:
            yield number, text, wide or encoding


def _decode_short(line: bytes, legacy: Callable[[], str]) -> tuple[str, str | None]:
    try:
        return line.decode(), None
    except UnicodeDecodeError:
        return decode_from(line, legacy)


def _cut(
    numbered: Iterable[tuple[int, str | Rejected, str | None]], document_chars: int, max_bytes: int
) -> Iterator[Passage | Rejected]:
    held: list[str] = []
    size = first = last = 0
    started, encoding, limit = False, None, document_chars
    for number, line, found in numbered:
        if isinstance(line, Rejected):
            yield line
            continue
        blank = not line.strip()
        if held and (size + len(line) > limit or (blank and size >= limit / 2)):
            yield Passage(first, last, newlines("".join(held)), False, encoding)
            started, held, size, encoding = True, [], 0, None
        if not held and blank:
            continue
        if not held:
            first = number
        held.append(line)
        size += len(line)
        last = number
        if found is not None:
            encoding = found
        if "-----" in line:  # perhaps of a PEM block, such as a private key, which is not cut
            inside = line.rfind("-----BEGIN ") > line.rfind("-----END ")
            limit = max_bytes if inside else document_chars
    if held:
        yield Passage(first, last, newlines("".join(held)), not started, encoding)
