"""Which learning rate suits which size? Trains small models of several shapes at several rates and fits a rule.

    python -m tests.benchmarks.training.bench_lr_fit [--fit-only]

Each shape (width, layers, steps, rows a step) is trained at rates a factor of two apart, with two seeds each, on
docstrings of the installed packages, and measured on held-out ones; rates are added until the best one has a worse
neighbour on both sides. A parabola through these three, in log(rate), gives the shape's best rate; least squares on the
logarithms of all shapes give the rule of `model/rates.py`. Then each shape is left out of the fit once, to see what the
rule would have cost it. Beside that stands what a range test suggests. Runs by hand, for an hour or so on one core:
every training is written down as it ends (`bench/lr-fit.json`), and a second start goes on from there. A plot is drawn
beside it.
"""

import argparse
import dataclasses
import itertools
import json
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.command.corpus import Corpus, prepare, split
from model.command.progress import Progress
from model.command.recipe import PRESETS, Recipe, complete
from model.command.text import TextFiles
from model.command.train import Training
from model.losses import language_modelling_loss
from model.precision import use_threads
from model.rate_finder import find_rate
from model.rates import BASE, EXPONENTS, Size
from model.training import train
from tests.benchmarks.data.sample import docstrings
from tests.benchmarks.rows import folder

TEXT_BYTES, SEPARATOR = 6_000_000, "=== next document ==="
SEEDS = (0, 1)


@dataclass(frozen=True)
class Shape:
    """What the best rate may depend on."""

    width: int
    layers: int
    steps: int
    rows: int

    @property
    def recipe(self) -> Recipe:
        """The preset `test` in this shape."""
        return dataclasses.replace(
            PRESETS["test"], hidden_size=self.width, num_hidden_layers=self.layers, steps=self.steps,
            batch_size=self.rows, precision="fp32", held_out_bytes=60_000,
        )  # fmt: skip

    @property
    def features(self) -> list[float]:
        """What the logarithm of the rate is linear in: 1, and how this differs from the rule's base."""
        size = Size(self.width, self.layers, self.steps, self.rows * self.recipe.context_length)
        return [1.0, *size.beside(BASE).values()]


FOUR, THREE = (6e-3, 12e-3, 24e-3, 48e-3), (6e-3, 12e-3, 24e-3)
SHAPES = {  # and the rates that are tried first
    Shape(32, 3, 200, 8): FOUR,
    Shape(64, 3, 200, 8): FOUR,
    Shape(128, 3, 200, 8): FOUR,
    Shape(64, 6, 200, 8): FOUR,
    Shape(64, 3, 800, 8): THREE,
    Shape(64, 3, 200, 32): THREE,
    Shape(32, 3, 800, 8): THREE,
}


@dataclass(frozen=True)
class Run:
    """A training that was made."""

    shape: Shape
    lr: float
    seed: int
    bits: float  # a byte, held out


def learn(shape: Shape, lr: float, seed: int, corpus: Corpus) -> Run:
    """Train once."""
    training = Training(complete(dataclasses.replace(shape.recipe, lr=lr, seed=seed)), corpus, "cpu")
    train(training.model, training.windows, language_modelling_loss, training.config)
    return Run(shape, lr, seed, training.measure().mean)


def mean_bits(runs: Sequence[Run], shape: Shape) -> dict[float, float]:
    """Mean over the seeds that all rates of a shape have, for each rate, rates rising."""
    by_rate: dict[float, dict[int, float]] = defaultdict(dict)
    for run in runs:
        if run.shape == shape:
            by_rate[run.lr][run.seed] = run.bits
    shared = set(SEEDS).intersection(*by_rate.values())
    return {lr: float(np.mean([by_rate[lr][seed] for seed in shared or by_rate[lr]])) for lr in sorted(by_rate)}


def wanted_rates(shape: Shape, bits: dict[float, float]) -> list[float]:
    """Rates to try next: the first ones, then beyond the edge that the best lies on."""
    if untried := [rate for rate in SHAPES[shape] if rate not in bits]:
        return untried
    best = min(bits, key=bits.__getitem__)
    if best == max(bits):
        return [2 * best]
    return [best / 2] if best == min(bits) else []


def best_rate(bits: dict[float, float]) -> tuple[float, float, float]:
    """The lowest point of a parabola through the best rate and its neighbours: (log of rate, bits, curvature)."""
    rates = sorted(bits)
    middle = rates.index(min(bits, key=bits.__getitem__))
    around = rates[middle - 1 : middle + 2]
    a, b, c = np.polyfit(np.log(around), [bits[rate] for rate in around], 2)
    return -b / (2 * a), c - b * b / (4 * a), a


def bits_at(bits: dict[float, float], log_rate: float) -> float:
    """Bits of a shape at a rate between or beyond those tried: on the parabola near the best, else by lines."""
    rates = np.log(sorted(bits))
    lowest, least, curvature = best_rate(bits)
    if abs(log_rate - lowest) < math.log(2):
        return least + curvature * (log_rate - lowest) ** 2
    return float(np.interp(log_rate, rates, [bits[rate] for rate in sorted(bits)]))


def range_test(shape: Shape, corpus: Corpus) -> float:
    """What `find-lr` suggests for a shape."""
    training = Training(complete(shape.recipe), corpus, "cpu")
    return find_rate(training.model, training.windows, language_modelling_loss, training.config).suggested


def fit(runs: Sequence[Run], suggested: dict[Shape, float]) -> dict[str, Any]:
    """The rule, what each shape's own best is, and what the rule costs, also where the shape was left out."""
    done = [shape for shape in SHAPES if (bits := mean_bits(runs, shape)) and not wanted_rates(shape, bits)]
    bits = [mean_bits(runs, shape) for shape in done]
    bests = [best_rate(one) for one in bits]
    matrix, targets = np.array([shape.features for shape in done]), np.array([best[0] for best in bests])
    coefficients = np.linalg.lstsq(matrix, targets)[0]
    rows = []
    for number, shape in enumerate(done):
        others = np.arange(len(done)) != number
        without = np.linalg.lstsq(matrix[others], targets[others])[0]
        predicted, unseen = matrix[number] @ coefficients, matrix[number] @ without
        rows.append(
            {
                **dataclasses.asdict(shape),
                "bits_per_byte": {f"{rate:g}": round(value, 4) for rate, value in bits[number].items()},
                "best_lr": math.exp(bests[number][0]),
                "fitted_lr": math.exp(predicted),
                "cost_percent": float(100 * (bits_at(bits[number], predicted) / bests[number][1] - 1)),
                "range_test_lr": suggested.get(shape),
                "left_out_lr": math.exp(unseen),
                "left_out_cost_percent": float(100 * (bits_at(bits[number], unseen) / bests[number][1] - 1)),
            }
        )
    rule = dict(zip(EXPONENTS, coefficients[1:].tolist(), strict=True))
    return {"base": dataclasses.asdict(BASE), "base_lr": math.exp(coefficients[0]), "exponents": rule, "shapes": rows}


def draw(found: dict[str, Any], path: Path) -> None:
    """A curve for each shape, its best rate (dot) and the rule's (line)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for row in found["shapes"]:
        bits = {float(rate): value for rate, value in row["bits_per_byte"].items()}
        label = f"width {row['width']}, {row['layers']} layers, {row['steps']} steps of {row['rows']} rows"
        (line,) = axes.plot(list(bits), list(bits.values()), marker=".", label=label)
        best = best_rate(bits)
        axes.plot(row["best_lr"], best[1], "o", color=line.get_color())
        axes.plot(row["fitted_lr"], bits_at(bits, math.log(row["fitted_lr"])), "|", color=line.get_color(), ms=18)
    axes.set(xscale="log", xlabel="peak learning rate (dot: best, bar: the rule's)", ylabel="held-out bits per byte")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def write_text(path: Path) -> None:
    """Docstrings, a few megabytes."""
    size = 0
    with path.open("w", encoding="utf-8") as file:
        for row in docstrings():
            if size >= TEXT_BYTES:
                return
            size += file.write(f"{row['text']}\n{SEPARATOR}\n")


def missing(runs: Sequence[Run]) -> Iterator[tuple[Shape, float, int]]:
    """Trainings still to be made, the first seed of all shapes first, as far as is known now."""
    made = {(run.shape, run.lr, run.seed) for run in runs}
    for seed, shape in itertools.product(SEEDS, SHAPES):
        bits = mean_bits(runs, shape)
        for lr in {**bits, **dict.fromkeys(wanted_rates(shape, bits))}:
            if (shape, lr, seed) not in made:
                yield shape, lr, seed


def main() -> int:
    """Train what is missing, fit, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit-only", action="store_true", help="train nothing more")
    options = parser.parse_args()
    use_threads(1)
    target = folder() / "lr-fit.json"
    told = json.loads(target.read_text()) if target.is_file() else {"runs": [], "range_tests": []}
    runs = [Run(Shape(**run.pop("shape")), **run) for run in told["runs"]]
    suggested = {Shape(**test["shape"]): test["suggested"] for test in told["range_tests"]}

    def write(**found: Any) -> None:
        tests = [{"shape": dataclasses.asdict(shape), "suggested": rate} for shape, rate in suggested.items()]
        made = [dataclasses.asdict(run) for run in runs]
        target.write_text(json.dumps({"runs": made, "range_tests": tests, **found}, indent=1) + "\n")

    if not options.fit_only:
        with tempfile.TemporaryDirectory() as name:
            work, progress = Path(name), Progress(quiet=True)
            path, base = work / "docstrings.txt", next(iter(SHAPES)).recipe
            write_text(path)
            text = TextFiles([path], separator=SEPARATOR)
            corpus = prepare(split(text, base, progress), base, work, progress)
            while todo := next(missing(runs), None):
                runs.append(learn(*todo, corpus))
                print(f"{runs[-1]}", file=sys.stderr, flush=True)
                write()
            for shape in SHAPES.keys() - suggested.keys():
                suggested[shape] = range_test(shape, corpus)
                write()
    found = fit(runs, suggested)
    write(**found)
    draw(found, target.with_suffix(".png"))
    for row in found["shapes"]:
        print(row)
    print(f"base {found['base_lr']:.4g}, exponents {found['exponents']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
