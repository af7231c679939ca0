"""Which flow runs have lineage pages to be drawn again: those of their own runs, and of what they were made from.

A file per flow run under `home()/mirror/pages`, written when the flow ends and removed when MLflow has every page; so
a server that is away loses nothing. It holds what is done already. Two processes at one file draw a page twice.
"""

import json
from pathlib import Path

from tasks.lineage.home import home


def add(flow_run_id: str) -> None:
    _save(_folder() / f"{flow_run_id}.json", set())


def waiting() -> list[str]:
    """Flow run ids, the longest waiting first."""
    return [path.stem for path in sorted(_folder().glob("*.json"), key=lambda path: path.stat().st_mtime_ns)]


def done(flow_run_id: str) -> set[str]:
    """What has been drawn for it."""
    try:
        return set(json.loads((_folder() / f"{flow_run_id}.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return set()


def keep(flow_run_id: str, finished: set[str]) -> None:
    """What has been drawn so far; the rest waits for the next time."""
    path = _folder() / f"{flow_run_id}.json"
    if path.exists():
        _save(path, finished)


def remove(flow_run_id: str) -> None:
    (_folder() / f"{flow_run_id}.json").unlink(missing_ok=True)


def _save(path: Path, finished: set[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(sorted(finished)))
    draft.replace(path)


def _folder() -> Path:
    return home() / "mirror" / "pages"
