"""The documentation of installed Python packages: which files hold it, and where they lie.

A file is named ``pypi://<distribution>/<version>/<path>``, with the path as the wheel's RECORD gives it: the same on
every machine. Where it lies is found again at reading time.
"""

import csv
import fnmatch
import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote

from tasks.text import licences

# Folders whose text is not documentation for the package's users, or is another package's.
_LEFT_OUT_FOLDERS = {
    "test", "tests", "testing", "_tests", "_vendor", "_vendored", "vendor", "vendored",
    "third_party", "thirdparty", "extern", "externals", "__pycache__", "node_modules",
}  # fmt: skip
_LEFT_OUT_FILE = re.compile(r"^(test_.*|.*_test|conftest)\.py$")
SUFFIX_KINDS = {".py": "docstring", ".md": "markdown", ".rst": "rst"}


@dataclass(frozen=True)
class PackageFile:
    """A file that holds documentation.

    ``kind``: a kind of text; "metadata" for METADATA, which ends with the README; "license" for the licence itself.
    """

    path: str
    kind: str


@dataclass(frozen=True)
class Package:
    """An installed distribution. ``name`` is normalised (PEP 503)."""

    name: str
    version: str
    root: Path
    license: str | None
    files: tuple[PackageFile, ...]

    def uri(self, path: str) -> str:
        return f"pypi://{self.name}/{self.version}/{quote(path)}"


def normalise(name: str) -> str:
    """PEP 503: ``Foo_Bar.baz`` → ``foo-bar-baz``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> list[Package]:
    """Packages of the running environment, by name; of two with the same name, the one that would be imported.

    A file that several distributions list belongs to the first of them. Distributions without a RECORD (not put there
    by pip) are left out, and so is this program itself.
    """
    chosen: dict[str, importlib.metadata.Distribution] = {}
    headers: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        text = distribution.read_text("METADATA")
        if text is None:
            continue
        header = text.partition("\n\n")[0]
        found = re.search(r"^Name: *(.+)$", header, re.MULTILINE)
        name = normalise(found.group(1).strip()) if found else ""
        if name and name != "pedigree" and name not in chosen and _matches(name, include, exclude):
            chosen[name], headers[name] = distribution, header
    packages, claimed = [], set[str]()
    for name in sorted(chosen):
        package = _package(name, chosen[name], headers[name], claimed)
        if package is not None:
            packages.append(package)
    return packages


def _matches(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    def any_of(patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, _normalised_pattern(pattern)) for pattern in patterns)

    return any_of(include) and not any_of(exclude)


def _normalised_pattern(pattern: str) -> str:
    return re.sub(r"[-_.]+", "-", pattern.strip()).lower()


def _package(
    name: str, distribution: importlib.metadata.Distribution, header: str, claimed: set[str]
) -> Package | None:
    record = distribution.read_text("RECORD")
    if record is None:
        return None
    root = Path(str(distribution.locate_file("")))
    files = []
    for path in sorted(row[0] for row in csv.reader(record.splitlines()) if row):
        kind = _file_kind(path)
        if kind is not None and (place := f"{root}/{path}") not in claimed:
            claimed.add(place)
            files.append(PackageFile(path, kind))
    fields = HeaderParser().parsestr(header)
    licence = licences.from_metadata(
        fields.get("License-Expression"), fields.get("License"), fields.get_all("Classifier") or []
    )
    if licence is None:
        own = [file.path for file in files if file.kind == "license" and not licences.is_of_others(file.path)]
        licence = licences.from_files({path: _text_of(root / path) for path in own})
    return Package(name, fields.get("Version", "0"), root, licence, tuple(files))


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # the snapshot puts an unreadable file into quarantine; here it only tells no licence


def _file_kind(path: str) -> str | None:
    if path.startswith(("..", "/")) or path.endswith(".pyc"):  # half of a wheel's files are compiled ones
        return None
    folder, _, name = path.rpartition("/")
    in_metadata = folder.partition("/")[0].endswith(".dist-info")
    if in_metadata and name == "METADATA":
        return "metadata"
    kind = SUFFIX_KINDS.get("." + name.rpartition(".")[2])
    if kind != "docstring" and licences.is_licence_file(path):
        return "license" if in_metadata else None
    if kind is None or _left_out(folder) or _LEFT_OUT_FILE.search(name):
        return None
    return None if kind == "docstring" and module_name(path) is None else kind


@cache
def _left_out(folder: str) -> bool:
    return not _LEFT_OUT_FOLDERS.isdisjoint(folder.lower().split("/"))


def module_name(path: str) -> str | None:
    """Dotted name of the module in a file: ``pandas/core/__init__.py`` → ``pandas.core``; None if it has none."""
    parts = path.removesuffix(".py").split("/")
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


def within(packages: Iterable[tuple[str, int]], max_bytes: int | None, seed: int) -> set[str]:
    """Names of the packages to take, given (name, bytes): in the order of their names' hash, each that still fits.

    An order by hash, and not by size or name, so that the choice is a fair sample of all of them.
    """
    by_hash = sorted(packages, key=lambda item: hashlib.sha256(f"{seed}\0{item[0]}".encode()).digest())
    taken, total = set(), 0
    for name, size in by_hash:
        if max_bytes is None or total + size <= max_bytes:
            taken.add(name)
            total += size
    return taken


@cache
def _root(name: str, version: str) -> Path | None:
    for package in importlib.metadata.distributions(name=name):
        if package.version == version:
            return Path(str(package.locate_file("")))
    return None


def locate(uri: str) -> Path | None:
    """Where the file of a ``pypi://`` URI lies here; None if that version of the package is not installed."""
    name, version, path = uri.removeprefix("pypi://").split("/", 2)
    root = _root(name, version)
    return None if root is None else root / unquote(path)
