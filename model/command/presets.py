"""`presets`: what each preset of `train` costs: parameters, operations, memory."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from model.command.recipe import PRESETS, complete
from model.command.train import model_config
from model.footprint import Footprint, footprint

HEADER = ("preset", "parameters", "tokens", "FLOPs a token", "FLOPs in all", "memory: weights … moments", "activations")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Every preset's figures; without --json they are printed as a Markdown table."""
    found = []
    if not options.json:
        print("\n".join(table_head()))
    for name, preset in PRESETS.items():
        recipe = complete(preset)
        cost = footprint(
            model_config(recipe, recipe.vocab_size),
            rows=-(-recipe.batch_size // recipe.accumulation),
            context_length=recipe.context_length,
            optimizer=recipe.optimizer,
        )
        tokens = recipe.steps * recipe.batch_size * recipe.context_length
        found.append({"preset": name, "tokens": tokens, **asdict(cost), "flops": tokens * cost.flops_per_token})
        if not options.json:
            print(row(name, cost, tokens))
    return {"presets": found}


def table_head() -> tuple[str, str]:
    """The first two lines of the table."""
    return _line(HEADER), _line(["---"] * len(HEADER))


def row(name: str, cost: Footprint, tokens: int) -> str:
    """A line of the table."""
    return _line(
        (
            f"`{name}`",
            millions(cost.parameters),
            millions(tokens),
            f"{cost.flops_per_token:.1e}",
            f"{tokens * cost.flops_per_token:.1e}",
            size(cost.state_bytes),
            size(cost.activation_bytes),
        )
    )


def millions(count: int) -> str:
    """A count to two digits or so."""
    return f"{count / 1e6:,.{0 if count >= 1e7 else 1}f} million"


def size(num_bytes: int) -> str:
    """Bytes as a person reads them."""
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:,.1f} GB"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
