"""One measurement on a GPU, in a process of its own: it is told a job as JSON, and prints what it found as JSON.

    python -m tests.benchmarks.training.gpu_side '{"side": "ours", "compile": true, "optimizer": "muon"}'

Steps are timed in windows: the device is waited for at both ends of one and never within it, and of the windows the
median counts. Other programs find their batches on the device and read no loss on the way; ours reads batches, checks
every loss and trains by deterministic algorithms, as the stages have it do.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from flows.presets import PRESETS
from model.config import ModelConfig
from model.determinism import deterministic_algorithms
from model.losses import language_modelling_loss
from model.precision import Precision
from model.training import TrainingConfig, TrainingStopped, train
from model.transformer import Transformer
from tests.older_torch import compile_as_pinned

PRETRAIN = PRESETS["gpu"]["pretrain"]
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
SHAPES: dict[str, dict[str, Any]] = {
    "preset": {
        **{name: PRETRAIN[name] for name in SIZES},
        "vocab_size": PRESETS["gpu"]["tokenize"]["vocab_size"], "max_position_embeddings": PRETRAIN["context_length"],
    },
    "llama": {  # of the 32 layers of Llama 3 8B as many as fit 80 GB with gradients and moments in fp32
        "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 6,
        "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "rope_theta": 500_000.0,
        "tie_word_embeddings": False,
    },
    "tiny": {  # to try all this without a GPU
        "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    },
}  # fmt: skip
WARM_UP, WINDOWS, STEPS = 4, 3, 4  # windows of 4 steps each
PRODUCT, PRODUCTS = 8192, 30


@dataclass(frozen=True)
class Job:
    """What to measure. side: ours, hugging_face, nanogpt, ours_generating, hugging_face_generating or product."""

    side: str
    shape: str = "preset"
    rows: int = 64
    optimizer: Any = "adamw"
    precision: Precision = "bf16"  # hugging_face and nanogpt: under autocast
    compile: bool = False
    activation_checkpointing: bool = False
    exact: bool = True  # ours: by deterministic algorithms
    device: str = "cuda"


class Clock:
    """Counts steps, and times them in windows."""

    def __init__(self, job: Job) -> None:
        self.job, self.made, self.seconds = job, 0, list[float]()
        self.began = time.perf_counter()

    def step(self) -> bool:
        """A step was made; whether more are wanted."""
        self.made += 1
        if self.made == 1:
            self.first = self._since()
        elif self.made >= WARM_UP and (self.made - WARM_UP) % STEPS == 0:
            took = self._since()
            if self.made > WARM_UP:
                self.seconds.append(took / STEPS)
        return len(self.seconds) < WINDOWS

    def _since(self) -> float:
        if self.job.device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        took, self.began = now - self.began, now
        return took

    def found(self) -> dict[str, Any]:
        """Seconds and tokens of a step, seconds of the first one (with compiling), the GPU's memory at its fullest."""
        seconds = median(self.seconds)
        peak = torch.cuda.max_memory_allocated() if self.job.device == "cuda" else 0
        spread = (max(self.seconds) - min(self.seconds)) / seconds
        tokens = self.job.rows * SHAPES[self.job.shape]["max_position_embeddings"]
        return {
            "seconds": seconds, "tokens": tokens, "first": self.first, "spread": spread, "peak_gib": peak / 2**30,
        }  # fmt: skip


def batch(job: Job, step: int) -> dict[str, Tensor]:
    """Random ids (B, T) and the targets that follow them."""
    shape, random = SHAPES[job.shape], torch.Generator().manual_seed(step)
    ids = torch.randint(0, shape["vocab_size"], (job.rows, shape["max_position_embeddings"] + 1), generator=random)
    return {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}


def built(job: Job) -> Transformer:
    """Our model on the device, where billions of weights are drawn in no time."""
    model = Transformer(ModelConfig(**SHAPES[job.shape]), fresh=False).to(job.device)
    model.initialise(torch.Generator(job.device).manual_seed(0))
    return model


def ours(job: Job) -> dict[str, Any]:
    """The training engine as the stages call it."""
    model, more = built(job), [True]
    plainly = patch("model.training.deterministic_algorithms", lambda enabled: deterministic_algorithms(False))
    clock = Clock(job)
    with contextlib.suppress(TrainingStopped), contextlib.nullcontext() if job.exact else plainly:
        train(
            model,
            lambda step: batch(job, step),
            language_modelling_loss,
            TrainingConfig(steps=1_000_000, lr=3e-4, optimizer=job.optimizer, precision=job.precision),
            data_workers=1,
            device=job.device,
            compile=job.compile,
            activation_checkpointing=job.activation_checkpointing,
            on_step=lambda step, figures: more.append(clock.step()),
            should_stop=lambda: not more[-1],
        )
    return clock.found() | {"flops_per_token": model.config.flops_per_token()}


def plain(model: Any, loss: Callable[[dict[str, Tensor]], Tensor], job: Job) -> dict[str, Any]:
    """The usual loop: forward, backward, clip, fused AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    batches = [{name: ids.to(job.device) for name, ids in batch(job, step).items()} for step in range(4)]
    clock = Clock(job)
    for step in itertools.count():
        with torch.autocast(job.device, torch.bfloat16, enabled=job.precision == "bf16"):
            value = loss(batches[step % len(batches)])
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if not clock.step():
            return clock.found()
    raise AssertionError("steps do not end")


def hugging_face(job: Job) -> dict[str, Any]:
    """transformers' Llama with its own loss, attention by PyTorch's fused kernels."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**{"tie_word_embeddings": True, **SHAPES[job.shape]}, use_cache=False)
    config._attn_implementation = "sdpa"
    with torch.device(job.device):
        model = LlamaForCausalLM(config)
    run = torch.compile(model) if job.compile else model
    return plain(model, lambda given: run(input_ids=given["input_ids"], labels=given["input_ids"]).loss, job)


def nanogpt(job: Job) -> dict[str, Any]:
    """A GPT-2 shaped model with as many weights in its layers as ours has."""
    from tests.benchmarks.training.nanogpt_block import gpt_like

    with torch.device(job.device):
        model = gpt_like(SHAPES[job.shape])
    run = torch.compile(model) if job.compile else model
    return plain(model, lambda given: run(given["input_ids"], given["targets"]), job)


def generating(job: Job) -> dict[str, Any]:
    """Greedy answers to `rows` prompts: the seconds of the fastest of four calls, and the answers."""
    from tests.benchmarks.training.bench_generation import NEW, PROMPT, our_writer, their_writer

    model, random = built(job).eval(), torch.Generator().manual_seed(0)
    write = (our_writer if job.side == "ours_generating" else their_writer)(model, job.precision)
    prompts = torch.randint(4, model.config.vocab_size, (job.rows, PROMPT), generator=random).tolist()
    answers, seconds = write(prompts), []
    for _ in range(4):
        began = time.perf_counter()
        write(prompts)
        seconds.append(time.perf_counter() - began)
    return {"seconds": min(seconds), "tokens": job.rows * NEW, "answers": answers}


def product(job: Job) -> dict[str, Any]:
    """FLOPs a second of a large bf16 matrix product of random numbers."""
    size = PRODUCT if job.device == "cuda" else 256
    left, right = (torch.randn(size, size, device=job.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(PRODUCTS // 3):
        left @ right
    if job.device == "cpu":
        began = time.perf_counter()
        left @ right
        return {"flops": 2 * size**3 / (time.perf_counter() - began), "card": "a processor"}
    events = [torch.cuda.Event(enable_timing=True) for _ in range(PRODUCTS + 1)]
    events[0].record()
    for event in events[1:]:
        left @ right
        event.record()
    torch.cuda.synchronize()
    took = median(first.elapsed_time(second) for first, second in itertools.pairwise(events)) / 1000
    return {"flops": 2 * size**3 / took, "card": torch.cuda.get_device_name()}


SIDES: dict[str, Callable[[Job], dict[str, Any]]] = {
    "ours": ours,
    "hugging_face": hugging_face,
    "nanogpt": nanogpt,
    "ours_generating": generating,
    "hugging_face_generating": generating,
    "product": product,
}

if __name__ == "__main__":
    compile_as_pinned()
    told = Job(**json.loads(sys.argv[1]))
    print(json.dumps(SIDES[told.side](told)))
