"""Greedy generation against Hugging Face `generate`: the same weights, 64 new tokens after prompts of 64.

    python -m tests.benchmarks.training.bench_generation

fp32 against fp32, bf16 against bf16 (where the processor multiplies it in hardware), and bf16 against transformers'
default, which is what a checkpoint is stored in: fp32. Each side runs in a process of its own, in turns, and its
fastest call counts: on a busy machine everything else is noise from outside. Threads: OMP_NUM_THREADS, or two. On one
thread time is the processor's, else the clock's. No end token is used, so that both sides write as much.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from model.processor import has_bf16_products
from tests.benchmarks.rows import Row, in_process, show, write

AIMS = {1: 2.0, 16: 3.0, 64: None}  # by batch size
PROMPT, NEW, VOCABULARY = 64, 64, 4096
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6,
    "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 256, "initializer_range": 0.1,
}  # fmt: skip
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
CLOCK = "processor" if THREADS == 1 else "seconds"
SIDES = {f"{side} {precision}": (side, precision) for precision in ("fp32", "bf16") for side in ("ours", "theirs")}
COMPARED = {  # what we are called, and against whom
    ("ours fp32", "theirs fp32"): ("fp32", "HF generate, fp32"),
    ("ours bf16", "theirs bf16"): ("bf16", "HF generate, bf16"),
    ("ours bf16", "theirs fp32"): ("bf16", "HF generate, its default (fp32)"),
}

Writer = Callable[[list[list[int]]], list[list[int]]]


def measure(side: str, precision: str, repeats: int) -> dict[str, Any]:
    """Seconds of the fastest call by batch size, processor seconds, and what was written."""
    import torch

    from model.config import ModelConfig
    from model.transformer import Transformer

    torch.set_num_threads(THREADS)
    model = Transformer(ModelConfig(**SHAPE)).eval()
    write = our_writer(model, precision) if side == "ours" else their_writer(model, precision)
    random = torch.Generator().manual_seed(0)
    found: dict[str, Any] = {}
    for batch in AIMS:
        prompts = torch.randint(4, VOCABULARY, (batch, PROMPT), generator=random).tolist()
        tokens = write(prompts)
        seconds, processor = [], []
        for _ in range(repeats):
            began = time.perf_counter(), time.process_time()
            write(prompts)
            seconds.append(time.perf_counter() - began[0])
            processor.append(time.process_time() - began[1])
        found[str(batch)] = {"seconds": min(seconds), "processor": min(processor), "tokens": tokens}
    return found


def our_writer(model: Any, precision: Any) -> Writer:
    """Ours, where the model lies."""
    from model.generation import generate
    from model.sampling import GREEDY

    return lambda prompts: generate(
        model, prompts, max_new_tokens=NEW, sampling=GREEDY, eos_token_id=[], pad_token_id=3, seed=0,
        precision=precision,
    )  # fmt: skip


def their_writer(model: Any, precision: str) -> Writer:
    """transformers' with the same weights on the same device."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    other = transformers.LlamaForCausalLM(transformers.LlamaConfig(**model.config.to_dict())).eval()
    other.load_state_dict(model.state_dict(), strict=False)
    other.tie_weights()
    other.generation_config.eos_token_id = None
    other = other.to(model.output_weight.device)
    if precision == "bf16":
        other = other.bfloat16()

    def write(prompts: list[list[int]]) -> list[list[int]]:
        ids = torch.tensor(prompts, device=other.device)
        written = other.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, pad_token_id=3
        )
        return written[:, PROMPT:].tolist()

    return write


def rows(rounds: int = 2, repeats: int = 4) -> list[Row]:
    """All sides measured in turns, and compared."""
    best: dict[str, dict[str, dict[str, Any]]] = {
        name: {} for name, (_, precision) in SIDES.items() if precision == "fp32" or has_bf16_products()
    }
    if len(best) < len(SIDES):
        print("bf16 is not compared: this processor has neither AMX nor AVX512-bf16", file=sys.stderr)
    for number in range(rounds):
        for name, known in best.items():
            print(f"generation, round {number + 1} of {rounds}: {name} …", file=sys.stderr)
            command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.training.bench_generation"]
            found, _ = in_process([*command, "--side", name, "--repeats", str(repeats)])
            for batch, measured in found.items():
                assert isinstance(measured, dict)
                before = known.setdefault(batch, measured)
                for clock in ("seconds", "processor"):
                    before[clock] = min(before[clock], measured[clock])
    return [
        compared(batch, best[ours][str(batch)], best[theirs][str(batch)], *words)
        for (ours, theirs), words in COMPARED.items()
        if ours in best
        for batch in AIMS
    ]


def compared(batch: int, ours: dict[str, Any], theirs: dict[str, Any], precision: str, against: str) -> Row:
    """One batch size of two sides."""
    equal = sum(a == b for a, b in zip(ours["tokens"], theirs["tokens"], strict=True))
    speeds = [batch * NEW / side[CLOCK] for side in (ours, theirs)]
    processor = theirs["processor"] / ours["processor"]
    return Row(
        work=f"generation, {precision}, batch {batch}, {PROMPT}+{NEW} tokens",
        against=against,
        ours=speeds[0],
        theirs=speeds[1],
        ratio=speeds[0] / speeds[1],
        unit="tokens/s" if CLOCK == "seconds" else "tokens/processor s",
        versions={name: version(name) for name in ("torch", "transformers")},
        at_least=AIMS[batch],
        note=f"{THREADS} thread{'s' * (THREADS > 1)}; {processor:.2f}× by processor time; "
        f"{equal} of {batch} answers equal, token for token",
    )


def main() -> None:
    """One side if told so, else all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=list(SIDES), help="measure one side only, as JSON")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(*SIDES[options.side], options.repeats)))
        return
    found = rows(options.rounds, options.repeats)
    write("training", found)
    show("Generation", found)
    for row in found:
        print(f"{row.work} against {row.against}: {row.note}")


if __name__ == "__main__":
    main()
