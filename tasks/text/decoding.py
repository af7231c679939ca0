"""Bytes to text without losing a document to its encoding, and without letting binary data through as text."""

import codecs
import contextlib
import re
from collections.abc import Callable

from tasks.text.encodings import NotText, to_text

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_MOST_CONTROL = 0.1  # share of control characters above which bytes are taken for binary data
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


BINARY = "binary data, not text"
_TEXT_BYTES = bytes([*b"\t\n\x0c\r\x1b", *range(0x20, 0x7F), *range(0x80, 0x100)])


_BOM_STARTS = frozenset(mark[:1] for mark, _ in _BOMS)


def decode(data: bytes, legacy: Callable[[], str] | None = None) -> str:
    """Text of ``data``: by its byte-order mark, else UTF-8, else in a legacy encoding.

    legacy: gives the encoding of the file that the data are of, where that is not UTF-8; without it, it is judged by
    the data alone (encodings.py). Raises NotText if more than a tenth of the characters are control characters, or if
    the encoding cannot be told.
    """
    return decode_from(data, legacy)[0]


def decode_from(data: bytes, legacy: Callable[[], str] | None = None) -> tuple[str, str | None]:
    """The same with the encoding that was found; None for UTF-8."""
    if data[:1] in _BOM_STARTS:
        for mark, encoding in _BOMS:
            if data.startswith(mark):
                text = _checked(data[len(mark) :].decode(encoding, errors="replace"))
                return text, None if encoding == "utf-8" else encoding
    if b"\xc2" not in data and not data.translate(None, _TEXT_BYTES):  # no control character, however it is read
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(), None
    with contextlib.suppress(UnicodeDecodeError):
        return _checked(data.decode()), None
    if is_binary(data[:100_000]):
        raise NotText(BINARY)
    text, encoding = to_text(data, legacy() if legacy else None)
    return _checked(text), encoding


def wide_encoding(start: bytes) -> str | None:
    """UTF-16 or UTF-32, if that is what a byte-order mark at the start says."""
    return next((encoding for mark, encoding in _BOMS[1:] if start.startswith(mark)), None)


def is_binary(start: bytes) -> bool:
    """Whether data that begins so is no text in any encoding of single bytes or UTF-8."""
    return len(start.translate(None, _TEXT_BYTES)) > _MOST_CONTROL * len(start)


def _checked(text: str) -> str:
    head = text[:100_000]
    if len(_CONTROL.findall(head)) > _MOST_CONTROL * len(head):
        raise NotText(BINARY)
    return text


def without_surrogates(text: str) -> str:
    r"""Text that can be written as UTF-8: surrogate pairs joined, lone surrogates (``\ud800`` in JSON) made U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
