"""Held-out bits per byte at equal time: the project's own AdamW baseline, then one thing more at a time.

    python -m tests.benchmarks.training.bench_loss [--seconds 60]

The text is the docstrings of the installed packages; one document in fifty is held out. Every run is a fresh process
with the default model and the same time to train in, compiling included: it first measures its own step, and the
schedule is laid over the steps that fit. With OMP_NUM_THREADS=1 time is the processor's, else the clock's. The baseline
is the better of two learning rates.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from model.config import ModelConfig
from model.data import PackedWindows, TokenShards
from model.evaluation import bits_per_byte, document_bits
from model.losses import language_modelling_loss
from model.precision import has_fast_bf16
from model.tokenizer import train_tokenizer
from model.training import TrainingConfig, train
from model.transformer import Transformer
from tests.benchmarks.rows import Row, in_process, show, write
from tests.benchmarks.training.side import processor_seconds

SIZES = {
    "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
VOCABULARY, END = 4096, 0
TEXT_BYTES, VOCABULARY_BYTES, HELD_OUT_BYTES = 12_000_000, 2_000_000, 120_000
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
now = processor_seconds if THREADS == 1 else time.perf_counter


@dataclass(frozen=True)
class Recipe:
    """What the runs differ in."""

    lr: float = 3e-3
    optimizer: str = "adamw"
    schedule: str = "constant"
    precision: str = "fp32"
    compile: bool = False


def prepare(folder: Path) -> None:
    """Tokens to learn from, and held-out documents with their sizes."""
    from tests.benchmarks.data.sample import docstrings

    texts: list[str] = []
    size = 0
    for row in docstrings():
        texts.append(row["text"])
        size += len(row["text"].encode())
        if size > TEXT_BYTES:
            break
    texts = sorted(set(texts), key=lambda text: hashlib.sha256(text.encode()).digest())
    held_out = texts[: len(texts) // 50]
    learnt = texts[len(texts) // 50 :]
    tokenizer = train_tokenizer(learnt[: len(learnt) * VOCABULARY_BYTES // TEXT_BYTES], VOCABULARY)
    assert tokenizer.endoftext_id == END
    stream = [token for ids in tokenizer.encode_batch(learnt) for token in (*ids, END)]
    np.array(stream, "<u2").tofile(folder / "train.bin")
    chosen, size = [], 0
    for text in held_out:
        if size < HELD_OUT_BYTES:
            chosen.append({"ids": tokenizer.encode(text), "bytes": len(text.encode())})
            size += len(text.encode())
    (folder / "held_out.json").write_text(json.dumps(chosen))


def learn(recipe: Recipe, folder: Path, seconds: float) -> dict[str, float]:
    """Train for so long; steps made and bits per byte."""
    torch.set_num_threads(THREADS)
    windows = PackedWindows(TokenShards([folder / "train.bin"], "uint16"), context=256, batch_size=8, seed=0)
    config = dict(asdict(recipe))
    compile = config.pop("compile")
    if recipe.optimizer == "muon":
        config["adamw_lr"] = 0.75 * recipe.lr
    marks: list[float] = []

    def run(steps: int) -> Transformer:
        model = Transformer(ModelConfig(vocab_size=VOCABULARY, **SIZES))  # type: ignore[arg-type]
        marks[:] = [now()]
        train(
            model, windows, language_modelling_loss, TrainingConfig(steps=steps, **config), compile=compile,
            on_step=lambda step, figures: marks.append(now()),
        )  # fmt: skip
        return model

    run(6)
    step = float(np.median(np.diff(marks)[2:]))
    warming = marks[1] - marks[0] - step  # compiling, mostly; paid for out of the run's time
    steps = max(1, int((seconds - warming) / step))
    model = run(steps)
    held_out = json.loads((folder / "held_out.json").read_text())
    bits = document_bits(model, [np.array(one["ids"]) for one in held_out], start_token=END, context=256)
    found = bits_per_byte(bits, np.array([one["bytes"] for one in held_out]))
    return {"bits_per_byte": found.mean, "steps": steps, "step": step, "warming": warming, "took": marks[-1] - marks[0]}


def measured(recipe: Recipe, folder: Path, seconds: float) -> dict[str, float]:
    """`learn` in a process of its own that compiles from nothing."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.training.bench_loss"]
    told = json.dumps(asdict(recipe))
    with tempfile.TemporaryDirectory() as cache:
        fresh = {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        found, _ = in_process([*command, "--recipe", told, "--data", str(folder), "--seconds", str(seconds)], fresh)
    print(f"{told}: {found}", file=sys.stderr)
    return dict(found)  # type: ignore[arg-type]


def rows(seconds: float = 60.0) -> list[Row]:
    """Each thing against the baseline, cumulative in this order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        candidates = [(measured(Recipe(lr=lr), folder, seconds), lr) for lr in (1.5e-3, 3e-3)]
        base, rate = min(candidates, key=lambda pair: pair[0]["bits_per_byte"])
        recipes = {
            "+ falling rate (wsd)": Recipe(lr=2 * rate, schedule="wsd"),
            "+ Muon": Recipe(lr=6e-3, optimizer="muon", schedule="wsd"),
        }
        if has_fast_bf16("cpu"):
            recipes["+ bf16"] = Recipe(lr=6e-3, optimizer="muon", schedule="wsd", precision="bf16")
        last = list(recipes.values())[-1]
        recipes["+ compile"] = Recipe(**{**asdict(last), "compile": True})
        default = [*recipes][-2]  # compiling is off by default
        found = []
        for what, recipe in recipes.items():
            ours = measured(recipe, folder, seconds)
            note = f"{ours['steps']:.0f} steps against {base['steps']:.0f}"
            if recipe.compile:
                note += f"; {ours['warming']:.0f} s of the time went into compiling"
            ratio = base["bits_per_byte"] / ours["bits_per_byte"]
            unit = f"bits per byte after {seconds:.0f} s" + (" of processor time" if THREADS == 1 else "")
            against, aim = f"own AdamW, fp32, constant rate {rate:g}", 1.0 if what == default else None
            found.append(
                Row(f"loss at equal time: {what}", against, ours["bits_per_byte"], base["bits_per_byte"], ratio, unit,
                    {"torch": torch.__version__}, aim, note)
            )  # fmt: skip
    return found


def main() -> None:
    """One run if told its recipe, else all."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--recipe", help=argparse.SUPPRESS)
    options.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.recipe:
        print(json.dumps(learn(Recipe(**json.loads(chosen.recipe)), chosen.data, chosen.seconds)))
        return
    found = rows(chosen.seconds)
    write("training", found)
    show("Loss at equal time", found)


if __name__ == "__main__":
    main()
