"""Compressed files as plain streams of bytes, in bounded memory. A cut or damaged stream raises, it never just ends."""

import codecs
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pyarrow as pa
import zstandard

if TYPE_CHECKING:
    from typing_extensions import Buffer

DAMAGED = (EOFError, OSError, zlib.error, zstandard.ZstdError)
UNREADABLE = (*DAMAGED, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, pa.ArrowException)
_GZIP, _ZSTD = ".gz", ".zst"
_CHUNK = 1 << 18


def is_compressed(path: Path) -> bool:
    """Whether `open_plain` decompresses a file."""
    return path.suffix.lower() in (_GZIP, _ZSTD)


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed if its name ends in .gz or .zst.

    Reading raises one of ``DAMAGED`` where the stream is cut short or broken.
    """
    if path.suffix.lower() == _GZIP:
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix.lower() == _ZSTD:
        return io.BufferedReader(_ZstdStream(path), _CHUNK)
    return path.open("rb", _CHUNK)


def as_utf8(stream: BinaryIO, encoding: str) -> BinaryIO:
    """A stream of bytes in UTF-16 or UTF-32, after its byte-order mark, as one in UTF-8."""
    return io.BufferedReader(_Recoded(stream, encoding), _CHUNK)


class _Recoded(io.RawIOBase):
    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._ready = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready and not self._ended:
            data = self._stream.read(_CHUNK)
            self._ended = not data
            self._ready = memoryview(self._decoder.decode(data, self._ended).encode(errors="replace"))
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _ZstdStream(io.RawIOBase):
    """One or more zstd frames. (zstandard's own reader takes a cut frame for the end of the file.)"""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame = zstandard.ZstdDecompressor().decompressobj(read_across_frames=False)
        self._inside = False
        self._waiting = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer") -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready:
            if not self._decompress():
                return 0
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _decompress(self) -> bool:
        data = self._waiting or self._file.read(1 << 14)
        self._waiting = b""
        if not data:
            if self._inside:
                raise EOFError("the zstd stream ends before its end marker")
            return False
        self._inside = True
        self._ready = memoryview(self._frame.decompress(data))
        if self._frame.eof:
            self._waiting = self._frame.unused_data
            self._frame = zstandard.ZstdDecompressor().decompressobj(read_across_frames=False)
            self._inside = False
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
