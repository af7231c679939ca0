"""Tokens a second of training steps, and memory of one, against transformers and a nanoGPT-style model.

    python -m tests.benchmarks.training.bench_speed

Every side has a process of its own; they take turns, two steps at a time, so that other work on the machine slows all
alike, and a ratio is the median over the turns. Threads: OMP_NUM_THREADS, or two. On one thread time is the
processor's, else the clock's.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median

import torch

from flows.environment import COMPUTING
from model.precision import has_fast_bf16
from model.processor import has_bf16_products
from tests.benchmarks.rows import Row, show, write
from tests.benchmarks.training.side import ROWS, TOKENS, Side

THREADS = os.environ.get("OMP_NUM_THREADS", "2")
TURNS, STEPS = 7, 2
VERSIONS = {"torch": torch.__version__, "transformers": version("transformers")}
TRANSFORMERS = "transformers Llama, AdamW"


@dataclass
class Entrant:
    """A side, what its first steps took (compiling included), and its seconds a step in each turn."""

    side: Side
    first: float
    seconds: list[float]


def enter(name: str, *options: str, tuned: bool = True) -> Entrant:
    """Start a side and warm it up. It compiles from nothing, in this one process. tuned: in the environment that our
    trainings run in, which opponents of the same precision get too; "at its default" means without."""
    variables: dict[str, str | None] = dict(COMPUTING) if tuned else dict.fromkeys(COMPUTING)
    variables["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as cache:
        variables["TORCHINDUCTOR_CACHE_DIR"] = cache
        side = Side(name, "--threads", THREADS, *options, variables=variables)
        first = taken(side.steps(STEPS))
    side.steps(STEPS)
    return Entrant(side, first, [])


def taken(answer: dict[str, float]) -> float:
    """Seconds as they are counted here."""
    return answer["processor_seconds" if THREADS == "1" else "seconds"]


def contest(entrants: dict[str, Entrant]) -> None:
    """Take turns."""
    for _ in range(TURNS):
        for entrant in entrants.values():
            entrant.seconds.append(taken(entrant.side.steps(STEPS)) / STEPS)
    for entrant in entrants.values():
        entrant.side.close()


def compared(work: str, against: str, ours: Entrant, theirs: Entrant, at_least: float | None, note: str = "") -> Row:
    """Tokens a second of two entrants."""
    ratio = median(other / own for own, other in zip(ours.seconds, theirs.seconds, strict=True))
    rates = [ROWS * TOKENS / median(entrant.seconds) for entrant in (ours, theirs)]
    unit = f"tokens/s, {THREADS} threads" if THREADS != "1" else "tokens/s of processor time, 1 thread"
    return Row(work, against, rates[0], rates[1], ratio, unit, VERSIONS, at_least, note)


def pays_back(compiled: Entrant, plain: Entrant) -> str:
    """After how many steps compiling has paid."""
    gain = median(plain.seconds) - median(compiled.seconds)
    cost = compiled.first - plain.first
    after = f"pays back after {cost / gain:,.0f} steps" if gain > 0 else "never pays back"
    return f"compiling took {cost:.0f} s from nothing and {after}"


def speed_rows() -> list[Row]:
    """Tokens a second."""
    formats = ("fp32", "bf16") if has_bf16_products() else ("fp32",)
    fast = has_fast_bf16("cpu")
    default = "bf16" if fast else "fp32"
    if not has_bf16_products():
        print("bf16 is not compared: this processor has neither AMX nor AVX512-bf16", file=sys.stderr)
    it = {
        f"{name} {precision}": enter(side, "--precision", precision, *more)
        for precision in formats
        for name, side, *more in (
            ("theirs", "hugging_face"), ("nanogpt", "nanogpt"), ("ours", "ours"), ("compiled", "ours", "--compile"),
        )
    }  # fmt: skip
    it["theirs"] = enter("hugging_face", tuned=False)
    it["ours"] = enter("ours", "--precision", default, "--optimizer", "muon")
    contest(it)
    rows = []
    for precision, at_least in zip(formats, (1.3, 1.8), strict=False):
        autocast = " autocast" if precision == "bf16" else ""
        ours, theirs, compiled = it[f"ours {precision}"], it[f"theirs {precision}"], it[f"compiled {precision}"]
        work, against = f"pretraining, {precision}", f"{TRANSFORMERS}, {precision}{autocast}"
        block, note = f"nanoGPT-style block, {precision}{autocast}", pays_back(compiled, ours)
        rows += [
            compared(work, against, ours, theirs, at_least),
            compared(work, block, ours, it[f"nanogpt {precision}"], 1.1),
            compared(f"{work}, torch.compile in place of kernels", against, compiled, theirs, None, note),
        ]
    note = "" if fast else "the aim of 2.8 is for processors that multiply bf16 faster than fp32, as this one does not"
    work, aim = f"pretraining, our default ({default}, Muon)", 2.8 if fast else None
    return [*rows, compared(work, f"{TRANSFORMERS}, its default", it["ours"], it["theirs"], aim, note)]


def peak(name: str, *options: str) -> float:
    """MiB above the loaded libraries after four steps in a fresh process, with the allocator as it comes."""
    side = Side(name, "--threads", THREADS, *options, variables=dict.fromkeys(COMPUTING))
    answer = side.steps(4)
    side.close()
    return answer["peak_mib"]


def memory_rows() -> list[Row]:
    """Memory of a step: weights, moments, gradients and activations."""
    theirs = peak("hugging_face")
    rows = []
    for work, options in (
        ("peak memory of a step, fp32", ()),
        ("peak memory of a step, fp32, activation checkpointing", ("--activation-checkpointing",)),
    ):
        ours = peak("ours", *options)
        note = f"{ours / theirs:.2f} of theirs"
        rows.append(Row(work, f"{TRANSFORMERS}, fp32", ours, theirs, theirs / ours, "MiB", VERSIONS, 1 / 0.7, note))
    return rows


def rows() -> list[Row]:
    """All rows of this file."""
    return [*speed_rows(), *memory_rows()]


if __name__ == "__main__":
    found = rows()
    write("training", found)
    show("Training steps", found)
