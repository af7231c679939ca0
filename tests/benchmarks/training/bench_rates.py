"""How good are the default learning rates, do they carry over to another width, and what does the range test suggest?

Trains small models of some widths at some rates on Python's own manual (`pydoc_data`), and measures held-out text.

python -m tests.benchmarks.training.bench_rates [--steps 300] [--width 64]
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

from model.command.corpus import prepare, split
from model.command.progress import Progress
from model.command.recipe import PRESETS
from model.command.text import TextFiles
from model.command.train import Training
from model.losses import language_modelling_loss
from model.precision import use_threads
from model.rate_finder import find_rate
from model.training import train
from tasks.lineage.home import home

RATES = (1.5e-3, 3e-3, 6e-3, 12e-3, 24e-3, 48e-3)
WIDTHS = (32, 64, 128)
REST = 0.75  # the rate of embeddings and norms, times that of matrices, as in the presets


def main() -> int:
    """Prints a row a width and writes `bench/rates.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="steps of each training (300)")
    parser.add_argument("--width", action="append", type=int, metavar="N", help="this width (may be given again)")
    options = parser.parse_args()
    use_threads(1)
    base = dataclasses.replace(PRESETS["test"], intermediate_size=None, steps=options.steps, held_out_bytes=30_000)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manual.txt"
        path.write_text("\n\n".join(topics[name] for name in sorted(topics)), encoding="utf-8")
        text, progress = TextFiles([path]), Progress(quiet=True)
        corpus = prepare(text, split(text, base, progress), base, Path(folder), progress)
        for width in options.width or WIDTHS:
            bits = {}
            for rate in RATES:
                recipe = dataclasses.replace(
                    base, hidden_size=width, intermediate_size=-(-width // 3) * 8, precision="fp32", lr=rate,
                    adamw_lr=REST * rate,
                )  # fmt: skip
                training = Training(recipe, corpus, "cpu")
                if rate == RATES[0]:
                    test = Training(recipe, corpus, "cpu")
                    suggested = find_rate(test.model, test.windows, language_modelling_loss, test.config).suggested
                train(training.model, training.windows, language_modelling_loss, training.config)
                bits[rate] = training.measure().mean
                print(f"width {width}, lr {rate:g}: {bits[rate]:.3f} bits a byte", file=sys.stderr, flush=True)
            best = min(bits, key=bits.__getitem__)
            rows.append({"width": width, "bits_per_byte": bits, "best_lr": best, "range_test_suggests": suggested})
            shown = "  ".join(f"{rate:g}: {value:.3f}" for rate, value in bits.items())
            print(f"width {width:3}  {shown}  best {best:g}, range test {suggested:.2g}", flush=True)
    target = home() / "bench" / "rates.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"steps": options.steps, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
