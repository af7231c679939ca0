"""Files that a run makes for itself: there whole or not at all, and made again where they are not as they were made."""

import json
from collections.abc import Callable
from pathlib import Path

from model.command.progress import Progress
from model.files import digest, fsync, write_whole

DIGESTS = "digests.json"


class WorkFiles:
    """The files in a folder, and their SHA-256 in `digests.json` there."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder, self.progress = folder, progress
        self._digests = _read(folder / DIGESTS)

    def made(self, name: str, make: Callable[[Path], None]) -> Path:
        """The file of this name. `make`, which gives equal bytes each time, writes it into the path that it is given,
        unless the file is there as it was when it was made."""
        path = self.folder / name
        if path.exists():
            if digest(path) == self._digests.get(name):
                return path
            if name in self._digests:
                self.progress.say(f"{path} has been changed since it was made, and is made again from the text")
        temporary = self.folder / f".writing-{name}"
        make(temporary)
        fsync(temporary)
        self._digests[name] = digest(temporary)
        temporary.replace(path)
        write_whole(self.folder / DIGESTS, json.dumps(self._digests, indent=2).encode() + b"\n")
        return path


def _read(path: Path) -> dict[str, str]:
    """What the file says, or nothing where it is not there or damaged: then all is made again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
