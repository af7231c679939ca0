"""Greedy generation against Hugging Face `generate`, the same weights, fp32, 64 new tokens after prompts of 64.

    python -m tests.benchmarks.training.bench_generation

Each side runs in processes of its own, in turns, and its fastest call counts: on a busy machine everything else is
noise from outside. With --threads 1 processor time is compared, which other programs disturb less. No end token is
used, so that both sides write as much.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from tests.benchmarks.rows import Row, in_process, show, write

AIMS = {1: 2.0, 16: 3.0, 64: None}  # by batch size
PROMPT, NEW, VOCABULARY = 64, 64, 4096
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6,
    "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 256, "initializer_range": 0.1,
}  # fmt: skip


def measure(side: str, threads: int, repeats: int) -> dict[str, Any]:
    """Seconds of the fastest call by batch size, processor seconds, and what was written."""
    import torch

    from model.config import ModelConfig
    from model.transformer import Transformer

    torch.set_num_threads(threads)
    model = Transformer(ModelConfig(**SHAPE)).eval()
    write = _ours(model) if side == "ours" else _theirs(model)
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


def _ours(model: Any) -> Callable[[list[list[int]]], list[list[int]]]:
    from model.generation import generate
    from model.sampling import GREEDY

    return lambda prompts: generate(
        model, prompts, max_new_tokens=NEW, sampling=GREEDY, eos_token_id=[], pad_token_id=3, seed=0
    )


def _theirs(model: Any) -> Callable[[list[list[int]]], list[list[int]]]:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    other = transformers.LlamaForCausalLM(transformers.LlamaConfig(**model.config.to_dict())).eval()
    other.load_state_dict(model.state_dict(), strict=False)
    other.tie_weights()
    other.generation_config.eos_token_id = None

    def write(prompts: list[list[int]]) -> list[list[int]]:
        ids = torch.tensor(prompts)
        written = other.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, pad_token_id=3
        )
        return written[:, PROMPT:].tolist()

    return write


def compare(threads: int, rounds: int, repeats: int) -> list[Row]:
    """The rows, both sides measured in turns."""
    best: dict[str, dict[str, dict[str, Any]]] = {"ours": {}, "theirs": {}}
    for number in range(rounds):
        for side, known in best.items():
            print(f"round {number + 1} of {rounds}: {side} …", file=sys.stderr)
            command = [sys.executable, "-m", __spec__.name, "--side", side]
            command += ["--threads", str(threads), "--repeats", str(repeats)]
            found, _ = in_process(command)
            for batch, measured in found.items():
                assert isinstance(measured, dict)
                before = known.setdefault(batch, measured)
                for name in ("seconds", "processor"):
                    before[name] = min(before[name], measured[name])
    clock = "processor" if threads == 1 else "seconds"
    rows = []
    for batch, aim in AIMS.items():
        ours, theirs = best["ours"][str(batch)], best["theirs"][str(batch)]
        equal = sum(a == b for a, b in zip(ours["tokens"], theirs["tokens"], strict=True))
        processor = theirs["processor"] / ours["processor"]
        speeds = [batch * NEW / side[clock] for side in (ours, theirs)]
        rows.append(
            Row(
                work=f"generation, batch {batch}, {PROMPT}+{NEW} tokens",
                against="HF generate",
                ours=speeds[0],
                theirs=speeds[1],
                ratio=speeds[0] / speeds[1],
                unit="tokens/s" if clock == "seconds" else "tokens/processor s",
                versions={name: version(name) for name in ("torch", "transformers")},
                at_least=aim,
                note=f"fp32, {threads} thread{'s' * (threads > 1)}; {processor:.2f}× by processor time; "
                f"{equal} of {batch} answers equal, token for token",
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=["ours", "theirs"], help="measure one side only, as JSON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.threads, options.repeats)))
        return
    rows = compare(options.threads, options.rounds, options.repeats)
    write("training", rows)
    show("Generation", rows)
    for row in rows:
        print(f"{row.work}: {row.note}")


if __name__ == "__main__":
    main()
