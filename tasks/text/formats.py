"""Which files can be read as text, and how: told by a file's name alone.

Source code is told by the language that its suffix stands for, by the names of GitHub's linguist in lower case.
"""

from pathlib import PurePath
from typing import Literal

Format = Literal["jsonl", "parquet", "text", "markdown", "rst", "html", "code", "warc", "pdf"]
FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet", ".txt": "text", ".text": "text",
    ".md": "markdown", ".markdown": "markdown", ".rst": "rst", ".html": "html", ".htm": "html", ".xhtml": "html",
    ".tex": "text", ".pdf": "pdf", ".warc": "warc", ".wet": "warc",
}  # fmt: skip
LANGUAGES: dict[str, str] = {
    ".py": "python", ".pyi": "python", ".pyx": "cython", ".c": "c", ".h": "c", ".cc": "c++", ".cpp": "c++",
    ".cxx": "c++", ".hh": "c++", ".hpp": "c++", ".cu": "cuda", ".rs": "rust", ".go": "go", ".java": "java",
    ".kt": "kotlin", ".kts": "kotlin", ".scala": "scala", ".js": "javascript", ".mjs": "javascript",
    ".jsx": "javascript", ".ts": "typescript", ".tsx": "tsx", ".rb": "ruby", ".php": "php", ".cs": "c#", ".fs": "f#",
    ".swift": "swift", ".m": "objective-c", ".hs": "haskell", ".ml": "ocaml", ".ex": "elixir", ".exs": "elixir",
    ".erl": "erlang", ".clj": "clojure", ".lisp": "common lisp", ".el": "emacs lisp", ".lua": "lua", ".pl": "perl",
    ".pm": "perl", ".r": "r", ".jl": "julia", ".f90": "fortran", ".sql": "sql", ".sh": "shell", ".bash": "shell",
    ".ps1": "powershell", ".zig": "zig", ".nim": "nim", ".dart": "dart", ".proto": "protocol buffer",
    ".cmake": "cmake", ".css": "css", ".scss": "scss",
}  # fmt: skip
TABLES = frozenset({"jsonl", "parquet"})  # formats whose rows are documents, or pairs
COMPRESSIONS = (".gz", ".zst")
_AS_THEY_ARE = frozenset({"parquet", "pdf"})  # read by seeking, so not through a decompressor


def format_of(path: PurePath) -> Format | None:
    """Format by the file's name, with or without .gz or .zst; None for a name that says nothing."""
    suffix, compressed = _suffix(path), path.name.lower().endswith(COMPRESSIONS)
    if not suffix:
        return "text" if compressed else None
    found = FORMATS.get(suffix) or ("code" if suffix in LANGUAGES else None)
    return None if compressed and found in _AS_THEY_ARE else found


def is_read_as(path: PurePath, other: PurePath) -> bool:
    """Whether two names say that a file is to be read in the same way."""
    return _reading(path) == _reading(other)


def _reading(path: PurePath) -> tuple[object, ...]:
    name = path.name.lower()
    compression = name[-4:] if name.endswith(COMPRESSIONS) else ""
    return format_of(path), language_of(path), compression, _suffix(path) == ".json"


def language_of(path: PurePath) -> str | None:
    """The programming language that a file's name stands for, if any."""
    return LANGUAGES.get(_suffix(path))


def plain_name(path: PurePath) -> str:
    """File name in lower case without the compression's suffix."""
    name = path.name.lower()
    return name.rsplit(".", 1)[0] if name.endswith(COMPRESSIONS) else name


def _suffix(path: PurePath) -> str:
    name = plain_name(path)
    return "." + name.rpartition(".")[2] if "." in name else ""
