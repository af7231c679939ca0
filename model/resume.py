"""What a training loop saves so that it can go on to the same bytes, and how it finds that again."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from model.checkpoint import (
    CheckpointMismatch,
    Checkpoints,
    model_tensors,
    note_other_numerics,
    random_state,
    restore_model,
    restore_random_state,
)
from model.distributed import Ranks
from model.optim import Optimizers
from model.sharding import is_sharded

_logger = logging.getLogger(__name__)
_MOMENTS = "optimizer."


@dataclass(frozen=True)
class Resumable:
    """Model, moments and the global generators of a training by `ranks`. Other settings than `config` cannot go on
    from it, other `numerics` can, and are told of."""

    model: nn.Module
    optimizers: Optimizers
    config: Mapping[str, Any]
    numerics: dict[str, Any]
    ranks: Ranks

    @property
    def sharded(self) -> bool:
        """Whether each rank has its rows of the model alone."""
        return any(is_sharded(parameter) for parameter in self.model.parameters())

    @property
    def conditions(self) -> dict[str, Any]:
        """The numerics, and how many train."""
        together = {"processes": self.ranks.size, "sharded": self.sharded} if self.ranks.together else {}
        return self.numerics | together

    def save(self, checkpoints: Checkpoints, step: int, more: Mapping[str, Any]) -> None:
        """Saves all that the steps after `step` depend on; `more` is what the loop itself keeps, as JSON.

        All ranks call it. A model that each holds whole is written by the first one alone."""
        state = {"config": dict(self.config), "numerics": self.conditions, **more}
        tensors = model_tensors(self.model)
        tensors |= {f"{_MOMENTS}{name}": tensor for name, tensor in self.optimizers.state_tensors().items()}
        if self.ranks.first:
            random_tensors, state["random"] = random_state()
            tensors |= random_tensors
        else:  # only rows are its own; of a single number each rank has a copy
            tensors = {name: tensor for name, tensor in tensors.items() if tensor.ndim > 0}
        if self.sharded:
            checkpoints.save(step, tensors, state, self.ranks)
        elif self.ranks.first:
            checkpoints.save(step, tensors, state)
        self.ranks.wait()

    def resume(self, checkpoints: Checkpoints, last_step: int) -> tuple[int, dict[str, Any]]:
        """Restores the newest valid checkpoint; returns the number of steps it was made after and the JSON that was
        saved, (0, {}) if there is none. After `last_step` no moments are restored: there is no step left for them.

        Raises CheckpointMismatch if it is another run's."""
        checkpoint = checkpoints.newest()
        if checkpoint is None:
            return 0, {}
        step, tensors, state = checkpoint.step, checkpoint.tensors, checkpoint.state
        saved, own = state.get("config", {}), self.config
        differing = sorted(name for name in saved.keys() | own.keys() if saved.get(name) != own.get(name))
        if differing:
            name = differing[0]
            raise CheckpointMismatch(
                f"{checkpoints.directory} holds a run with {name}={saved.get(name)!r}, not {own.get(name)!r}; use "
                "another checkpoint folder, or delete this one to restart"
            )
        restore_model(self.model, tensors)
        if step < last_step:
            note_other_numerics(state["numerics"], self.conditions)
            self.optimizers.load_state_tensors(tensors, _MOMENTS)
        restore_random_state(tensors, state["random"])
        _logger.info("Going on after step %d of %d from %s", step, last_step, checkpoints.directory)
        return step, state
