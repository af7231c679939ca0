"""What `train` can be told: each field of `Recipe` is an option of the command line, and presets are whole recipes.

Only what shapes the result is here. Where and how it runs (device, threads, compiling) is not: a run may go on
elsewhere. PyTorch is not imported, so that `--help` is quick.
"""

import argparse
import dataclasses
import math
import os
from dataclasses import dataclass
from typing import Any

from model.command.errors import CommandError
from model.config import LONGEST
from model.tokenizer import SMALLEST_VOCABULARY

LARGEST_INTEGER = 2**63 - 1  # that PyTorch takes, for a seed and for a size
LARGEST_NUMBER = 3e38  # of fp32, nearly
MOST_THREADS = max(64, 4 * (os.cpu_count() or 1))  # more are never faster, and thousands cannot be started


def whole(least: int, most: int = LARGEST_INTEGER) -> Any:
    """Reads a whole number from `least` to `most`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small: use at least {least}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{value} is too large: use at most {most}")
        return value

    return read


def number(text: str) -> float:
    """Reads a number of at least 0 that fp32 holds."""
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
    if not 0 <= value <= LARGEST_NUMBER:  # NaN is neither
        raise argparse.ArgumentTypeError(f"{value} is no number from 0 to {LARGEST_NUMBER:g}")
    return value


def above_zero(text: str) -> float:
    """Reads a number above 0 that fp32 holds."""
    if number(text) == 0:
        raise argparse.ArgumentTypeError("0 is too small: use a number above it")
    return float(text)


def share(text: str) -> float:
    """Reads a number from 0 to 1."""
    if number(text) > 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: use a number from 0 to 1")
    return float(text)


def setting(default: Any, read: Any, about: str, *choices: str) -> Any:
    """A field of a recipe: its default, how its option is read, and its help."""
    return dataclasses.field(default=default, metadata={"read": read, "about": about, "choices": choices or None})


@dataclass(frozen=True)
class Recipe:
    """All that decides the bytes of the result, given the text. The defaults are the preset `small`."""

    vocab_size: int = setting(4096, whole(SMALLEST_VOCABULARY), "tokens to learn, the 256 bytes among them")
    hidden_size: int = setting(128, whole(8), "width of the residual stream")
    num_hidden_layers: int = setting(5, whole(1), "layers")
    num_attention_heads: int = setting(4, whole(1), "query heads; must divide the hidden size")
    num_key_value_heads: int = setting(2, whole(1), "key and value heads; must divide the query heads")
    intermediate_size: int | None = setting(None, whole(8), "feed-forward width (default: 8/3 of the hidden size)")
    context_length: int = setting(256, whole(16), "tokens a row, and the most that the model reads at once")
    tie_word_embeddings: bool = setting(True, bool, "one matrix for input and output embeddings")
    steps: int = setting(3000, whole(1), "optimiser steps; the text is read again when it is used up")
    max_epochs: float | None = setting(
        4.0, above_zero, "where --steps is not given: most times that the text is read, more teaches it by heart"
    )
    batch_size: int = setting(8, whole(1), "rows a step")
    accumulation: int = setting(1, whole(1), "parts that a step's rows are computed in, to save memory")
    optimizer: str = setting("muon", str, "muon: for matrices, with AdamW for the rest", "muon", "adamw")
    lr: float = setting(6e-3, above_zero, "peak learning rate of matrices")
    adamw_lr: float | None = setting(None, above_zero, "peak rate of all else (default: 0.75 of --lr; adamw: --lr)")
    weight_decay: float = setting(0.1, number, "of matrices; embeddings and norms are never decayed")
    schedule: str = setting("wsd", str, "wsd: warm up, stay, fall to 0", "wsd", "cosine", "constant")
    warmup_fraction: float = setting(0.03, share, "share of the steps that warm up")
    decay_fraction: float = setting(0.6, share, "share of the steps that fall (wsd)")
    grad_clip: float = setting(1.0, above_zero, "largest norm of the gradient")
    z_loss: float = setting(0.0, number, "keeps logits from drifting (PaLM: 1e-4)")
    spike_deviations: float | None = setting(None, above_zero, "leave out updates that stand out so far (usual: 6)")
    document_mask: bool = setting(False, bool, "no attention across documents of one row")
    precision: str = setting("auto", str, "auto: bf16 where the machine is fast at it", "auto", "fp32", "bf16")
    held_out_bytes: int = setting(
        250_000,
        whole(1),
        "of documents held out to measure on; at most a tenth of the text, rounded up to whole documents",
    )
    seed: int = setting(0, whole(0), "of weights, order and what is held out")

    @property
    def tokens_per_step(self) -> int:
        """Of all rows."""
        return self.batch_size * self.context_length


PRESETS: dict[str, Recipe] = {
    "test": Recipe(vocab_size=1024, hidden_size=64, num_hidden_layers=3, context_length=128, steps=400, lr=14e-3),
    "small": Recipe(),
    "medium": Recipe(
        vocab_size=8192, hidden_size=320, num_hidden_layers=8, num_attention_heads=5, num_key_value_heads=5,
        context_length=512, steps=6000, batch_size=16, lr=4e-3,
    ),
    "large": Recipe(
        vocab_size=16_384, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=4,
        context_length=1024, steps=10_000, batch_size=64, lr=2e-3,
    ),
}  # fmt: skip
PRESETS_HELP = """presets (a later option changes single fields of one):
  test     0.2 million parameters; a minute on one core
  small    1.4 million; minutes on two cores (the default)
  medium   12 million; hours on a processor, minutes on a GPU
  large    88 million; for a GPU"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a recipe. What is not given is not in the namespace."""
    for field in dataclasses.fields(Recipe):
        flag, about = f"--{field.name.replace('_', '-')}", field.metadata["about"]
        shown = f"{about} ({field.default} in small)" if field.default is not None else about
        if field.metadata["read"] is bool:
            action: Any = argparse.BooleanOptionalAction
            parser.add_argument(flag, action=action, default=argparse.SUPPRESS, help=shown)
        else:
            parser.add_argument(
                flag, type=field.metadata["read"], choices=field.metadata["choices"], default=argparse.SUPPRESS,
                help=shown, metavar=None if field.metadata["choices"] else "N",
            )  # fmt: skip


def given_recipe(options: argparse.Namespace) -> Recipe:
    """The preset with the options that were given, and with what follows from them filled in. Raises CommandError where
    they do not fit together."""
    names = [field.name for field in dataclasses.fields(Recipe)]
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if "steps" in given:
        given.setdefault("max_epochs", None)
    recipe = complete(dataclasses.replace(PRESETS[options.preset], **given))
    _check_sizes(recipe)
    if recipe.accumulation > recipe.batch_size:
        raise CommandError(
            f"--accumulation {recipe.accumulation} is more than --batch-size {recipe.batch_size}: a part needs a row."
        )
    return recipe


def _check_sizes(recipe: Recipe) -> None:
    """Raises CommandError before the text is read for what `ModelConfig` would refuse after it, in options' names."""
    width, heads, groups = recipe.hidden_size, recipe.num_attention_heads, recipe.num_key_value_heads
    if width % (2 * heads):
        raise CommandError(
            f"--hidden-size {width} cannot be shared among --num-attention-heads {heads}, each of which takes an equal "
            f"and even part: use a multiple of {2 * heads}, or other heads."
        )
    if heads % groups:
        raise CommandError(
            f"--num-key-value-heads {groups} does not divide --num-attention-heads {heads}: change one of them."
        )
    if recipe.context_length > LONGEST:
        raise CommandError(f"--context-length {recipe.context_length} is too long: use at most {LONGEST}.")


def complete(recipe: Recipe) -> Recipe:
    """The recipe with what follows from its other fields filled in."""
    wide = recipe.intermediate_size or math.ceil(recipe.hidden_size / 3) * 8
    rest = recipe.adamw_lr or round(recipe.lr * (0.75 if recipe.optimizer == "muon" else 1), 12)
    return dataclasses.replace(recipe, intermediate_size=wide, adamw_lr=rest)
