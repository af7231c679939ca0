"""`presets`: what each preset of `train` costs in parameters, operations and memory, and how its rate was found."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from model.command.recipe import PRESETS, complete
from model.command.train import model_config
from model.footprint import Footprint, footprint
from model.rates import Size, beyond, fitted_rate

HEADER = ("preset", "parameters", "tokens", "FLOPs a token", "FLOPs in all", "memory: weights … moments", "activations")
RATES_HEADER = ("preset", "lr", "how it was found", "lr of the fitted rule", "which is")
FOUND = {
    "test": "fitted: what the rule says",
    "small": "searched at 246,000 tokens and lowered for 6 million",
    "medium": "guessed: between those of `small` and `large`",
    "large": "guessed; on an H100 a model of this size learned with it",
}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Every preset's figures; without --json they are printed as two Markdown tables."""
    found = []
    costs, rates = [*table_head(HEADER)], [*table_head(RATES_HEADER)]
    for name, preset in PRESETS.items():
        recipe = complete(preset)
        cost = footprint(
            model_config(recipe, recipe.vocab_size),
            rows=-(-recipe.batch_size // recipe.accumulation),
            context_length=recipe.context_length,
            optimizer=recipe.optimizer,
        )
        tokens = recipe.steps * recipe.tokens_per_step
        size = Size(recipe.hidden_size, recipe.num_hidden_layers, recipe.steps, recipe.tokens_per_step)
        fitted, far = float(f"{fitted_rate(size):.2g}"), round(beyond(size), 1)
        found.append(
            {
                "preset": name,
                "tokens": tokens,
                **asdict(cost),
                "flops": tokens * cost.flops_per_token,
                "lr": recipe.lr,
                "lr_found": FOUND[name],
                "fitted_lr": fitted,
                "beyond_search": far,
            }
        )
        costs.append(row(name, cost, tokens))
        where = f"a guess: {far:g} times beyond what was searched" if far > 1 else "within what was searched"
        rates.append(_line((f"`{name}`", f"{recipe.lr:g}", FOUND[name], f"{fitted:g}", where)))
    if not options.json:
        print("\n".join([*costs, "", *rates]))
    return {"presets": found}


def table_head(header: Sequence[str]) -> tuple[str, str]:
    """The first two lines of a table."""
    return _line(header), _line(["---"] * len(header))


def row(name: str, cost: Footprint, tokens: int) -> str:
    """A line of the table of costs."""
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
