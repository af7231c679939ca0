"""Bytes to text without losing a document to its encoding, and without letting binary data through as text."""

import codecs
import contextlib
import re

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_MOST_CONTROL = 0.1  # share of control characters above which bytes are taken for binary data
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


BINARY = "binary data, not text"
_TEXT_BYTES = bytes([*b"\t\n\x0c\r\x1b", *range(0x20, 0x7F), *range(0x80, 0x100)])


_BOM_STARTS = frozenset(mark[:1] for mark, _ in _BOMS)


class NotText(ValueError):
    """The bytes are no text in any encoding that is tried."""


def decode(data: bytes) -> str:
    """Text of ``data``: by its byte-order mark, else UTF-8, else Windows-1252, else Latin-1.

    What a wrong guess garbles, the cleaning stage can mend, since every byte is kept. Raises NotText if more than a
    tenth of the characters are control characters.
    """
    if data[:1] in _BOM_STARTS:
        for mark, encoding in _BOMS:
            if data.startswith(mark):
                return _checked(data[len(mark) :].decode(encoding, errors="replace"))
    if b"\xc2" not in data and not data.translate(None, _TEXT_BYTES):  # no control character, however it is read
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode()
    for encoding in ("utf-8", "cp1252"):
        try:
            return _checked(data.decode(encoding))
        except UnicodeDecodeError:
            continue
    return _checked(data.decode("latin-1"))


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
