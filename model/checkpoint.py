"""Checkpoints that survive a kill at any moment: atomic, checksummed, the last two kept, the newest valid one wins.

A checkpoint is a folder `step-00000100/` with `tensors.safetensors` (weights, optimiser moments, generators) and
`state.json` (everything else, and the SHA-256 of the tensors). It is written beside under a temporary name, fsynced and
renamed, so that it is there whole or not at all; nothing in it is a pickle.

Where the model is divided over processes (model.sharding), each writes its rows, in files of its own such as
`tensors-00001-of-00002.safetensors`; what one file alone names is whole. Reading joins the rows, so that any number of
processes can go on from them.
"""

import hashlib
import json
import logging
import platform
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.distributed import ALONE, Ranks
from model.files import digest, fsync
from model.processor import has_kernels
from model.products import has_unit
from model.seeding import derive
from model.sharding import own_rows, rows_like

_STATE = "state.json"
_logger = logging.getLogger(__name__)


class CheckpointMismatch(ValueError):
    """A checkpoint belongs to another model or another configuration than the one that would go on from it."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` steps were done: named tensors (on the CPU) and JSON state."""

    step: int
    tensors: Mapping[str, Tensor]  # each is read when it is asked for
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run in one folder, which no other run may use at the same time."""

    def __init__(self, directory: Path, keep: int = 2) -> None:
        self.directory = directory
        self.keep = keep
        directory.mkdir(parents=True, exist_ok=True)

    def _folders(self) -> list[Path]:
        return sorted(self.directory.glob("step-????????"), reverse=True)

    def save(self, step: int, tensors: Mapping[str, Tensor], state: dict[str, Any], ranks: Ranks = ALONE) -> None:
        """Writes the checkpoint of `step` and deletes all but the newest `keep`. `state` must be JSON.

        `ranks`: the processes that call this together, each with its rows of the tensors, the first with `state`.
        """
        target = self.directory / f"step-{step:08d}"
        temporary = self.directory / f".writing-{step:08d}"
        if ranks.first:
            for leftover in self.directory.glob(".writing-*"):
                shutil.rmtree(leftover)
            temporary.mkdir()
        ranks.wait()
        own = temporary / _tensors_name(ranks.rank, ranks.size)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, own)
        fsync(own)
        digests = ranks.gather(bytes.fromhex(digest(own)))
        if ranks.first:
            named = {_tensors_name(rank, ranks.size): found.hex() for rank, found in enumerate(digests)}
            content = {"step": step, "tensors": named, "state": state}
            (temporary / _STATE).write_text(json.dumps({**content, "sha256": _sha256_json(content)}), encoding="utf-8")
            fsync(temporary / _STATE)
            fsync(temporary)
            if target.exists():  # a damaged one of the same step, which `newest` passed over
                shutil.rmtree(target)
            temporary.rename(target)
            fsync(self.directory)
            for old in self._folders()[self.keep :]:
                shutil.rmtree(old)
        ranks.wait()

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


class _Tensors(Mapping[str, Tensor]):
    """The tensors in some files: of those that several name, the rows in the order of the files."""

    def __init__(self, paths: list[Path]) -> None:
        self._files = [safe_open(path, framework="pt") for path in paths]
        self._places: dict[str, list[Any]] = {}
        for file in self._files:
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                self._places.setdefault(name, []).append(file)

    def __getitem__(self, name: str) -> Tensor:
        parts = [file.get_tensor(name) for file in self._places[name]]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _tensors_name(rank: int, size: int) -> str:
    return "tensors.safetensors" if size == 1 else f"tensors-{rank + 1:05d}-of-{size:05d}.safetensors"


def _read(folder: Path) -> Checkpoint:
    content = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{_STATE} holds no object")
    claimed = content.pop("sha256")
    if _sha256_json(content) != claimed:
        raise ValueError(f"{_STATE} does not match its checksum")
    for name, expected in content["tensors"].items():
        if digest(folder / name) != expected:
            raise ValueError(f"{name} does not match its checksum")
    return Checkpoint(content["step"], _Tensors([folder / name for name in content["tensors"]]), content["state"])


def _sha256_json(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def model_tensors(model: nn.Module, prefix: str = "model.") -> dict[str, Tensor]:
    """The state of `model` under `prefix`, a tied weight once (safetensors refuses shared memory); of sharded weights
    the rows of this process."""
    return {name: own_rows(tensor) for name, tensor in _state(model, prefix).items()}


def _state(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    seen: set[tuple[int, torch.Size]] = set()
    tensors = {}
    for name, tensor in model.state_dict().items():
        own = own_rows(tensor)
        identity = (own.data_ptr(), own.shape)
        if identity not in seen or own.numel() == 0:
            seen.add(identity)
            tensors[prefix + name] = tensor
    return tensors


def restore_model(model: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "model.") -> None:
    """Copies what `model_tensors` gave, of all processes, into `model` in place. Raises CheckpointMismatch if names or
    shapes differ."""
    own = _state(model, prefix)
    differing = sorted(own.keys() ^ {name for name in tensors if name.startswith(prefix)})
    with torch.no_grad():
        for name, tensor in own.items():
            saved = None if differing else tensors[name]
            if saved is None or saved.shape != tensor.shape:
                raise CheckpointMismatch(
                    f"the checkpoint was saved from another model: {(differing or [name])[0]!r} differs; use an empty "
                    "checkpoint folder for this one"
                )
            own_rows(tensor).copy_(rows_like(saved, tensor))


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


def restore_random_state(tensors: Mapping[str, Tensor], state: dict[str, Any]) -> None:
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
        "machine_code": has_kernels("fp32"),
        "matrix_unit": has_unit(),
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
