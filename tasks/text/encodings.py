"""Which legacy encoding bytes are in that are not UTF-8, and the text they hold.

uchardet (through resiliparse) names an encoding. Its name is taken
- of text whose words consist mostly of bytes ≥ 0x80 (Cyrillic, Greek, Chinese, Japanese …) if nearly all of it can be
  read so. Otherwise the encoding cannot be told, and the text is better left out than garbled;
- of text in Latin letters if the text, read so, is in a language that is written so (Polish, Czech, Turkish …).
  Otherwise it is Windows-1252 (or Latin-1, where a byte means nothing in that), the encoding of Western Europe.
"""

import codecs
import re
from collections.abc import Iterable
from functools import lru_cache

import pyarrow as pa
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

WESTERN = "cp1252"
SAMPLE_BYTES = 1 << 16
_CENTRAL = frozenset({"cs", "pl", "hu", "hr", "sk", "sl", "ro", "sr", "bs", "sq"})
_TURKISH, _BALTIC = frozenset({"tr", "az"}), frozenset({"lt", "lv", "et"})
_LATIN = {
    "cp1250": _CENTRAL, "iso8859-2": _CENTRAL, "cp852": _CENTRAL, "iso8859-16": _CENTRAL, "cp1254": _TURKISH,
    "iso8859-9": _TURKISH, "cp1257": _BALTIC, "iso8859-13": _BALTIC, "iso8859-4": _BALTIC, "cp1258": frozenset({"vi"}),
}  # fmt: skip
_OTHERS = frozenset({
    "cp1251", "koi8-u", "iso8859-5", "cp866", "mac-cyrillic", "cp1253", "iso8859-7", "cp1255", "iso8859-8", "cp1256",
    "iso8859-6", "cp874", "gb18030", "big5hkscs", "cp932", "euc-jp", "cp949",
})  # fmt: skip
_WIDER = {  # what an encoding is a part of, or as good as
    "koi8-r": "koi8-u", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932",
    "euc_kr": "cp949", "euc-kr": "cp949", "euc_jp": "euc-jp", "iso8859-11": "cp874", "tis-620": "cp874",
    "shift_jis-2004": "cp932", "ibm866": "cp866",
}  # fmt: skip
_WITHOUT_CONTROLS = {  # where bytes 0x80 to 0x9f stand, it is the encoding of Windows
    "iso8859-2": "cp1250", "iso8859-16": "cp1250", "iso8859-7": "cp1253", "iso8859-8": "cp1255", "iso8859-6": "cp1256",
    "iso8859-9": "cp1254", "iso8859-13": "cp1257", "iso8859-4": "cp1257",
}  # fmt: skip
_WORD = re.compile(rb"[A-Za-z\x80-\xff]*[\x80-\xff][A-Za-z\x80-\xff]+|[A-Za-z\x80-\xff]+[\x80-\xff][A-Za-z\x80-\xff]*")
_META = re.compile(rb"<meta\b[^>]{0,500}?\bcharset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.I)
_HIGH = bytes(range(0x80, 0x100))
_MOST_LATIN = 0.6  # share of bytes ≥ 0x80 in words that hold any: 0.1 to 0.5 in Latin letters, 0.7 to 1 in others
_FEWEST = 3  # bytes ≥ 0x80 in words that can tell anything
_FEW = 0.05  # share of a text's bytes that can be mere punctuation
_DAMAGED = 10
_AS_WESTERN = "read_as_windows_1252"
_MOST_LOST = 0.01  # share of a text's characters that an encoding may leave without meaning
UNTOLD = "is in no encoding that can be told; write it as UTF-8"


class NotText(ValueError):
    """The bytes are no text, or not in an encoding that can be told."""


def to_text(data: bytes, encoding: str | None = None) -> tuple[str, str]:
    """Text of bytes that are not UTF-8, and their encoding. encoding: of the file they are of; without it, it is told
    by them.

    UTF-8 with a few other bytes stays UTF-8, and those are read as Windows-1252. Raises NotText where the encoding
    cannot be told, or where they are in another.
    """
    text = data.decode(errors="replace")
    if _DAMAGED * text.count("\ufffd") < len(data) - len(text):  # 1 to 3 more bytes a character that is sound
        return data.decode(errors=_AS_WESTERN), "utf-8"
    encoding = encoding or encoding_of(sample_of(data.splitlines(keepends=True)))
    if encoding == WESTERN:
        try:
            return data.decode(WESTERN), WESTERN
        except UnicodeDecodeError:
            return data.decode("latin-1"), WESTERN
    text = "" if encoding == UNTOLD else data.decode(encoding, errors="replace")
    if encoding == UNTOLD or text.count("\ufffd") > _MOST_LOST * len(text) + (len(text) > 20):
        raise NotText(UNTOLD if encoding == UNTOLD else f"is not in {encoding}, as the rest of the file seems to be")
    return text, encoding


def _western(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    try:
        return wrong.decode(WESTERN), error.end
    except UnicodeDecodeError:
        return wrong.decode("latin-1"), error.end


codecs.register_error(_AS_WESTERN, _western)


@lru_cache(64)
def encoding_of(sample: bytes) -> str:
    """A codec's name, or ``UNTOLD``."""
    sample = sample[:SAMPLE_BYTES]
    found = _named(sample)
    words = b"".join(_WORD.findall(sample))
    num_high = len(words) - len(words.translate(None, _HIGH))
    if num_high < _FEWEST:
        return WESTERN
    if num_high <= _MOST_LATIN * len(words):
        return found if found in _LATIN and _language(sample.decode(found, "replace")) in _LATIN[found] else WESTERN
    if found not in _OTHERS:
        return UNTOLD if num_high > _FEW * len(sample) else WESTERN
    lost = codecs.getincrementaldecoder(found)("replace").decode(sample).count("\ufffd")
    return found if lost <= _MOST_LOST * num_high else UNTOLD


def _named(sample: bytes) -> str:
    found = (detect_encoding(sample, max_len=SAMPLE_BYTES, html5_compatible=False) or "").lower()
    has_controls = any(0x80 <= byte <= 0x9F for byte in set(sample))
    if found == "mac-cyrillic" and not has_controls:
        return "cp1251"
    found = _WIDER.get(found, found)
    return _WITHOUT_CONTROLS.get(found, found) if has_controls else found


def _language(text: str) -> str | None:
    from tasks.text.language import identify  # takes most of a second, and is seldom needed

    found: list[str | None] = identify(pa.array([text], pa.large_string())).to_pylist()
    return found[0]


def stated_in(page: bytes) -> str | None:
    """The encoding that an HTML page states in its head, if Python knows it: a codec's name."""
    found = _META.search(page, 0, 4096)
    try:
        mapped = map_encoding_to_html5(found.group(1).decode()) if found else None
        name = codecs.lookup(mapped).name if mapped else None
    except (LookupError, UnicodeDecodeError, ValueError):
        return None
    return None if name in (None, "utf-8") else _WIDER.get(name, name)


def sample_of(lines: Iterable[bytes]) -> bytes:
    """Of the lines of a file, the first that are not UTF-8: what tells the encoding of all such lines."""
    found: list[bytes] = []
    size = 0
    for line in lines:
        if size >= SAMPLE_BYTES:
            break
        try:
            line.decode()
        except UnicodeDecodeError:
            found.append(line)
            size += len(line)
    return b"".join(found)
