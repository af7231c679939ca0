"""`find-lr`: which learning rate suits a model and a text, by a range test."""

import argparse
import dataclasses
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from model.command.corpus import prepare, split
from model.command.device import given_device, step_fits
from model.command.errors import CommandError
from model.command.progress import Progress
from model.command.questions import without_effect
from model.command.recipe import given_recipe
from model.command.text import given_text
from model.command.train import Training, model_config
from model.precision import resolve_precision, use_threads
from model.rate_finder import RateTest, find_rate
from model.tokenizer import SMALLEST_VOCABULARY
from model.training import NonFiniteLoss

LEARNT = 0.99  # of the first smoothed loss: where it stays above that, the test says nothing
# The test has a schedule of its own, and ends where it breaks out.
UNUSED = ("steps", "max_epochs", "schedule", "warmup_fraction", "decay_fraction", "spike_deviations")
WIDTH, HEIGHT, MARGIN = 640, 360, 56


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The suggested rate, the curve, and where it is drawn."""
    if options.plot is not None:
        _check_writable(options.plot)
    _check_used(options)
    use_threads(options.threads)
    device = given_device(options.device)
    recipe = given_recipe(options)
    recipe = dataclasses.replace(recipe, precision=resolve_precision(recipe.precision, device))  # type: ignore[arg-type]
    text, progress = given_text(options), Progress(options.quiet)
    with tempfile.TemporaryDirectory() as folder:
        step_fits(recipe, model_config(recipe, SMALLEST_VOCABULARY), device)
        corpus = prepare(split(text, recipe, progress), recipe, Path(folder), progress)
        training = Training(recipe, corpus, device)
        progress.say(f"range test over {options.test_steps} steps")
        try:
            test = find_rate(
                training.model,
                training.windows,
                training.loss,
                training.config,
                highest=options.highest,
                steps=options.test_steps,
                device=device,
            )
        except NonFiniteLoss as error:
            raise CommandError("the loss breaks at the lowest rate already: lower --highest or --z-loss.") from error
    if options.plot is not None:
        options.plot.write_text(drawn(test), encoding="utf-8")
    if min(point.smoothed for point in test.points) > LEARNT * test.points[0].smoothed:
        tried = f"at rates from {test.points[0].lr:.2g} to {test.points[-1].lr:.2g}"
        raise CommandError(
            f"the loss only rose {tried}, so no rate can be told: lower --highest."
            if test.broke
            else f"the loss hardly fell {tried}, so no rate can be told: raise --highest or --test-steps."
        )
    if not test.broke:
        progress.say("the loss did not break out: raise --highest or --test-steps, and judge by the curve")
    answer: dict[str, Any] = {
        "suggested_lr": test.suggested,
        "lr_of_lowest_loss": test.lowest,
        "broke": test.broke,
        "steps": len(test.points),
    }
    if options.json:
        answer["curve"] = [dataclasses.asdict(point) for point in test.points]
    return answer


def _check_used(options: argparse.Namespace) -> None:
    """Raises CommandError for options of a recipe that a range test does not ask. The rate of matrices matters only as
    what that of all else is so many times of."""
    without_effect(options, *UNUSED, *(() if hasattr(options, "adamw_lr") else ("lr",)))


def _check_writable(path: Path) -> None:
    """Raises CommandError before the work where the drawing could not be written after it."""
    if path.is_dir():
        raise CommandError(f"--plot {path} is a folder: name a file in it.")
    if not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CommandError(f"--plot {path}: {path.parent} is no folder, or cannot be written to: name another file.")


def drawn(test: RateTest) -> str:
    """The curve as SVG: losses as points, their average as a line, the suggested rate as an upright."""
    rates = [math.log10(point.lr) for point in test.points]
    top = max(point.loss for point in test.points if point.smoothed <= 2 * test.points[0].smoothed)
    bottom = min(point.loss for point in test.points)

    def x(rate: float) -> float:
        return MARGIN + (rate - rates[0]) / max(rates[-1] - rates[0], 1e-9) * (WIDTH - 2 * MARGIN)

    def y(loss: float) -> float:
        share = (min(loss, top) - bottom) / max(top - bottom, 1e-9)
        return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)

    line = " ".join(f"{x(rate):.1f},{y(point.smoothed):.1f}" for rate, point in zip(rates, test.points, strict=True))
    dots = "".join(
        f'<circle cx="{x(rate):.1f}" cy="{y(point.loss):.1f}" r="2"/>'
        for rate, point in zip(rates, test.points, strict=True)
    )
    decades = range(math.ceil(rates[0]), math.floor(rates[-1]) + 1)
    ticks = "".join(f'<text x="{x(d):.1f}" y="{HEIGHT - MARGIN + 18}">1e{d}</text>' for d in decades)
    levels = "".join(f'<text x="{MARGIN - 26}" y="{y(v):.1f}">{v:.2f}</text>' for v in (bottom, top))
    chosen = x(math.log10(test.suggested))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" text-anchor="middle"><rect width="100%" height="100%" fill="white"/>'
        f'<g fill="#9ab">{dots}</g><polyline points="{line}" fill="none" stroke="#246" stroke-width="2"/>'
        f'<line x1="{chosen:.1f}" x2="{chosen:.1f}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}" stroke="#c40"/>'
        f'<text x="{chosen:.1f}" y="{MARGIN - 8}" fill="#c40">suggested {test.suggested:.2g}</text>'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}">learning rate</text>{ticks}{levels}'
        f'<text x="{MARGIN}" y="{MARGIN - 24}">loss</text></svg>\n'
    )
