"""The one training engine: pretraining, fine-tuning and the reward model are `train` with other batches and losses.

Exactness: a batch is a pure function of the step, chance comes from named streams or from the global generators (seeded
here by the config, and saved), and a checkpoint holds the rest. So a run that was killed at any moment, and started
again with the same folder, ends with the same bytes as one that was not (on equal numerics, see
`model.checkpoint.numerics`).
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from model.acceleration import accelerated
from model.checkpoint import (
    CheckpointClock,
    Checkpoints,
    numerics,
    own_random_state,
    random_state,
    restore_random_state,
)
from model.determinism import deterministic_algorithms
from model.distributed import Ranks, ReadMicroBatches
from model.optim import OptimizerName, Optimizers, build_optimizers, clip_gradients
from model.precision import Precision, autocast
from model.prefetch import Prefetched
from model.resume import Resumable
from model.schedules import Schedule, learning_rate_factor
from model.sharding import own_rows, reshard, shard
from model.spikes import SpikeRule
from model.stopping import StopRequest, TrainingStopped
from model.throughput import flops_per_token, matmul_peak


class NonFiniteLoss(ValueError):
    """The loss or the gradient of `batches(step)` is NaN or infinite, and the weights are still those before it; or
    its update has left weights that are not finite, which were not saved."""

    def __init__(self, step: int, loss: float, grad_norm: float, after: str = "") -> None:
        super().__init__(
            f"training diverged at step {step} (counted from 0): loss {loss}, gradient norm {grad_norm}{after}; "
            f"lower the learning rate, warm up for longer, clip harder, or look at the documents of this "
            f"step"
        )
        self.step = step


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; every field shapes the result. `batch_size` is for the maker of batches, the engine ignores it."""

    steps: int
    batch_size: int = 16
    lr: float = 3e-3
    adamw_lr: float | None = None  # rate of embeddings, heads and norms; None: lr
    optimizer: OptimizerName = "muon"
    weight_decay: float = 0.1
    beta2: float = 0.95
    schedule: Schedule = "wsd"
    warmup_fraction: float = 0.03
    decay_fraction: float = 0.6
    grad_clip: float | None = 1.0
    accumulation: int = 1  # micro-batches a step, see `train` for how they are weighted
    spike_deviations: float | None = None  # skip an update that stands out so far (model.spikes); None: none
    precision: Precision = "fp32"
    seed: int = 0


class Batches(Protocol):
    """A pure function of the step, so that there is no iterator to save. Tensors on the CPU, rows first."""

    def __call__(self, step: int) -> dict[str, Tensor]: ...


Figures = Mapping[str, Tensor | float]
Loss = Callable[[nn.Module, dict[str, Tensor]], tuple[Tensor, Figures]]
OnStep = Callable[[int, dict[str, float]], None]


def train(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    config: TrainingConfig,
    *,
    checkpoint_dir: Path | None = None,
    checkpoint_seconds: float = 30,
    checkpoint_steps: int | None = None,
    data_workers: int = 0,
    device: str | torch.device = "cpu",
    compile: bool = False,
    activation_checkpointing: bool = False,
    divide_model: bool = False,
    on_step: OnStep | None = None,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
    evaluate_every: int | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Trains `model` in place for `config.steps` steps, going on from `checkpoint_dir` if it holds a checkpoint.

    `loss(model, batch)` returns the scalar to minimise (a mean) and further figures. Where a step's batch is divided,
    over micro-batches or processes, parts are weighted by their figure "tokens", or "weight" which is not passed on, or
    else by their rows. After each step
    `on_step(step, figures)`, with step counted from 1, gets those figures and "loss", "lr", "grad_norm",
    "tokens_per_second" (from the batch's "input_ids"), "mfu" (see model.throughput; for models that tell their sizes)
    and, where there is a spike rule, "skipped" (1.0 if it left this update out) and "skipped_updates" so far; after
    every `evaluate_every` steps and after the last, also what `evaluate(step)` returns (called with the model in eval
    mode, without gradients).

    Checkpoints are written every `checkpoint_seconds`, but so seldom that they take 2% of the time at most, besides
    every `checkpoint_steps` steps, and after the last step. `data_workers` threads read batches ahead.

    In a process group (see model.distributed) each rank trains on its share of the rows; the first one calls `on_step`
    and saves. With `divide_model` each also holds its rows of the model alone, a `Transformer`, and saves them
    (model.sharding); the model stays divided afterwards.

    Stops with a checkpoint when SIGTERM arrives (it is then passed on; for threads other than the main one see
    model.stopping) or `should_stop()` is true: raises TrainingStopped. Raises NonFiniteLoss naming the step;
    CheckpointMismatch if the folder's checkpoint was made with another config or model. Leaves the model in eval mode.
    """
    run = _Run(model, loss, config, torch.device(device), compile, divide_model and Ranks.here().together)
    checkpoints = None if checkpoint_dir is None else Checkpoints(checkpoint_dir)
    clock = CheckpointClock(checkpoint_seconds, every_steps=checkpoint_steps)
    exact = deterministic_algorithms(compile or run.device.type == "cuda")
    fast = accelerated(model, compile=compile, activation_checkpointing=activation_checkpointing)
    with own_random_state(config.seed), StopRequest(should_stop) as stop, exact, fast:
        start = run.resume(checkpoints) if checkpoints else 0
        with Prefetched(run.ranks.share(batches, config.accumulation), start, config.steps, data_workers) as read:
            for step in range(start, config.steps):
                figures = run.step(step, read)
                done = step + 1
                last = done == config.steps
                measured = evaluate and (last or (evaluate_every and done % evaluate_every == 0))
                if measured or last:
                    run.check_weights(step, figures)
                if evaluate and measured:
                    figures |= run.evaluate(evaluate, done)
                if on_step and run.ranks.first:
                    on_step(done, figures)
                stopping, due = run.agree(stop.requested() and not last, bool(checkpoints) and clock.due(done))
                if checkpoints and (stopping or last or due):
                    if not (measured or last):
                        run.check_weights(step, figures)
                    with clock.measured():
                        run.save(checkpoints, done)
                if stopping:
                    raise TrainingStopped(done, saved=checkpoints is not None)
    model.eval()


class _Run:
    """The state of one call of `train`."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        config: TrainingConfig,
        device: torch.device,
        compile: bool,
        divided: bool,
    ) -> None:
        if divided:
            shard(model, device)
        self.model = model.to(device).train()
        self.divided = divided
        self.loss = loss
        self.config = config
        self.device = device
        self.ranks = Ranks.here()
        muon_dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self.optimizers: Optimizers = build_optimizers(
            model,
            config.optimizer,
            lr=config.lr,
            adamw_lr=config.adamw_lr,
            weight_decay=config.weight_decay,
            betas=(0.9, config.beta2),
            muon_dtype=muon_dtype,
        )
        self.parameters = self.optimizers.parameters()
        self.spikes = None if config.spike_deviations is None else SpikeRule(config.spike_deviations)
        self.resumable = Resumable(model, self.optimizers, asdict(config), numerics(device, compile), self.ranks)

    def step(self, step: int, read: ReadMicroBatches) -> dict[str, float]:
        """Makes one step (0-based) and returns its figures."""
        began = time.perf_counter()
        config = self.config
        factor = learning_rate_factor(
            config.schedule,
            step,
            config.steps,
            warmup_fraction=config.warmup_fraction,
            decay_fraction=config.decay_fraction,
        )
        self.optimizers.set_factor(factor)
        parts = [
            {name: tensor.to(self.device, non_blocking=True) for name, tensor in part.items()} for part in read(step)
        ]
        loss, extra = self._backward(parts)
        norm = clip_gradients(self.parameters, config.grad_clip)
        loss_value, norm_value = float(loss), float(norm)
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            raise NonFiniteLoss(step, loss_value, norm_value)
        figures = {"loss": loss_value, "lr": config.lr * factor, "grad_norm": norm_value}
        figures |= {name: float(value) for name, value in extra.items()}
        if self.spikes is not None:
            figures["skipped"] = float(self.spikes.is_spike(loss_value, norm_value))
            figures["skipped_updates"] = float(self.spikes.num_skipped)
        if not figures.get("skipped"):
            self.optimizers.step()
        self.optimizers.zero_grad()
        if "input_ids" in parts[0]:
            (tokens,) = self.ranks.sums([sum(part["input_ids"].numel() for part in parts)], self.device)
            figures["tokens_per_second"] = tokens / (time.perf_counter() - began)
            flops = flops_per_token(self.model, parts[0]["input_ids"].shape[-1])
            if flops is not None:
                peak = matmul_peak(self.device, config.precision) * self.ranks.size
                figures["mfu"] = figures["tokens_per_second"] * flops / peak
        return figures

    def _backward(self, parts: list[dict[str, Tensor]]) -> tuple[Tensor, Figures]:
        """Leaves the gradients of the mean loss; returns it with the figures, averaged over micro-batches."""
        if len(parts) == 1 and not self.ranks.together:
            loss, extra, _ = self._forward(parts[0])
            loss.backward()
            return loss.detach(), extra
        total_weight, total_loss = 0.0, torch.zeros((), device=self.device)
        totals: dict[str, float] = {}
        for part in parts:
            loss, extra, counted = self._forward(part)
            weight = float(counted)
            (loss * weight).backward()
            total_weight += weight
            total_loss += loss.detach() * weight
            for name, value in extra.items():
                totals[name] = totals.get(name, 0.0) + float(value) * (1.0 if name == "tokens" else weight)
        if self.ranks.together:
            if not self.divided:  # else the backward pass has summed them
                self.ranks.sum_gradients(self.parameters)
            sums = self.ranks.sums([total_weight, float(total_loss), *totals.values()], self.device)
            total_weight, total_loss = sums[0], torch.tensor(sums[1])
            totals = dict(zip(totals, sums[2:], strict=True))
        total_weight = total_weight or 1.0  # nothing counts: loss and gradients are 0
        torch._foreach_mul_([own_rows(p.grad) for p in self.parameters if p.grad is not None], 1 / total_weight)
        means = {name: value if name == "tokens" else value / total_weight for name, value in totals.items()}
        return total_loss / total_weight, means

    def _forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Figures, Tensor | float]:
        """The loss, its figures, and its weight among the parts of a step (not waited for: it may be on a GPU)."""
        with autocast(self.config.precision, self.device):
            loss, figures = self.loss(self.model, batch)
        rows = len(next(iter(batch.values())))
        passed_on = {name: value for name, value in figures.items() if name != "weight"}
        return loss, passed_on, figures.get("tokens", figures.get("weight", rows))

    def check_weights(self, step: int, figures: Mapping[str, float]) -> None:
        """The next step's loss would tell too, but there may be none, and what is saved or measured must be a model."""
        check_weights(self.parameters, self.ranks, self.device, step, figures["loss"], figures["grad_norm"])

    def evaluate(self, evaluate: Callable[[int], Mapping[str, float]], step: int) -> dict[str, float]:
        """What `evaluate` returns, called in eval mode without gradients; the global generators are left as they were,
        so that how often one evaluates does not change what is learned."""
        tensors, state = random_state()
        self.model.eval()
        with torch.no_grad():
            figures = {name: float(value) for name, value in evaluate(step).items()}
        self.model.train()
        reshard(self.model)
        restore_random_state(tensors, state)
        return figures

    def agree(self, stopping: bool, due: bool) -> list[bool]:
        """What all ranks do: stop if one is asked to, save when the first one's clock says so."""
        return self.ranks.any([stopping, due and self.ranks.first], self.device)

    def save(self, checkpoints: Checkpoints, step: int) -> None:
        """Saves all that the steps after `step` depend on."""
        self.resumable.save(checkpoints, step, {} if self.spikes is None else {"spikes": self.spikes.state()})

    def resume(self, checkpoints: Checkpoints) -> int:
        """Restores the newest valid checkpoint; returns the number of steps already done (0 if there is none)."""
        step, state = self.resumable.resume(checkpoints, self.config.steps)
        if self.spikes is not None and step:
            self.spikes.load_state(state["spikes"])
        return step


def check_weights(
    parameters: Sequence[nn.Parameter], ranks: Ranks, device: torch.device, step: int, loss: float, grad_norm: float
) -> None:
    """Raises NonFiniteLoss where the update of `step`, of this loss and norm, has left weights that are not finite on
    any rank."""
    broken = not all(bool(own_rows(parameter).isfinite().all()) for parameter in parameters)
    if ranks.any([broken], device)[0]:
        raise NonFiniteLoss(step, loss, grad_norm, ", and its update left weights that are not finite")
