"""Files anywhere that fsspec reaches: s3://, gs://, https://, zip://…::s3://… and others.

A file is known by what its filesystem says of its content (an ETag, a checksum, a generation), else by its size and
time of change, else by reading it. It is copied to this machine while it is read, and must then still be the same.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.registry import known_implementations
from fsspec.utils import get_protocol

from tasks.lineage.errors import ConfigError, PedigreeError, is_full
from tasks.lineage.home import home
from tasks.text.compression import UNREADABLE
from tasks.text.folder_licences import READ_BYTES, FolderLicences
from tasks.text.formats import format_of

_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "checksum", "crc32c", "CRC", "generation", "version_id")
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "updated", "created", "date_time")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """``digest``: of what the filesystem says of the content, or of the content itself. ``license``: by the licence
    files that lie with it, of a folder or archive; None of a single file."""

    uri: str
    name: str
    size: int
    digest: str
    license: str | None


class NotFetched(PedigreeError):
    """Something elsewhere cannot be had at this time; a stage that is retried may get it."""


def is_remote(path: str) -> bool:
    """Whether a source's path is a URI that this module reads; file:// is not, that is a path on this machine."""
    return "://" in path and not path.startswith("file://")


def remote_files(url: str) -> tuple[list[RemoteFile], list[str], int]:
    """The files with readable names that a URI names: itself, those in it, or those that match it as a glob; sorted.

    Also the URIs of the others, whose names say no format, and how many hidden files there are. Raises ConfigError
    where it cannot be read, naming the package that would help.
    """
    _refuse_secrets(url)
    try:
        filesystem, path = _opened(url)
        filesystem.invalidate_cache()
        if "*" in path:
            top = path[: path.index("*")].rpartition("/")[0]
            found = filesystem.glob(path, detail=True)
        elif format_of(_name(path)) is None and filesystem.isdir(path):
            top, found = path, filesystem.find(path, detail=True)
        else:
            top, found = None, {path: filesystem.info(path)}
    except FileNotFoundError:
        return [], [], 0
    except ConfigError:
        raise
    except Exception as error:  # each filesystem's client raises errors of its own
        raise ConfigError(f"{url} cannot be read: {type(error).__name__}: {error}") from error
    folders = None if top is None else _licences_beside(filesystem, path, top, found)
    files, left, hidden = [], [], 0
    for name, info in sorted(found.items()):
        if info.get("type") == "directory":
            continue
        if any(part.startswith(".") for part in PurePosixPath(name).parts[1:]):
            hidden += 1
            continue
        uri = _address(url, filesystem, name)
        if format_of(_name(name)) is None:
            left.append(uri)
            continue
        licence = None if folders is None else folders.of(PurePosixPath(name))
        files.append(RemoteFile(uri, name, info.get("size") or 0, _digest(filesystem, name, info), licence))
    return files, left, hidden


def _licences_beside(filesystem: Any, path: str, top: str, found: Iterable[str]) -> FolderLicences:
    """By the licence files among what lies below ``top``, as deep as the files that were found."""
    if "*" in path:
        depth = None if "**" in path else path[len(top) :].strip("/").count("/") + 1
        try:
            found = filesystem.find(top, maxdepth=depth)
        except Exception:  # errors of its own; what cannot be listed says no licence
            found = []
    names: dict[PurePosixPath, dict[str, str]] = {}
    for name in found:
        names.setdefault(PurePosixPath(name).parent, {})[PurePosixPath(name).name] = name

    def start_of(place: PurePath) -> bytes | None:
        try:
            with filesystem.open(names[PurePosixPath(place.parent)][place.name], "rb") as file:
                return bytes(file.read(READ_BYTES))
        except Exception:
            return None

    return FolderLicences(PurePosixPath(top), lambda folder: names.get(PurePosixPath(folder), ()), start_of)


@contextlib.contextmanager
def copied(uri: str, digest: str) -> Iterator[Path | None]:
    """A copy of a remote file for as long as it is read; None if it is gone, or no longer what it was.

    Raises NotFetched if it cannot be had now, and what a damaged archive raises (compression.UNREADABLE, but OSError).
    """
    filesystem, path = _opened(uri)
    folder = home() / "cache" / "fetched"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        copy = Path(temporary, _name(path).name)
        filesystem.invalidate_cache()
        try:
            with filesystem.open(path, "rb") as remote, copy.open("wb") as local:
                shutil.copyfileobj(remote, local, _CHUNK)
            filesystem.invalidate_cache()
            unchanged = _digest(filesystem, path, filesystem.info(path)) == digest
        except FileNotFoundError:
            unchanged = False
        except Exception as error:  # each filesystem's client raises errors of its own
            if is_full(error) or (isinstance(error, UNREADABLE) and not isinstance(error, OSError)):
                raise
            raise NotFetched(f"{uri} cannot be fetched: {type(error).__name__}: {error}") from error
        yield copy if unchanged else None


def _opened(url: str) -> tuple[Any, str]:
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        protocol = get_protocol(url)
        hint = known_implementations.get(protocol, {}).get("err", str(error))
        raise ConfigError(f"{url} cannot be read here: {hint} (pip install it beside this program).") from error
    except ValueError as error:
        raise ConfigError(f"{url} cannot be read: {error}. Known protocols: see fsspec's documentation.") from error


def _refuse_secrets(url: str) -> None:
    """An address stands in every record of what is made from it, so it must hold no password."""
    for part in url.split("::"):
        if urlsplit(part).password:
            raise ConfigError(
                "the source's address holds a password, which would stand in the lineage for ever: give credentials "
                "by the environment or the filesystem's own configuration, as fsspec documents."
            )


def _address(url: str, filesystem: Any, name: str) -> str:
    """The URI of one file: its own in a chain such as zip://inside.txt::https://…/archive.zip."""
    first, chained, rest = url.partition("::")
    if chained:
        return f"{get_protocol(first)}://{name.lstrip('/')}::{rest}"
    return str(filesystem.unstrip_protocol(name))


def _name(path: str) -> PurePosixPath:
    """What a path is called: of a URL without its query."""
    return PurePosixPath(urlsplit(path).path if "://" in path else path)


def _digest(filesystem: Any, path: str, info: dict[str, Any]) -> str:
    size = info.get("size")
    said = next((name for name in (*_VERSIONS, *_TIMES) if info.get(name) not in (None, "")), None)
    if said is not None and size is not None:
        value = info[said]
        value = value.timestamp() if isinstance(value, datetime) else value  # a listing may say it in another form
        return hashlib.sha256(json.dumps([size, str(value)]).encode()).hexdigest()
    with filesystem.open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
