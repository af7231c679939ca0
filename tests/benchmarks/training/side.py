"""One side of a comparison in a process of its own: it makes training steps when told to, and says what they took.

    python -m tests.benchmarks.training.side ours --precision bf16 --compile --threads 2

Reads a number of steps a line, answers each with a line of JSON: seconds by the clock and by the processor, the last
loss, and the peak of memory above that of the loaded libraries. `Side` is the other end of the pipe. All sides read the
same random batches.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil

from model.memory import peak_resident_bytes

SHAPE = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
}
ROWS, TOKENS = 8, 256


class Side:
    """The process of one side. variables: added to the environment; None takes one out."""

    def __init__(self, name: str, *options: str, variables: Mapping[str, str | None] | None = None) -> None:
        environment = {**os.environ, **(variables or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.training.side", name, *options],
            env={key: value for key, value in environment.items() if value is not None},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def steps(self, count: int) -> dict[str, float]:
        """Make so many steps and give what they took."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return dict(json.loads(answer))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def processor_seconds() -> float:
    """Of this process and of those it started, compilers among them."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class Told:
    """The near end of the pipe: how many steps are asked for, and the answers."""

    def __init__(self) -> None:
        self.left = 0

    def loaded(self) -> None:
        """Every library is imported and no model is made: wait for the first order.

        A step of a tiny model first loads what PyTorch loads late (its compiler's modules with the first optimiser, the
        kernels of matrix products), so that it counts as library and not as memory of the step.
        """
        import torch

        tiny = torch.nn.Linear(64, 64)
        optimizer = torch.optim.AdamW(tiny.parameters())
        tiny(torch.ones(64, 64)).sum().backward()
        torch.nn.utils.clip_grad_norm_(tiny.parameters(), 1.0)
        optimizer.step()
        self.start_mib = psutil.Process().memory_info().rss / 2**20
        self.read()

    def read(self) -> None:
        """Wait for the next order; `left` stays 0 where there is none."""
        line = sys.stdin.readline()
        self.left = int(line) if line else 0
        self.began = time.perf_counter(), processor_seconds()

    def made_step(self, loss: float) -> bool:
        """Count a step, answer the order if that was its last; whether there is more to do."""
        self.left -= 1
        if self.left == 0:
            answer = {
                "seconds": time.perf_counter() - self.began[0],
                "processor_seconds": processor_seconds() - self.began[1],
                "loss": loss,
                "peak_mib": peak_resident_bytes() / 2**20 - self.start_mib,
            }
            print(json.dumps(answer), flush=True)
            self.read()
        return self.left > 0


def batch(step: int) -> dict[str, Any]:
    """Random ids (B, T) and the targets that follow them."""
    import torch

    ids = torch.randint(0, SHAPE["vocab_size"], (ROWS, TOKENS + 1), generator=torch.Generator().manual_seed(step))
    return {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}


def ours(options: argparse.Namespace, told: Told) -> None:
    """The project's training engine as the stages call it."""
    import torch

    from model.config import ModelConfig
    from model.losses import language_modelling_loss
    from model.precision import autocast
    from model.training import TrainingConfig, TrainingStopped, train
    from model.transformer import Transformer

    tiny = {
        "vocab_size": 64,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    with autocast(options.precision, "cpu"):  # loads the machine code, which counts as library too
        model = Transformer(ModelConfig(**(SHAPE | tiny)))  # type: ignore[arg-type]
        ids = torch.zeros(1, 32, dtype=torch.long)
        language_modelling_loss(model, {"input_ids": ids, "targets": ids})[0].backward()
    told.loaded()
    more = [True]
    with contextlib.suppress(TrainingStopped):
        train(
            Transformer(ModelConfig(**SHAPE)),  # type: ignore[arg-type]
            batch,
            language_modelling_loss,
            TrainingConfig(steps=1_000_000, optimizer=options.optimizer, precision=options.precision),
            compile=options.compile,
            activation_checkpointing=options.activation_checkpointing,
            on_step=lambda step, figures: more.append(told.made_step(figures["loss"])),
            should_stop=lambda: not more[-1],
        )


def plain(model: Any, loss: Callable[[dict[str, Any]], Any], options: argparse.Namespace, told: Told) -> None:
    """The usual loop: forward, backward, clip, AdamW."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for step in itertools.count():
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            value = loss(batch(step))
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if not told.made_step(float(value.detach())):
            return


def hugging_face(options: argparse.Namespace, told: Told) -> None:
    """transformers' Llama of the same shape with its own loss."""
    from transformers import LlamaConfig, LlamaForCausalLM

    told.loaded()
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True, use_cache=False))
    # `labels` are shifted inside, so the ids themselves are given: one position of 256 less to predict than ours.
    plain(model, lambda given: model(input_ids=given["input_ids"], labels=given["input_ids"]).loss, options, told)


def nanogpt(options: argparse.Namespace, told: Told) -> None:
    """A GPT-2 shaped model with as many weights in its layers as ours has."""
    from tests.benchmarks.training.nanogpt_block import gpt_like

    told.loaded()
    model = gpt_like(SHAPE)
    plain(model, lambda given: model(given["input_ids"], given["targets"]), options, told)


SIDES: dict[str, Callable[[argparse.Namespace, Told], None]] = {
    "ours": ours,
    "hugging_face": hugging_face,
    "nanogpt": nanogpt,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer until the input ends."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("side", choices=SIDES)
    options.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    options.add_argument("--compile", action="store_true")
    options.add_argument("--activation-checkpointing", action="store_true")
    options.add_argument("--threads", type=int, default=2)
    chosen = options.parse_args(arguments)
    import torch

    torch.set_num_threads(chosen.threads)
    SIDES[chosen.side](chosen, Told())


if __name__ == "__main__":
    main()
