"""The licence of a file by the licence file that lies nearest to it, on this machine or elsewhere."""

from collections.abc import Callable, Iterable
from pathlib import Path, PurePath

from tasks.text import licences
from tasks.text.formats import format_of

READ_BYTES = 20_000  # of a licence file
_NO_WORDING = frozenset({"code", "jsonl", "parquet"})  # license.py is a program


class FolderLicences:
    """The licence of a file by the licence files (LICENSE, COPYING …) in its folder, or else in the nearest above it.

    Where they lie nearest they decide alone: if one of them is not recognised, the licence is unknown, whatever a
    folder above says. Those of third parties count for nothing. Several are told of with AND (licences.from_files).
    """

    def __init__(
        self, top: PurePath, names_in: Callable[[PurePath], Iterable[str]], read: Callable[[PurePath], bytes | None]
    ) -> None:
        """top: the folder that the source names; what lies above it says nothing of its files. names_in: the names of
        a folder's files. read: the first ``READ_BYTES`` of one, None if it cannot be read."""
        self._top, self._names_in, self._read = top, names_in, read
        self._known: dict[PurePath, str | None] = {}

    def of(self, file: PurePath) -> str | None:
        """SPDX expression, or None where no licence file tells one for certain."""
        return self._of_folder(file.parent)

    def _of_folder(self, folder: PurePath) -> str | None:
        if folder != self._top and self._top not in folder.parents:
            return None
        if folder not in self._known:
            names = sorted(name for name in self._names_in(folder) if _counts(name))
            if names:
                self._known[folder] = licences.from_files({name: self._text(folder / name) for name in names})
            else:
                self._known[folder] = None if folder == self._top else self._of_folder(folder.parent)
        return self._known[folder]

    def _text(self, path: PurePath) -> str | None:
        data = self._read(path)
        return None if data is None else data.decode(errors="replace")


def on_this_machine(top: Path) -> FolderLicences:
    """By the licence files in a folder here."""
    return FolderLicences(top.resolve(), _names_in, _start_of)


def _counts(name: str) -> bool:
    return licences.is_licence_file(name) and not licences.is_of_others(name) and format_of(PurePath(name)) not in (
        _NO_WORDING
    )  # fmt: skip


def _names_in(folder: PurePath) -> list[str]:
    try:
        return [path.name for path in Path(folder).iterdir() if not path.is_dir()]
    except OSError:
        return []


def _start_of(path: PurePath) -> bytes | None:
    try:
        if not Path(path).is_file():  # a FIFO would wait for ever
            return None
        with Path(path).open("rb") as file:
            return file.read(READ_BYTES)
    except OSError:
        return None
