"""The folder that `train` writes: what it holds, whose run it is, and how a finished model gets into it.

While a run goes on, all is in `DIR/training/`: recipe.json, tokenizer.json, train.bin, held_out.bin, digests.json of
these three, curve.jsonl, checkpoints/. At its end the model's files and curve.jsonl go into `DIR`, `training.json`
(recipe, figures, and the SHA-256 of those files) comes last, and `DIR/training/` goes. Nothing in the result tells time
or place: equal runs give equal folders.
"""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.command.errors import CommandError
from model.files import digest, fsync, write_whole

FINISHED, UNFINISHED, RECIPE = "training.json", "training", "recipe.json"
_logger = logging.getLogger(__name__)


class TrainingFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / UNFINISHED
        self.finished = path / FINISHED

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Makes the folder and keeps other processes out. Raises CommandError where it holds something else, or
        another process trains in it."""
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise CommandError(f"{self.path} is a file, or a link to nothing: name a folder with --out.")
        held = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        if held and not self._is_own(held):
            raise CommandError(f"{self.path} holds other files, such as {min(held)}: name a new folder with --out.")
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CommandError(
                    f"another process is training in {self.path}: wait for it, or name another --out."
                ) from error
            yield
        finally:
            os.close(descriptor)

    def _is_own(self, held: set[str]) -> bool:
        """Whether the folder, which holds entries of these names, was made by `train`: by what says so, or it was ended
        before it could say so."""
        if FINISHED in held or (self.work / RECIPE).exists():
            return True
        return held == {UNFINISHED} and self.work.is_dir() and {*os.listdir(self.work)} <= {f".writing-{RECIPE}"}

    def result(self, identity: dict[str, Any]) -> dict[str, Any] | None:
        """The figures of the finished run, or None where there is none yet: then the folder is this run's.

        Raises CommandError where the folder belongs to a run of another recipe or text that has learnt something, and
        where a file of the finished model is not as it was.
        """
        recipe = self.work / RECIPE
        known = _read(self.finished) or _read(recipe)
        begun = self.finished.exists() or any(self.work.glob("checkpoints/step-*"))
        differences = [] if known is None else _differences(known, identity)
        if differences and begun:
            raise CommandError(
                f"{self.path} holds a run with {', '.join(differences)}: name another folder with --out, or delete "
                f"this one to start over."
            )
        if differences or self.finished.exists():  # nothing learnt yet, or all of it published
            shutil.rmtree(self.work, ignore_errors=True)
        if self.finished.exists():
            assert known is not None
            self._check(known)
            return dict(known["result"])
        self.work.mkdir(exist_ok=True)
        write_whole(recipe, json.dumps(identity, indent=2).encode() + b"\n")
        return None

    def publish(self, exported: Path, identity: dict[str, Any], result: dict[str, Any]) -> None:
        """Moves the exported files into the folder, writes training.json and deletes what was only for training."""
        curve = self.work / "curve.jsonl"
        files = {file.name: digest(file) for file in sorted([*exported.iterdir(), curve])}
        for file in sorted(exported.iterdir()):
            fsync(file)
            file.replace(self.path / file.name)
        shutil.copyfile(curve, self.path / curve.name)  # left there for a run killed just now
        told = {**identity, "result": result, "files": files}
        write_whole(self.finished, json.dumps(told, indent=2).encode() + b"\n")
        shutil.rmtree(self.work)

    def _check(self, known: dict[str, Any]) -> None:
        for file in _not_as_told(self.path, known.get("files", {})):
            raise CommandError(
                f"{file} {'has been changed' if file.is_file() else 'is gone'} since the training ended: delete "
                f"{self.path} to train again, or name another folder with --out."
            )


def finished_model(path: Path) -> Path:
    """The path, unless training there is still going on or was stopped: then CommandError. Warns of files that are not
    as the training left them: someone may have meant to change them."""
    if (path / UNFINISHED / RECIPE).exists() and not (path / FINISHED).exists():
        raise CommandError(f"the training in {path} is not finished: run its `train` command again, it goes on.")
    for file in _not_as_told(path, _published(path / FINISHED)):
        if file.is_file():
            _logger.warning("%s has been changed since the training ended", file)
    return path


def _not_as_told(folder: Path, files: Mapping[str, str]) -> Iterator[Path]:
    """The files that are gone or not as their SHA-256 tells."""
    for name, expected in files.items():
        file = folder / name
        if not file.is_file() or digest(file) != expected:
            yield file


def _published(path: Path) -> dict[str, str]:
    """The SHA-256 of each file of the model, if this file of its folder tells them."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    files = content.get("files") if isinstance(content, dict) else None
    return files if isinstance(files, dict) else {}


def _differences(known: dict[str, Any], identity: dict[str, Any]) -> list[str]:
    """How the known run differs, in words."""
    old, new = known.get("recipe", {}), identity["recipe"]
    names = [*new, *sorted(old.keys() - new.keys())]
    settings = [f"{name}={old.get(name)!r}, not {new.get(name)!r}" for name in names if old.get(name) != new.get(name)]
    return [*settings, *(["another text"] if known.get("text") != identity["text"] else [])]


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CommandError(
            f"{path} is damaged ({error}): name another folder with --out, or delete this one."
        ) from error
    needed = ("recipe", "result") if path.name == FINISHED else ("recipe",)
    known: dict[str, Any] = content if isinstance(content, dict) else {}
    if not all(isinstance(part, dict) for part in (*map(known.get, needed), known.get("files", {}))):
        raise CommandError(f"{path} was not written by `train`: name another folder with --out.")
    return known
