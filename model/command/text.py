"""Plain text files as documents, read line by line: a file larger than memory is no trouble, unless it is one document.

Bytes that are not UTF-8 become U+FFFD and are counted. A file with NUL bytes, or with so many bad ones that it is
hardly UTF-8, is refused.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.command.errors import CommandError, TextError

MOST_INVALID = 0.1  # of a file's bytes; Latin-1 prose of European languages has up to 0.05
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass
class TextFiles:
    """Files and how they are cut into documents: at blank lines, at lines that are `separator`, or not at all."""

    paths: Sequence[Path]
    separator: str | None = None
    whole_files: bool = False
    invalid: Counter[str] = field(default_factory=Counter)  # bytes that were not UTF-8, by file, of the last reading

    def how(self) -> str:
        """How the files are cut, in words."""
        if self.whole_files:
            return "one document a file"
        return "cut at blank lines" if self.separator is None else f"cut at lines {self.separator!r}"

    def documents(self) -> Iterator[str]:
        """Every document that is not only white space, in order. Raises TextError for what is not text."""
        self.invalid.clear()
        for path in self.paths:
            size = 0
            for content in self._cut(path):
                size += len(content)
                yield from self._decode(path, content)
            if self.invalid[str(path)] > MOST_INVALID * size:
                raise TextError(
                    f"{path} is not UTF-8: {self.invalid[str(path)]:,} of its {size:,} bytes are invalid. Convert it "
                    f"first: iconv -f ENCODING -t UTF-8"
                )

    def _decode(self, path: Path, content: bytes) -> Iterator[str]:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            self.invalid[str(path)] += len(content) - len(content.decode("utf-8", "ignore").encode())
            text = content.decode("utf-8", "replace")
        if text.strip():
            yield text

    def _cut(self, path: Path) -> Iterator[bytes]:
        wanted = None if self.separator is None else self.separator.encode()
        lines: list[bytes] = []
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if b"\0" in line:
                    raise TextError(
                        f"{path} holds a NUL byte in line {number}, so it is no plain text. Leave it out, or, if it is "
                        f"UTF-16, convert it first: iconv -f UTF-16 -t UTF-8"
                    )
                if number == 1:
                    line = line.removeprefix(BYTE_ORDER_MARK)
                if self.whole_files:
                    lines.append(line)
                elif (not line.strip()) if wanted is None else line.rstrip(b"\r\n") == wanted:
                    yield b"".join(lines).rstrip(b"\r\n")
                    lines = []
                else:
                    lines.append(line)
        yield b"".join(lines) if self.whole_files else b"".join(lines).rstrip(b"\r\n")


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
    return TextFiles(options.text, separator, options.one_document_per_file)
