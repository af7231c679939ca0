"""How the layers of a model are run while it learns: compiled, or with less memory. Values stay what they are.

`torch.compile` is given one layer, not the whole model: the layers share their code, so one small graph for forward and
one for backward serve them all, which compile in a few seconds, while a graph of the whole model takes minutes. What
stands outside (embedding, final norm, the chunked loss) is a few large operations that gain nothing.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.errors import CompilerMissing
from model.transformer import Backbone, RunLayer, run_layer

MOST_SHAPES = 128


def _compiled(run: RunLayer) -> RunLayer:
    # One graph for each length of rows. Past the limit a length would run plainly, and which one would depend on where
    # a resumed run began; graphs of another training in this process must not count, for the same reason.
    limits: dict[str, Any] = {"recompile_limit": MOST_SHAPES, "isolate_recompiles": True}  # unknown to torch's types
    compiled = torch.compile(run, dynamic=False, **limits)

    def run_compiled(*arguments: Any) -> tuple[Tensor, Tensor | None]:
        try:
            return compiled(*arguments)
        except RuntimeError as error:
            if "InvalidCxxCompiler" not in str(error):
                raise
            raise CompilerMissing(
                "compiling needs a C++ compiler, and none is found: install one (g++ or clang), or leave compiling out"
            ) from error

    return run_compiled


def _recomputing(run: RunLayer) -> RunLayer:
    """Keeps only what goes into a layer, and runs the layer again in the backward pass (Chen et al. 2016)."""

    def recompute(*arguments: Any) -> tuple[Tensor, Tensor | None]:
        # No layer draws random numbers, so there is no generator to save.
        x, added = checkpoint(run, *arguments, use_reentrant=False, preserve_rng_state=False)
        return x, added

    return recompute


@contextmanager
def accelerated(*models: nn.Module, compile: bool = False, activation_checkpointing: bool = False) -> Iterator[None]:
    """Within it every `Backbone` in `models` runs its layers so wherever gradients are wanted.

    compile: raises CompilerMissing at the first layer where there is no C++ compiler.
    activation_checkpointing: activations of one layer at a time instead of all, for a third more computation.
    """
    run: RunLayer = _compiled(run_layer) if compile else run_layer
    if activation_checkpointing:
        run = _recomputing(run)
    backbones = [module for model in models for module in model.modules() if isinstance(module, Backbone)]
    for backbone in backbones:
        backbone.run_layer, backbone.may_fuse = run, not compile
    try:
        with warnings.catch_warnings() if compile else nullcontext():
            if compile:  # Dynamo looks at the .grad of a layer's input as it traces; PyTorch warns that there is none
                warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
            yield
    finally:
        for backbone in backbones:
            backbone.run_layer, backbone.may_fuse = run_layer, True
