"""The files that a path, folder or glob names, and what lies among them that cannot be read as one.

A folder is walked without following links to folders, so no loop of links and no link to somewhere else can lead
astray; links to files are followed. FIFOs, sockets and devices are never opened: that could wait for ever.
"""

import glob
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.text.formats import format_of, is_read_as

Unreadable = list[tuple[str, str]]  # (URI, reason)
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISBLK, "a device"), (stat.S_ISCHR, "a device"),
)  # fmt: skip


@dataclass
class Found:
    """The readable files that a path names, sorted; the others, whose names say no format; and how many hidden files
    and folders were passed over."""

    files: list[Path] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)
    hidden: int = 0


def files_of(named: Path, unreadable: Unreadable) -> Found | None:
    """What a path names, None if nothing. Hidden files and folders are left out of folders and globs. What cannot be
    read is added to ``unreadable``.

    A link stands for the file that it leads to; but how that is read is said by the name of the link, so where the two
    names say different things (a link into a store of unnamed blobs), the link stands for itself.
    """
    all_found = Found()
    if named.is_dir():
        found = sorted(_walk(named, unreadable, all_found))
    elif (matches := glob.glob(str(named), recursive=True)) or os.path.lexists(named):
        found = [Path(path) for path in sorted(matches) or [str(named)]]
        found = [path for path in found if not path.is_dir()]
    else:
        return None
    taken: set[Path] = set()
    for path in found:
        problem = _problem(path)
        if problem is not None:
            unreadable.append((path.absolute().as_uri(), problem))
        elif format_of(path) is None:
            all_found.left.append(path.absolute())
        else:
            target = path.resolve()
            taken.add(target if is_read_as(path, target) else path.parent.resolve() / path.name)
    all_found.files = sorted(taken)
    return all_found


def reason_of(error: OSError) -> str:
    """Why a file or folder cannot be read, for people."""
    return error.strerror or type(error).__name__


def _walk(folder: Path, unreadable: Unreadable, found: Found) -> Iterator[Path]:
    """Everything in a folder that is no folder."""

    def refused(error: OSError) -> None:
        unreadable.append((Path(error.filename).absolute().as_uri(), reason_of(error)))

    for parent, folders, files in os.walk(folder, onerror=refused):
        for name in [name for name in folders if not name.startswith(".") and os.path.islink(f"{parent}/{name}")]:
            place = Path(parent, name)
            unreadable.append((place.absolute().as_uri(), "a symbolic link to a folder is not followed"))
        found.hidden += sum(name.startswith(".") for name in (*folders, *files))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _problem(path: Path) -> str | None:
    """Why a path is no file to be read; None for a regular file, or a link to one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            return f"a symbolic link that leads nowhere: {error.strerror}"
        return reason_of(error)
    if stat.S_ISREG(mode):
        return None
    return next((f"{name}, not a file" for is_kind, name in _KINDS if is_kind(mode)), "not a file")
