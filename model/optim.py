"""AdamW and Muon behind one object: groups, one step, one learning-rate factor, one named state to save.

Which parameter goes where (`classify`):
* hidden: matrices inside the network (attention and feed-forward projections). Muon, if asked for, else AdamW; decayed.
* head: output matrices, recognised by the names in `HEADS`. AdamW; decayed.
* plain: embeddings (`nn.Embedding`, so also a head tied to one), norms, biases, scalars. AdamW; **never decayed**:
  decay would pull a rare token's row to zero between its uses, and a norm's gain away from 1.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.muon import Muon
from model.sharding import is_sharded, own_rows, rows_like, sharded_like

OptimizerName = Literal["muon", "adamw"]
HEADS = frozenset({"lm_head", "score"})


def classify(model: nn.Module) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """The trainable parameters of `model` by group ("hidden", "head", "plain"), each once, in the model's order."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {"hidden": [], "head": [], "plain": []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim != 2 or id(parameter) in embeddings:
            group = "plain"
        else:
            group = "head" if HEADS.intersection(name.split(".")) else "hidden"
        groups[group].append((name, parameter))
    return groups


class Optimizers:
    """The optimisers of one model, stepped together.

    `state_tensors` and `load_state_tensors` name every moment by its parameter ("exp_avg.model.norm.weight"), so that a
    checkpoint needs no pickle and does not depend on the order of parameters.
    """

    def __init__(self, model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        for group in self._groups():
            group["base_lr"] = group["lr"]

    def _groups(self) -> list[dict]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def parameters(self) -> list[nn.Parameter]:
        """Every parameter that is optimised."""
        return [parameter for group in self._groups() for parameter in group["params"]]

    def set_factor(self, factor: float) -> None:
        """Sets every group's learning rate to its own base rate times `factor`."""
        for group in self._groups():
            group["lr"] = group["base_lr"] * factor

    def step(self) -> None:
        """Applies the gradients."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        """Frees the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """Every state tensor as "<state>.<parameter>" (views, not copies); of sharded ones the rows of this process."""
        return {
            f"{key}.{self._names[parameter]}": own_rows(value)
            for optimizer in self.optimizers
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Restores what `state_tensors` gave (all processes' rows joined), found under `prefix` in `tensors`. Raises
        ValueError if it belongs to other parameters."""
        parameters = {self._names[parameter]: parameter for parameter in self.parameters()}
        owners = {
            parameter: optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for optimizer in self.optimizers:
            optimizer.state.clear()
        for saved_name in tensors:
            if not saved_name.startswith(prefix):
                continue
            full_name = saved_name.removeprefix(prefix)
            key, _, name = full_name.partition(".")
            if name not in parameters:
                raise ValueError(
                    f"the optimiser state holds {full_name!r}, but the model has no trainable parameter "
                    f"{name!r}: it was saved from another model"
                )
            parameter, value = parameters[name], tensors[saved_name]
            if key == "step":  # a number, the same for all rows
                restored = value.detach().clone().to(parameter.device)
            else:
                rows = rows_like(value, parameter).detach().clone().to(parameter.device)
                restored = sharded_like(rows, parameter)
            owners[parameter].state[parameter][key] = restored


def build_optimizers(
    model: nn.Module,
    optimizer: OptimizerName = "adamw",
    *,
    lr: float,
    adamw_lr: float | None = None,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    muon_dtype: torch.dtype = torch.float32,
) -> Optimizers:
    """The optimisers for `model` (also an `nn.ModuleDict` of several models).

    `lr` is the rate of the hidden matrices and `adamw_lr` (None: the same) that of all else; Muon's updates are scaled
    to AdamW's root mean square, so both are of one size. AdamW: Loshchilov & Hutter 2019. Muon: see model/muon.py.
    """
    groups = classify(model)
    rest = lr if adamw_lr is None else adamw_lr
    optimizers: list[torch.optim.Optimizer] = []
    adamw_groups = []
    if optimizer == "muon" and groups["hidden"]:
        hidden = [parameter for _, parameter in groups["hidden"]]
        optimizers.append(Muon(hidden, lr=lr, weight_decay=weight_decay, dtype=muon_dtype))
    else:
        adamw_groups.append({"params": [p for _, p in groups["hidden"]], "lr": lr, "weight_decay": weight_decay})
    adamw_groups.append({"params": [p for _, p in groups["head"]], "lr": rest, "weight_decay": weight_decay})
    adamw_groups.append({"params": [p for _, p in groups["plain"]], "lr": rest, "weight_decay": 0.0})
    adamw_groups = [group for group in adamw_groups if group["params"]]
    if adamw_groups:
        optimizers.append(torch.optim.AdamW(adamw_groups, lr=rest, betas=betas, eps=1e-8, fused=True))
    return Optimizers(model, optimizers)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float | None) -> Tensor:
    """Scales the gradients so that their joint L2 norm is at most `max_norm` (None: no limit); returns the norm before,
    a scalar tensor."""
    derived = [parameter.grad for parameter in parameters if parameter.grad is not None]
    gradients = [own_rows(gradient) for gradient in derived]
    norm = nn.utils.get_total_norm(gradients, foreach=True)
    if any(is_sharded(gradient) for gradient in derived):
        squares = norm.double().square()
        dist.all_reduce(squares)
        norm = squares.sqrt()
    if max_norm is not None and not norm <= max_norm:  # most steps need no pass over all gradients
        torch._foreach_mul_(gradients, max_norm / (float(norm) + 1e-6))
    return norm
