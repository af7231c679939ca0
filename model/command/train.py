"""`train`: from text files to a model directory, over a tokenizer, held-out figures, and checkpoints on the way."""

import argparse
import dataclasses
import logging
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from model.bootstrap import Interval, NonFiniteValues
from model.command.corpus import Corpus, Split, prepare, split
from model.command.curve import Curve, last_figures
from model.command.device import fits_in_memory, given_device, step_fits
from model.command.errors import CommandError, TextError
from model.command.folder import TrainingFolder
from model.command.progress import Progress, duration
from model.command.recipe import Recipe, given_recipe
from model.command.step_documents import documents_of_step
from model.command.text import given_text
from model.config import ModelConfig
from model.data import PackedWindows
from model.distributed import ALONE, Ranks, process_group, started_by_torchrun
from model.evaluation import bits_per_byte, document_bits
from model.export import save_pretrained
from model.losses import language_modelling_loss
from model.precision import resolve_precision, use_threads
from model.seeding import generator
from model.throughput import peak_memory_bytes
from model.tokenizer import SMALLEST_VOCABULARY
from model.training import Loss, NonFiniteLoss, TrainingConfig, train
from model.transformer import Transformer

OTHERWISE = "Other settings need a new --out where a checkpoint is saved: from it the run ends the same way."
EVALUATIONS = 10  # on the way, on a tenth of the held-out documents


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Trains, or goes on, or finds the model finished; the figures, and the folder under "model". As one of torchrun's
    processes: the first returns that, the others nothing."""
    use_threads(options.threads)
    device = given_device(options.device)
    if started_by_torchrun():
        with process_group(torch.device(device)) as ranks:
            if not ranks.first:
                options.quiet = True
                logging.getLogger("model").setLevel(logging.WARNING)
            _run(options, device, ranks)
        if not ranks.first:
            return {}
    elif options.shard:
        raise CommandError("--shard divides the model over processes: start several with torchrun, see --help.")
    return _run(options, device, ALONE)


def _run(options: argparse.Namespace, device: str, ranks: Ranks) -> dict[str, Any]:
    """Alone: all of it. Together: up to the last checkpoint, from which the first goes on alone."""
    recipe = given_recipe(options)
    recipe = dataclasses.replace(recipe, precision=resolve_precision(recipe.precision, device))  # type: ignore[arg-type]
    text, progress, folder = given_text(options), Progress(options.quiet), TrainingFolder(options.out)
    with folder.owned() if ranks.first else nullcontext():
        parts = split(text, recipe, progress)
        identity = {"recipe": dataclasses.asdict(recipe), "text": parts.identity}
        result = folder.result(identity) if ranks.first else None
        (finished,) = ranks.any([result is not None], torch.device(device))
        if not finished:
            keeps_less = options.compile or options.activation_checkpointing
            step_fits(recipe, model_config(recipe, SMALLEST_VOCABULARY), device, keeps_less=keeps_less)
            if ranks.first:
                prepare(parts, recipe, folder.work, progress)
            ranks.wait()
            corpus = prepare(parts, recipe, folder.work, progress)  # finds what the first has written
            training = Training(recipe, corpus, device)
            if ranks.together:
                with naming_documents(training, parts):
                    training.learn(folder.work, options, progress, parts)
                return {}
            progress.say(
                f"{training.model.config.num_parameters():,} parameters, vocabulary {corpus.tokenizer.vocab_size:,}; "
                f"{parts.identity['train_documents']:,} documents of {corpus.train.num_tokens:,} tokens to learn from, "
                f"{len(corpus.held_out):,} held out ({parts.text.how()}); {training.config.steps:,} steps read it "
                f"{training.epochs:.1f} times"
            )
            with naming_documents(training, parts):
                result = {**parts.identity, **training.fit(folder.work, options, progress, parts)}
            del result["sha256"]
            exported = folder.work / "export"
            shutil.rmtree(exported, ignore_errors=True)
            save_pretrained(training.model, corpus.tokenizer, exported)
            folder.publish(exported, identity, result)
        elif not ranks.together:
            progress.say(f"{folder.path} is finished already: nothing was computed")
    return {"model": str(folder.path), **(result or {})}


class Training:
    """A model, its batches, and what it is measured on."""

    def __init__(self, recipe: Recipe, corpus: Corpus, device: str) -> None:
        self.recipe, self.corpus, self.device = recipe, corpus, device
        config = model_config(recipe, corpus.tokenizer.vocab_size)
        fits_in_memory(config, device)
        self.model = Transformer(config, generator=generator(recipe.seed, "pretrain", "weights"))
        steps = steps_within(recipe, corpus.train.num_tokens)
        self.config = TrainingConfig(**{**_shared(recipe, TrainingConfig), "steps": steps})
        try:
            self.windows = PackedWindows(
                corpus.train,
                context=recipe.context_length,
                batch_size=recipe.batch_size,
                seed=recipe.seed,
                document_end=corpus.tokenizer.endoftext_id if recipe.document_mask else None,
            )
        except ValueError as error:
            raise TextError(f"{error} (--context-length).") from error
        if self.windows.num_windows < recipe.batch_size:
            raise TextError(
                f"the text fills {self.windows.num_windows:,} rows of {recipe.context_length:,} tokens, so a step of "
                f"{recipe.batch_size:,} would read some of it twice: lower --batch-size or --context-length, or add "
                "text."
            )

    @property
    def epochs(self) -> float:
        """How many times the text is read."""
        return self.config.steps * self.recipe.tokens_per_step / self.corpus.train.num_tokens

    @property
    def loss(self) -> Loss:
        """What is minimised."""
        z_loss = self.recipe.z_loss
        return partial(language_modelling_loss, z_loss=z_loss) if z_loss else language_modelling_loss

    def documents(self, parts: Split, step: int) -> str:
        """The documents that `step`, counted from 0, reads, in words."""
        return documents_of_step(parts, self.windows, self.corpus.tokenizer.endoftext_id, step)

    def fit(self, work: Path, options: argparse.Namespace, progress: Progress, parts: Split) -> dict[str, float]:
        """Trains in place and measures before and after."""
        self.model.to(self.device)
        before = self.measure()
        progress.say(f"held-out text before: {before.mean:.3f} bits per byte")
        began, processor = time.monotonic(), time.process_time()
        self.learn(work, options, progress, parts, before.mean)
        took, worked = time.monotonic() - began, time.process_time() - processor
        memory = peak_memory_bytes(torch.device(self.device)) / 1e6
        progress.say(f"took {duration(took)}, {duration(worked)} of processor time, and {memory:,.0f} MB at most")
        after = self.measure()
        skipped = last_figures(work / "curve.jsonl").get("skipped_updates")
        return {
            "steps": self.config.steps,
            "parameters": self.model.config.num_parameters(),
            "bits_per_byte_before": before.mean,
            **after.metrics("bits_per_byte"),
            **({} if skipped is None else {"skipped_updates": int(skipped)}),
        }

    def learn(
        self,
        work: Path,
        options: argparse.Namespace,
        progress: Progress,
        parts: Split,
        before: float = float("nan"),
    ) -> None:
        """Trains in place. before: bits per byte of the held-out text, to be shown until it is measured again."""
        steps, held_out = self.config.steps, before

        def on_step(step: int, figures: dict[str, float]) -> None:
            nonlocal held_out
            curve.add(step, figures)
            held_out = figures.get("held_out_bits_per_byte", held_out)
            if figures.get("skipped") and not progress.quiet:  # the text is read again for it
                progress.say(
                    f"step {step - 1} (counted from 0) was a spike (loss {figures['loss']:.4g}, gradient norm "
                    f"{figures['grad_norm']:.4g}): its update is left out. {self.documents(parts, step - 1)}"
                )
            progress.report(
                step,
                steps,
                "step",
                f"loss {figures['loss']:.3f}",
                f"held out {held_out:.3f} bits/byte",
                *([f"{figures['skipped_updates']:.0f} updates skipped"] if figures.get("skipped_updates") else []),
                f"{figures['tokens_per_second']:,.0f} tokens/s",
                f"{figures['mfu']:.0%} MFU",
            )

        with Curve(work / "curve.jsonl", progress.say) as curve, _stop_on_ctrl_c(progress) as asked:
            train(
                self.model,
                self.windows,
                self.loss,
                self.config,
                checkpoint_dir=work / "checkpoints",
                checkpoint_seconds=options.checkpoint_seconds,
                data_workers=1,
                device=self.device,
                compile=options.compile,
                activation_checkpointing=options.activation_checkpointing,
                divide_model=options.shard,
                on_step=on_step,
                evaluate=self._glance,
                evaluate_every=max(1, steps // EVALUATIONS),
                should_stop=lambda: bool(asked),
            )

    def measure(self, share: int = 1) -> Interval:
        """Bits per byte of the held-out documents, or of the first of so many equal parts of them."""
        some = -(-len(self.corpus.held_out) // share)
        bits = document_bits(
            self.model,
            self.corpus.held_out[:some],
            start_token=self.corpus.tokenizer.endoftext_id,
            context=self.recipe.context_length,
            device=self.device,
            precision=self.config.precision,
        )
        return bits_per_byte(bits, self.corpus.num_bytes[:some])

    def _glance(self, step: int) -> Mapping[str, float]:
        return {"held_out_bits_per_byte": self.measure(EVALUATIONS).mean}


@contextmanager
def naming_documents(training: Training, parts: Split) -> Iterator[None]:
    """Within it, what is not finite becomes a CommandError, that of a step with the step's documents."""
    try:
        yield
    except NonFiniteLoss as error:
        raise CommandError(f"{error}. {OTHERWISE}\n{training.documents(parts, error.step)}") from error
    except NonFiniteValues as error:
        told = "training diverged: losses on the held-out text are not finite; lower the learning rate"
        raise CommandError(f"{told}. {OTHERWISE}") from error


def steps_within(recipe: Recipe, num_tokens: int) -> int:
    """The steps of a recipe on a text of so many tokens. Up to four readings teach nearly as much as new text would
    (Muennighoff et al. 2023). With ten, the preset `test` did worse on held-out text than with four (120 kB of plays:
    2.53 and 2.24 bits per byte), and with forty worse than before it had learnt anything (30 kB: 6.8 and 3.9)."""
    if recipe.max_epochs is None:
        return recipe.steps
    return max(1, min(recipe.steps, int(recipe.max_epochs * num_tokens / recipe.tokens_per_step)))


def model_config(recipe: Recipe, vocab_size: int) -> ModelConfig:
    """The model of a recipe. vocab_size: what its tokenizer came to."""
    shared = _shared(recipe, ModelConfig) | {"max_position_embeddings": recipe.context_length}
    return ModelConfig(vocab_size=vocab_size, **shared)


def _shared(recipe: Recipe, kind: type) -> dict[str, Any]:
    """The fields of the recipe that `kind` has too, but for the vocabulary, which the tokenizer decides."""
    names = {field.name for field in dataclasses.fields(kind)} - {"vocab_size"}
    return {name: value for name, value in dataclasses.asdict(recipe).items() if name in names}


@contextmanager
def _stop_on_ctrl_c(progress: Progress) -> Iterator[list[int]]:
    """Within it the first Ctrl-C fills the list that is yielded, and the second ends the program at once."""
    asked: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        progress.say("stopping after this step, with a checkpoint; Ctrl-C again ends at once")

    former = signal.signal(signal.SIGINT, receive)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, former)
