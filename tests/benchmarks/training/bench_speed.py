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


def pays_back(compiled: Entrant, eager: Entrant) -> str:
    """After how many steps compiling has paid."""
    gain = median(eager.seconds) - median(compiled.seconds)
    cost = compiled.first - eager.first
    after = f"pays back after {cost / gain:,.0f} steps" if gain > 0 else "never pays back"
    return f"compiling took {cost:.0f} s from nothing and {after}"


def speed_rows() -> list[Row]:
    """Tokens a second."""
    fast = has_fast_bf16("cpu")
    entrants = {
        "theirs": enter("hugging_face"),
        "theirs, default": enter("hugging_face", tuned=False),
        "nanogpt": enter("nanogpt"),
        "ours": enter("ours"),
        "ours, compiled": enter("ours", "--compile"),
    }
    if fast:
        bf16 = ("--precision", "bf16")
        entrants |= {
            "theirs, bf16": enter("hugging_face", *bf16),
            "nanogpt, bf16": enter("nanogpt", *bf16),
            "ours, bf16": enter("ours", *bf16),
            "ours, bf16, compiled": enter("ours", *bf16, "--compile"),
            "ours, default": enter("ours", *bf16, "--optimizer", "muon"),
        }
    else:
        entrants["ours, default"] = enter("ours", "--optimizer", "muon")
        print("bf16 is not compared: this processor has neither AMX nor AVX512-bf16", file=sys.stderr)
    contest(entrants)
    it = entrants
    fp32, payback = f"{TRANSFORMERS}, fp32", pays_back(it["ours, compiled"], it["ours"])
    default = f"pretraining, our default ({'bf16' if fast else 'fp32'}, Muon, not compiled)"
    rows = [
        compared("pretraining, fp32, compiled", fp32, it["ours, compiled"], it["theirs"], 1.3, payback),
        compared("pretraining, fp32, not compiled", fp32, it["ours"], it["theirs"], None),
        compared("pretraining, fp32, compiled", "nanoGPT-style block", it["ours, compiled"], it["nanogpt"], 1.1),
        compared("pretraining, fp32, not compiled", "nanoGPT-style block", it["ours"], it["nanogpt"], None),
        compared(
            default, f"{TRANSFORMERS}, its default", it["ours, default"], it["theirs, default"],
            2.8 if fast else None,
            "" if fast else "the aim of 2.8 is for processors with AMX or AVX512-bf16; this one has neither",
        ),
    ]  # fmt: skip
    if fast:
        gpt = "nanoGPT-style block, bf16 autocast"
        theirs, note = f"{TRANSFORMERS}, bf16 autocast", pays_back(it["ours, bf16, compiled"], it["ours, bf16"])
        rows += [
            compared("pretraining, bf16, compiled", theirs, it["ours, bf16, compiled"], it["theirs, bf16"], 1.8, note),
            compared("pretraining, bf16, not compiled", theirs, it["ours, bf16"], it["theirs, bf16"], None),
            compared("pretraining, bf16, compiled", gpt, it["ours, bf16, compiled"], it["nanogpt, bf16"], 1.1),
            compared("pretraining, bf16, not compiled", gpt, it["ours, bf16"], it["nanogpt, bf16"], None),
        ]
    return rows


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
