"""All figures of training and generation, into `.pedigree/bench/training.json` and a plot beside it.

    make bench-training [ARGS="--only speed loss"]

Runs `rows()` of every `bench_*.py` of this folder but those of BY_HAND, each of which can be run by itself too.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from tests.benchmarks.rows import Row, plot, show, write

PREFIX = "bench_"
BY_HAND = {"training", "kills", "lr_fit"}  # this file, and what compares with no other program and takes an hour


def main() -> None:
    """Run, write after each file, and show all."""
    found = {path.stem.removeprefix(PREFIX) for path in Path(__file__).parent.glob(f"{PREFIX}*.py")}
    names = sorted(found - BY_HAND)
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="+", choices=names, default=names)
    only = options.parse_args().only
    modules = [importlib.import_module(f"tests.benchmarks.training.{PREFIX}{name}") for name in only]
    measurements = [module.rows for module in modules]  # one without rows() fails here, before hours of others
    rows: list[Row] = []
    for measure in measurements:
        rows += measure()
        write("training", rows)
    show("Training and generation", rows)
    plot("training", "Training and generation on a processor", rows)


if __name__ == "__main__":
    main()
