"""The device that was asked for, if it is there, and whether a model and a step have room."""

import dataclasses
import os
import re

import torch

from model.command.errors import CommandError
from model.command.recipe import Recipe
from model.config import ModelConfig
from model.distributed import Ranks
from model.footprint import footprint
from model.precision import resolve_device

BATCH_BYTES = 24  # a token, while a batch is put together: what was read, inputs and targets as int64
SHORT = 64  # tokens of rows that activations are counted on: they go with the tokens


def given_device(name: str) -> str:
    """The device as torch names it. Raises CommandError where there is none of this name."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) and not (name == "mps" and torch.backends.mps.is_available()):
        raise CommandError(f"--device {name} is none to compute on here: use auto, cpu or, with a GPU, cuda or cuda:1.")
    try:
        device = resolve_device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise CommandError(
            f"--device {name} cannot be used here ({str(error).splitlines()[0]}): use auto, cpu or, with a GPU, cuda."
        ) from error
    return str(device)


def fits_in_memory(config: ModelConfig, device: str) -> None:
    """Raises CommandError for a model that exceeds this machine's memory, before that ends other programs: on a
    processor with weights, gradients and one moment each (divided over the processes, they may be elsewhere), else
    with the weights alone, which are made here."""
    _check(
        _state_bytes(config, device),
        f"to train {config.num_parameters():,} weights",
        f"lower --hidden-size ({config.hidden_size}), --intermediate-size ({config.intermediate_size}), "
        f"--num-hidden-layers ({config.num_hidden_layers}) or --vocab-size",
    )


def step_fits(recipe: Recipe, config: ModelConfig, device: str, *, keeps_less: bool = False) -> None:
    """Raises CommandError where there are more processes than rows in a step, or where the model, the batch of a step
    and, on a processor, the activations of one part of it exceed this machine's memory.

    config: with the smallest vocabulary that a text may give. keeps_less: activations are recomputed, or compiled away,
    so that those of one layer are all that is certain."""
    size = Ranks.here().size
    if recipe.batch_size < size:
        raise CommandError(
            f"--batch-size {recipe.batch_size} is too small for {size} processes, each of which needs a row: raise it, "
            f"or start fewer."
        )
    fits_in_memory(config, device)
    needed = _state_bytes(config, device) + BATCH_BYTES * recipe.tokens_per_step
    tokens = f"{recipe.context_length:,} tokens"
    _check(needed, f"a batch of {recipe.batch_size:,} rows of {tokens}", "lower --batch-size or --context-length")
    rows = -(-recipe.batch_size // size)
    at_once = -(-rows // min(recipe.accumulation, recipe.batch_size // size))
    if device == "cpu":
        layers = 1 if keeps_less else config.num_hidden_layers
        short = dataclasses.replace(config, num_hidden_layers=layers, max_position_embeddings=SHORT)
        short_rows = at_once * recipe.context_length // SHORT
        cost = footprint(short, rows=short_rows, context_length=SHORT, optimizer=recipe.optimizer)
        needed += cost.activation_bytes
    _check(
        needed,
        f"a step on {at_once:,} rows of {tokens} at once",
        "lower --batch-size or --context-length, or raise --accumulation",
    )


def _state_bytes(config: ModelConfig, device: str) -> float:
    return config.num_parameters() * (max(4.0, 12 / Ranks.here().size) if device == "cpu" else 4.0)


def _check(needed: float, what: str, remedy: str) -> None:
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise CommandError(
            f"{what} takes {needed / 1e9:,.0f} GB at least, and this machine has {there / 1e9:,.0f} GB of memory: "
            f"{remedy}."
        )
