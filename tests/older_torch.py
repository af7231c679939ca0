"""For a machine whose PyTorch is older than the pinned one: `compile_as_pinned` lets it compile as the pinned one does.

Before 2.12 `torch.compile` had no limits of a single call; here the whole process gets the limit instead. And 2.11 gave
a `Function` whose forward pass changes a tensor in place wrong gradients, often zeros, and said nothing: it took that
tensor for an output too (https://github.com/pytorch/pytorch/issues/180642).
"""

import inspect
from typing import Any

import torch
from torch._dynamo.variables import higher_order_ops


def compile_as_pinned() -> None:
    """Replaces `torch.compile`, and what compiles a `Function`, in this process where it knows no `recompile_limit`."""
    compile, collect = torch.compile, getattr(higher_order_ops, "collect_intermediate_outputs", None)
    if "recompile_limit" in inspect.signature(compile).parameters:
        return

    def compile_by_limit_of_process(
        *arguments: Any, recompile_limit: int | None = None, isolate_recompiles: bool = False, **options: Any
    ) -> Any:
        if recompile_limit is not None:
            torch._dynamo.config.recompile_limit = recompile_limit
        return compile(*arguments, **options)

    def collect_no_other_names_of_outputs(tx: Any, tracer: Any, outputs: Any, filter: bool = False) -> Any:
        return collect(tx, tracer, outputs, True)

    torch.compile = compile_by_limit_of_process  # type: ignore[assignment]
    if collect is not None:
        higher_order_ops.collect_intermediate_outputs = collect_no_other_names_of_outputs
