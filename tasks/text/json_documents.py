"""Files named .json, which hold one JSON document: a list of rows, or a row; many hold JSON lines instead."""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePath
from typing import Any, BinaryIO

from tasks.text.compression import DAMAGED
from tasks.text.decoding import decode_from
from tasks.text.encodings import NotText
from tasks.text.formats import plain_name

_CHUNK = 1 << 20
_BETWEEN = re.compile(r"[ \t\r\n]*,?[ \t\r\n]*")


class NotOneDocument(ValueError):
    """A file is not one JSON document whose rows can be read; says why."""


def may_be_document(path: PurePath) -> bool:
    """By a file's name."""
    return plain_name(path).endswith(".json")


def begins_document(stream: BinaryIO, max_bytes: int) -> bool:
    """Whether a file that may be one JSON document is, by its first lines: unless one of them is an object of its own,
    as in JSON lines, of which the first may be malformed."""
    lines = list(_first_lines(stream, max_bytes))
    if not lines:
        return False
    value, begins_list = _parsed(lines[0]), lines[0].lstrip(b"\xef\xbb\xbf \t").startswith(b"[")
    if begins_list and (value is None or len(lines) == 1):
        return True
    return not any(isinstance(_parsed(line), dict) for line in lines)


def _first_lines(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    left = _CHUNK
    with suppress(*DAMAGED):  # which reading it will say
        while left > 0 and (line := stream.readline(max_bytes + 1)):
            left -= len(line)
            if not line.isspace():
                yield line


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def elements_of(stream: BinaryIO, max_bytes: int) -> Iterator[tuple[int, dict[str, Any], int, str | None]]:
    """The objects of a list, or the one object: the line each begins in, itself, its size and encoding (None: UTF-8).

    A list in UTF-8 is read element by element, so it may be larger than memory. An element, and any other document, is
    bounded by ``max_bytes``. Raises NotOneDocument where there is none, or not to its end; one of DAMAGED.
    """
    start = stream.read(_CHUNK)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") and _is_utf8(start):
        yield from _of_list(stream, start, max_bytes)
        return
    data = start + stream.read(max(0, max_bytes + 1 - len(start)))
    if len(data) > max_bytes:
        raise NotOneDocument(f"longer than max_document_bytes ({max_bytes:,})")
    try:
        text, encoding = decode_from(data)
        found = json.loads(text.removeprefix("\ufeff"))
    except (NotText, ValueError, RecursionError) as error:
        raise NotOneDocument(f"not valid JSON: {error}") from error
    for one in found if isinstance(found, list) else [found]:
        yield 1, _object(one), len(data), encoding


def _is_utf8(start: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise NotOneDocument(f"holds {type(value).__name__} where a row should be: it should be a list of objects")


def _of_list(stream: BinaryIO, data: bytes, max_bytes: int) -> Iterator[tuple[int, dict[str, Any], int, None]]:
    decoder, read = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")("replace")
    text = read.decode(data)
    at, line, ended = text.index("[") + 1, 1 + text.count("\n", 0, text.index("[")), False
    while True:
        begin = _next(text, at)
        try:
            if text[begin : begin + 1] == "]":
                return
            value, end = decoder.raw_decode(text, begin)
            if end == len(text) and not ended:
                raise ValueError("there may be more of it")
        except (ValueError, RecursionError) as error:
            if ended or len(text) - begin > max_bytes:
                raise NotOneDocument(f"not valid JSON in or after line {line}: {error}") from error
            data = stream.read(max(_CHUNK, len(text) - at))
            ended = not data
            text, at = text[at:] + read.decode(data, ended), 0
            continue
        line += text.count("\n", at, begin)
        yield line, _object(value), len(text[begin:end].encode(errors="replace")), None
        line += text.count("\n", begin, end)
        at = end


def _next(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    assert found is not None
    return found.end()
