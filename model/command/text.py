"""Plain text files as documents, read line by line: a file larger than memory is no trouble, unless it is one document.

Bytes that are not UTF-8 become U+FFFD and are counted. A file with NUL bytes, or with so many bad ones that it is
hardly UTF-8, is refused.
"""

import argparse
import atexit
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from model.command.errors import CommandError, TextError
from model.command.passages import passages

MOST_INVALID = 0.1  # of a file's bytes; Latin-1 prose of European languages has up to 0.05
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Document(NamedTuple):
    """A document, and where it begins: the line, counted from 1, and the byte, counted from 0."""

    text: str
    path: Path
    line: int
    offset: int


class Limit(NamedTuple):
    """Documents of more than `document` bytes are cut into passages of at most `passage`."""

    document: int
    passage: int


@dataclass
class TextFiles:
    """Files and how they are cut into documents: at blank lines, at lines that are `separator`, or not at all; and
    how long a document may be."""

    paths: Sequence[Path]
    separator: str | None = None
    whole_files: bool = False
    limit: Limit | None = None
    copies: Mapping[Path, Path] = field(default_factory=dict)  # of pipes, which can be read once only
    invalid: Counter[str] = field(default_factory=Counter)  # bytes that were not UTF-8, by file, of the last reading
    separated: int = 0  # lines that were `separator`, of the last reading

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(self._readable(path).stat().st_size for path in self.paths)

    def _readable(self, path: Path) -> Path:
        return self.copies.get(path, path)

    def remarks(self) -> Iterator[str]:
        """What a user should know of the last reading."""
        for path, invalid in self.invalid.items():
            if invalid:
                yield f"{path}: {invalid:,} bytes are not UTF-8 and are read as U+FFFD"
        if self.separator is not None and not self.separated:
            yield f"no line is exactly {self.separator!r}: nothing was cut at --document-separator"

    def how(self) -> str:
        """How the files are cut, in words."""
        if self.whole_files:
            return "one document a file"
        cut = "cut at blank lines" if self.separator is None else f"cut at lines {self.separator!r}"
        if self.limit is None:
            return cut
        return f"{cut}, and what is longer than {self.limit.document:,} bytes at lines, sentences or words"

    def documents(self) -> Iterator[str]:
        """Every document that is not only white space, in order. Raises TextError for what is not text."""
        return (document.text for document in self.placed())

    def placed(self) -> Iterator[Document]:
        """As `documents`, each with its place."""
        self.invalid.clear()
        self.separated = 0
        for path in self.paths:
            size = 0
            for line, offset, content in self._cut(path):
                size += len(content)
                for start, passage in self._limited(content):
                    text = self._decode(path, passage)
                    if text.strip():
                        yield Document(text, path, line + content.count(b"\n", 0, start), offset + start)
            if self.invalid[str(path)] > MOST_INVALID * size:
                raise TextError(
                    f"{path} is not UTF-8: {self.invalid[str(path)]:,} of its {size:,} bytes are invalid. Convert it "
                    f"first: iconv -f ENCODING -t UTF-8"
                )

    def _decode(self, path: Path, content: bytes) -> str:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            self.invalid[str(path)] += len(content) - len(content.decode("utf-8", "ignore").encode())
            return content.decode("utf-8", "replace")

    def _limited(self, document: bytes) -> Iterator[tuple[int, bytes]]:
        if self.limit is None or len(document) <= self.limit.document:
            yield 0, document
        else:
            yield from passages(document, self.limit.passage)

    def _cut(self, path: Path) -> Iterator[tuple[int, int, bytes]]:
        """Each document, with the line and the byte that it begins at."""
        wanted = None if self.separator is None else self.separator.encode()
        lines: list[bytes] = []
        first, began, position = 1, 0, 0
        with self._readable(path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if b"\0" in line:
                    raise TextError(
                        f"{path} holds a NUL byte in line {number}, so it is no plain text. Leave it out, or, if it is "
                        f"UTF-16, convert it first: iconv -f UTF-16 -t UTF-8"
                    )
                position += len(line)
                if number == 1 and line.startswith(BYTE_ORDER_MARK):
                    line, began = line.removeprefix(BYTE_ORDER_MARK), len(BYTE_ORDER_MARK)
                if self.whole_files:
                    lines.append(line)
                elif (not line.strip()) if wanted is None else line.rstrip(b"\r\n") == wanted:
                    yield first, began, b"".join(lines).rstrip(b"\r\n")
                    lines, first, began = [], number + 1, position
                    self.separated += wanted is not None
                else:
                    lines.append(line)
        yield first, began, b"".join(lines) if self.whole_files else b"".join(lines).rstrip(b"\r\n")


def meant(argument: str) -> str:
    """A text given in the shell, which hands on bytes that need not be UTF-8; those become U+FFFD."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def batches(documents: Iterable[str], characters: int = 1_000_000) -> Iterator[list[str]]:
    """Documents in lists of about so many characters."""
    batch: list[str] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def add_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """The texts, and how they are cut into documents."""
    parser.add_argument(
        "--text", nargs="+", type=Path, required=required, default=[], metavar="FILE", help="plain UTF-8 text files"
    )
    cut = parser.add_mutually_exclusive_group()
    cut.add_argument(
        "--document-separator",
        metavar="LINE",
        help="documents end at lines that are exactly this (default: blank lines)",
    )
    cut.add_argument("--one-document-per-file", action="store_true", help="do not cut the files")


def given_text(options: argparse.Namespace) -> TextFiles:
    """The files that were named. Raises TextError where one is missing or is a folder."""
    for path in options.text:
        if path.is_dir():
            raise TextError(f"{path} is a folder: name the files in it, such as {path}/*.txt")
        if not path.exists():
            raise TextError(f"{path} does not exist: name text files.")
    separator = options.document_separator
    if separator is not None and (not separator or "\n" in separator):
        raise CommandError(
            "--document-separator takes one line, such as '<|endoftext|>'; leave it out for blank lines."
        )
    pipes = dict.fromkeys(path for path in options.text if not path.is_file())
    copies = {path: _copied(path) for path in pipes}
    return TextFiles(options.text, separator, options.one_document_per_file, copies=copies)


def _copied(pipe: Path) -> Path:
    """A copy that goes when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="text-of-a-pipe-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pipe.open("rb") as source, (folder / pipe.name).open("wb") as copy:
        shutil.copyfileobj(source, copy)
    return folder / pipe.name
