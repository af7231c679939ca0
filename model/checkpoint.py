"""Checkpoints that survive a kill at any moment: atomic, checksummed, the last two kept, the newest valid one wins.

A checkpoint is a folder `step-00000100/` with `tensors.safetensors` (weights, optimiser moments, generators) and
`state.json` (everything else, and the SHA-256 of the tensors). It is written beside under a temporary name, fsynced and
renamed, so that it is there whole or not at all; nothing in it is a pickle.
"""

import hashlib
import json
import logging
import os
import platform
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.seeding import derive

_TENSORS, _STATE = "tensors.safetensors", "state.json"
_logger = logging.getLogger(__name__)


class CheckpointMismatch(ValueError):
    """A checkpoint belongs to another model or another configuration than the one that would go on from it."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` steps were done: named tensors (on the CPU) and JSON state."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run in one folder, which no other run may use at the same time."""

    def __init__(self, directory: Path, keep: int = 2) -> None:
        self.directory = directory
        self.keep = keep
        directory.mkdir(parents=True, exist_ok=True)

    def _folders(self) -> list[Path]:
        return sorted(self.directory.glob("step-????????"), reverse=True)

    def newest_step(self) -> int:
        """The step of the newest checkpoint, whole or damaged; 0 if there is none."""
        return max((int(folder.name.removeprefix("step-")) for folder in self._folders()), default=0)

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path:
        """Writes the checkpoint of `step` and deletes all but the newest `keep`. `state` must be JSON."""
        target = self.directory / f"step-{step:08d}"
        temporary = self.directory / f".writing-{step:08d}"
        for leftover in self.directory.glob(".writing-*"):
            shutil.rmtree(leftover)
        temporary.mkdir()
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(on_cpu, temporary / _TENSORS)
        content = {"step": step, "tensors_sha256": _sha256(temporary / _TENSORS), "state": state}
        (temporary / _STATE).write_text(json.dumps({**content, "sha256": _sha256_json(content)}), encoding="utf-8")
        for path in (temporary / _TENSORS, temporary / _STATE, temporary):
            _fsync(path)
        if target.exists():  # a damaged one of the same step, which `newest` passed over
            shutil.rmtree(target)
        temporary.rename(target)
        _fsync(self.directory)
        for old in self._folders()[self.keep :]:
            shutil.rmtree(old)
        return target

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint whose checksums hold, or None. A damaged one is logged and passed over."""
        for folder in self._folders():
            try:
                return _read(folder)
            except (OSError, ValueError, KeyError, SafetensorError) as problem:
                _logger.warning("Checkpoint %s is damaged and passed over: %s", folder.name, problem)
        return None


class CheckpointClock:
    """Says when the next periodic checkpoint is due: every `seconds` (0: after each step), but so seldom that saving
    takes at most `share` of the time; and, whatever that costs, after every `every_steps` steps."""

    def __init__(self, seconds: float, share: float = 0.02, every_steps: int | None = None) -> None:
        self.seconds = seconds
        self.share = share
        self.every_steps = every_steps
        self._cost = 0.0
        self._saved = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether a checkpoint is wanted after `step` steps."""
        if self.seconds <= 0 or (self.every_steps and step % self.every_steps == 0):
            return True
        return time.monotonic() - self._saved >= max(self.seconds, self._cost / self.share)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Wrap each save in this."""
        began = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._cost = self._saved - began


def _read(folder: Path) -> Checkpoint:
    content = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    claimed = content.pop("sha256")
    if _sha256_json(content) != claimed:
        raise ValueError(f"{_STATE} does not match its checksum")
    if _sha256(folder / _TENSORS) != content["tensors_sha256"]:
        raise ValueError(f"{_TENSORS} does not match its checksum")
    return Checkpoint(content["step"], load_file(folder / _TENSORS), content["state"])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_json(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def model_tensors(model: nn.Module, prefix: str = "model.") -> dict[str, Tensor]:
    """The state of `model` under `prefix`, a tied weight once (safetensors refuses shared memory)."""
    seen: set[tuple[int, torch.Size]] = set()
    tensors = {}
    for name, tensor in model.state_dict().items():
        identity = (tensor.data_ptr(), tensor.shape)
        if identity not in seen or tensor.numel() == 0:
            seen.add(identity)
            tensors[prefix + name] = tensor
    return tensors


def restore_model(model: nn.Module, tensors: dict[str, Tensor], prefix: str = "model.") -> None:
    """Copies what `model_tensors` gave into `model` in place. Raises CheckpointMismatch if names or shapes differ."""
    own = model_tensors(model, prefix)
    saved = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    differing = sorted(own.keys() ^ saved.keys()) or sorted(n for n in own if own[n].shape != saved[n].shape)
    if differing:
        raise CheckpointMismatch(
            f"the checkpoint was saved from another model: {differing[0]!r} and "
            f"{len(differing) - 1} more differ; use an empty checkpoint folder for this one"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])


def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of the global generators: tensors ("random.torch", "random.cuda.0", …) and JSON (Python, numpy)."""
    tensors = {"random.torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        tensors |= {f"random.cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return tensors, {
        "python": [version, list(words), gauss],
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
    }


def restore_random_state(tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Restores what `random_state` gave; generators of GPUs that are not there are left out."""
    torch.set_rng_state(tensors["random.torch"])
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"random.cuda.{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"random.cuda.{index}"], index)
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Within it the global generators start from `seed`; afterwards they are as they were before."""
    tensors, state = random_state()
    torch.manual_seed(derive(seed, "global", "torch"))
    random.seed(derive(seed, "global", "python"))
    np.random.seed(derive(seed, "global", "numpy") % 2**32)
    try:
        yield
    finally:
        restore_random_state(tensors, state)


def numerics(device: str | torch.device = "cpu", compile: bool = False) -> dict[str, str | int | bool]:
    """What can change the bytes of a result but not its meaning. Equal numerics and equal inputs give equal bytes."""
    kind = torch.device(device).type
    return {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cpu": str(torch.cpu.get_capabilities().get("cpu_name", platform.processor())),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if kind == "cuda" else kind,
        "compile": compile,
    }


def note_other_numerics(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Logs and returns how the numerics of a checkpoint differ from those it is resumed under (empty: not at all)."""
    names = sorted(saved.keys() | current.keys())
    changes = [
        f"{name}: {saved.get(name)!r} -> {current.get(name)!r}"
        for name in names
        if saved.get(name) != current.get(name)
    ]
    if changes:
        _logger.warning(
            "Resuming under other numerics (%s): the result will be of the same recipe, but its bytes may "
            "differ from those of an uninterrupted run.",
            "; ".join(changes),
        )
    return changes
