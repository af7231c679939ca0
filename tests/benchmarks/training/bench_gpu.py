"""Training and generation on a GPU: how much of the card is used, and how fast other programs are on it.

    python -m tests.benchmarks.training.bench_gpu [--only preset llama others generation]
    python -m tests.benchmarks.training.bench_gpu --device cpu     # does it run? tiny models, nothing is written

Model FLOPs utilisation (MFU) is counted as torchtitan counts it (torchtitan/models/utils.py): a token takes
6 · (weights without the embedding table) + 12 · layers · width of all heads · context, causality not considered, over
the dense bf16 peak that the card's maker states (989 TFLOP/s for the H100 SXM and the H200; torchtitan/tools/utils.py).
The product of two 8192 × 8192 matrices of random numbers, measured here, is what the card can do at most.

torchtitan published (benchmarks/llama3_h100_202412_torchtitan.md, table 1) for Llama 3.1 8B on eight H100 (96 GB,
limited to 500 W), FSDP, two rows of 8,192 tokens a GPU, selective activation checkpointing, bf16: 5,762 tokens a second
and GPU, and 6,667 with torch.compile; by the formula above 34% and 39% MFU, and it says "33% to 39%". Ours beside it
are six layers of that model with its embedding, head and context, on one GPU: no communication, which flatters ours,
and a head that is 23% of the work, where it is 5%.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from model.config import ModelConfig
from model.precision import Precision, resolve_device
from tests.benchmarks.rows import Row, in_process, show, write
from tests.benchmarks.training.gpu_side import PRETRAIN, SHAPES, Job

PUBLISHED = {"H100": 989e12, "H200": 989e12}  # dense bf16, by a part of the card's name; of SXM cards
TORCHTITAN = 6667  # tokens a second and GPU
LONGEST = 200  # seconds of one measurement
VERSIONS = {"torch": torch.__version__, "transformers": version("transformers")}
PRESET = f"{PRETRAIN['num_hidden_layers']} layers of {PRETRAIN['hidden_size']}, {PRETRAIN['batch_size']} rows of 1,024"
EXACT = "ours by deterministic algorithms, theirs not"

Found = dict[str, Any]


@dataclass
class Card:
    """Measures jobs on a device, each once. Of a job that fails there are no figures."""

    device: str
    name: str = "?"
    peak: float = float("nan")  # of a product, FLOPs a second
    known: dict[Job, Found | None] = field(default_factory=dict)

    def measure(self, job: Job) -> Found | None:
        """What gpu_side.py finds in a process of its own."""
        if job not in self.known:
            self.known[job] = self._measure(job)
        return self.known[job]

    def _measure(self, job: Job) -> Found | None:
        if self.device == "cpu":
            rows = 2 if job.side.endswith("generating") else 4
            job = replace(job, shape="tiny", rows=rows, device="cpu")
        told = json.dumps(asdict(job))
        print(f"measuring {told} …", file=sys.stderr)
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.training.gpu_side", told]
        try:
            found, seconds = in_process(command, timeout=LONGEST)
        except (subprocess.SubprocessError, ValueError) as error:
            print(f"no figures: {error}", file=sys.stderr)
            return None
        shown = {name: value for name, value in found.items() if name != "answers"}
        print(f"  {json.dumps(shown)} in {seconds:.0f} s", file=sys.stderr)
        return found

    @property
    def published(self) -> float:
        """FLOPs a second by the maker; where they are not known, what was measured."""
        return next((peak for name, peak in PUBLISHED.items() if name in self.name), self.peak)


def product(card: Card) -> list[Row]:
    """What the card can do."""
    return [
        Row("bf16 product, 8192³, random numbers", f"peak stated for {card.name}", card.peak / 1e12,
            card.published / 1e12, card.peak / card.published, "TFLOP/s", VERSIONS)
    ]  # fmt: skip


def utilisation(card: Card, work: str, job: Job) -> tuple[list[Row], float]:
    """Our training beside the stated peak; and tokens a second, NaN where it failed."""
    found = card.measure(job)
    if found is None:
        return [], float("nan")
    rate = found["tokens"] / found["seconds"]
    reached = rate * found["flops_per_token"]
    note = (
        f"{rate:,.0f} tokens/s, {1000 * found['seconds']:.1f} ms a step (windows within {found['spread']:.1%}), "
        f"{reached / card.peak:.1%} of the measured product, {found['peak_gib']:.1f} GiB; first step "
        f"{found['first']:.0f} s; the ratio is the MFU"
    )
    against = f"peak stated for {card.name}"
    row = Row(
        work, against, reached / 1e12, card.published / 1e12, reached / card.published, "TFLOP/s", VERSIONS, None, note
    )
    return [row], rate


def preset(card: Card) -> list[Row]:
    """The `gpu` preset, with each optimiser."""
    rows: list[Row] = []
    for name in ("adamw", "muon"):
        rows += utilisation(card, f"preset `gpu`, bf16, compiled, {name}", Job("ours", optimizer=name, compile=True))[0]
    return rows


def llama(card: Card) -> list[Row]:
    """A slice of Llama 3 8B, with and without recomputed activations."""
    shape = SHAPES["llama"]
    layers, whole = shape["num_hidden_layers"], ModelConfig(**{**shape, "num_hidden_layers": 32})
    theirs = TORCHTITAN * whole.flops_per_token() / PUBLISHED["H100"]
    rows: list[Row] = []
    for recomputed in (False, True):
        work = f"{layers} layers of Llama 3 8B, bf16, compiled, adamw{', recomputing' * recomputed}"
        job = Job("ours", shape="llama", rows=2, compile=True, activation_checkpointing=recomputed)
        own, rate = utilisation(card, work, job)
        rows += own
        if own and not recomputed:
            note = (
                f"{rate:,.0f} tokens/s of {layers} layers on one GPU, beside {TORCHTITAN:,} a GPU of 32 layers on "
                "eight: no FSDP communication here, and a head that is 23% of the work instead of 5%. Their cards were "
                "limited to 500 W, and they recompute some activations. Both: two rows of 8,192 a GPU, bf16, compiled"
            )
            against = "torchtitan, as published: Llama 3.1 8B on 8 H100"
            rows.append(Row(f"{work}: MFU", against, 100 * own[0].ratio, 100 * theirs, own[0].ratio / theirs,
                            "% of 989 TFLOP/s", VERSIONS, None, note))  # fmt: skip
    return rows


def others(card: Card) -> list[Row]:
    """Steps of the preset's shape beside transformers and nanoGPT's block."""
    rows = []
    for compiled in (True, False):
        sides = {name: card.measure(Job(name, compile=compiled)) for name in ("ours", "hugging_face", "nanogpt")}
        for name, against in (("hugging_face", "transformers Llama, AdamW"), ("nanogpt", "nanoGPT-style block")):
            rows += compared(
                f"{card.name}: preset `gpu`, bf16, {'' if compiled else 'not '}compiled",
                f"{against}, bf16 autocast", sides["ours"], sides[name], EXACT,
            )  # fmt: skip
    return rows


def exactness(card: Card) -> list[Row]:
    """What deterministic algorithms cost."""
    job = Job("ours", compile=True)
    sides = [card.measure(replace(job, exact=exact)) for exact in (True, False)]
    return compared(f"{card.name}: preset `gpu`, bf16, compiled", "ours in any order", *sides)


def generation(card: Card, precision: Precision) -> list[Row]:
    """Greedy answers."""
    sides = [card.measure(Job(f"{side}_generating", rows=16, precision=precision)) for side in ("ours", "hugging_face")]
    equal = sum(a == b for a, b in zip(*(side["answers"] for side in sides if side), strict=False))
    work = f"{card.name}: generation, preset `gpu`, {precision}, batch 16, 64+64 tokens"
    return compared(work, "HF generate", *sides, f"{equal} of 16 answers equal, token for token")


def compared(work: str, against: str, ours: Found | None, theirs: Found | None, note: str = "") -> list[Row]:
    """Tokens a second of two sides; nothing where one has failed."""
    if ours is None or theirs is None:
        return []
    rates = [side["tokens"] / side["seconds"] for side in (ours, theirs)]
    if "peak_gib" in ours:
        note += f"{'; ' * bool(note)}{ours['peak_gib']:.1f} and {theirs['peak_gib']:.1f} GiB"
    return [Row(work, against, *rates, rates[0] / rates[1], "tokens/s", VERSIONS, None, note)]


PARTS: dict[str, Callable[[Card], list[Row]]] = {
    "product": product, "preset": preset, "llama": llama, "others": others,
    "generation": partial(generation, precision="bf16"), "exactness": exactness,
    "generation_fp32": partial(generation, precision="fp32"),
}  # fmt: skip
USUAL = ["product", "preset", "llama", "others", "generation"]


def rows(only: list[str] | None = None, device: str | None = None) -> list[Row]:
    """The rows of all parts, written after each; none, and a word about it, without a GPU."""
    device = device or resolve_device().type
    if device == "cpu" and only is None:
        print("training on a GPU was not measured: PyTorch finds none here", file=sys.stderr)
        return []
    card, found = Card(device), list[Row]()
    measured = card.measure(Job("product"))
    if measured is None:
        return []
    card.name, card.peak = measured["card"], measured["flops"]
    for name in only or USUAL:
        found += PARTS[name](card)
        if device != "cpu":
            write("training", found)
    return found


def main() -> None:
    """Measure, and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=USUAL)
    parser.add_argument("--device", choices=("cuda", "cpu"), default=resolve_device().type)
    options = parser.parse_args()
    found = rows(options.only, options.device)
    show("On a GPU" if options.device == "cuda" else "Tried on a processor", found)
    for row in found:
        print(f"{row.work} against {row.against}: {row.note}")


if __name__ == "__main__":
    main()
