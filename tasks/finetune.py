"""Finetune: the pretrained model learns to answer, from prompts and the answers that people wrote.

Measured on prompts of origins that gave no training text: chrF of its greedy answers to the human ones (β = 1, since
sacrebleu's β = 2 rewards length), beside the pretrained model's answers to the same prompts in the same chat format,
and to the plain prompt, which that model is better at.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from model.bootstrap import bootstrap_interval
from model.chat import encode_pair, render_prompt
from model.data import Example, ExampleBatches
from model.distributed import Ranks
from model.evaluation import example_losses
from model.export import load_causal, save_pretrained
from model.generation import generate
from model.losses import language_modelling_loss
from model.packing import PackedExamples
from model.precision import Precision, resolve_device, resolve_precision, use_threads
from model.sampling import GREEDY
from model.tokenizer import Tokenizer
from model.training import TrainingConfig, train
from model.transformer import Transformer
from tasks.batch_parts import check_parts
from tasks.lineage.errors import DataError
from tasks.pairs import HumanPair, read_pairs
from tasks.stage import Artifact, Resources, StageConfig, StageRun, neutral, stage
from tasks.text.chrf import chrf_scores
from tasks.torchrun import train_under_torchrun
from tasks.watching import BatchDocument, Watch, documents_where

SHAPE_MULTIPLE = 32  # compiled, rows are padded to a multiple of this, so that there are few shapes to compile


class FinetuneConfig(StageConfig):
    """Supervised fine-tuning on chat pairs, loss on the answers only."""

    epochs: int = Field(3, ge=1, description="passes over the pairs")
    steps: int | None = Field(None, ge=1, description="optimiser steps, instead of epochs")
    batch_size: int = Field(32, ge=1, description="pairs a step")
    accumulation: int = Field(
        1,
        ge=1,
        description="parts a step's pairs are computed in, to save memory",
        json_schema_extra=neutral(1),
    )
    packing: bool = Field(
        False,
        description="several pairs in a row of the whole context, with no attention between them; else rows are padded",
        json_schema_extra=neutral(False),
    )
    max_pairs: int | None = Field(None, ge=1, description="train on so many pairs at most; empty: on all")
    optimizer: Literal["muon", "adamw"] = Field("muon", description="muon: for matrices, with AdamW for the rest")
    lr: float = Field(2e-3, gt=0, lt=1, description="peak learning rate of matrices")
    adamw_lr: float | None = Field(1.5e-3, gt=0, lt=1, description="peak rate of embeddings and norms; empty: lr")
    weight_decay: float = Field(0.1, ge=0, lt=10, description="of matrices; embeddings and norms are never decayed")
    schedule: Literal["wsd", "cosine", "constant"] = Field("wsd", description="wsd: warm-up, stable, linear decay")
    warmup_fraction: float = Field(0.03, ge=0, le=1, description="share of steps that warm up")
    decay_fraction: float = Field(0.9, ge=0, le=1, description="share of steps that decay (wsd)")
    grad_clip: float | None = Field(1.0, gt=0, description="largest gradient norm; empty: no limit")
    spike_deviations: float | None = Field(
        None,
        gt=0,
        description="leave out an update whose loss or gradient norm is so many deviations over the last 128 steps' "
        "mean; 6 is usual, empty for never",
        json_schema_extra=neutral(None),
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where it is fast")
    validation_pairs: int = Field(500, ge=1, description="held-out pairs for the loss after each epoch, at most")
    eval_prompts: int = Field(300, ge=1, description="held-out prompts answered for chrF, at most")
    max_new_tokens: int = Field(64, ge=1, description="longest answer in tokens")
    samples: int = Field(24, ge=0, description="answers shown in samples.jsonl")
    seed: int = Field(0, ge=0, description="of order and of held-out samples")

    @model_validator(mode="after")
    def _a_row_for_each_part(self) -> Self:
        check_parts("accumulation", self.accumulation, self.batch_size, "a part needs a row")
        return self

    def resolved(self) -> Self:
        return self.model_copy(update={"precision": resolve_precision(self.precision)})


@stage(output="model", retries=2, libraries=("numba", "numpy", "pyarrow", "safetensors", "tokenizers", "torch"))
def finetune(run: StageRun, model: Artifact, pairs: Artifact, config: FinetuneConfig, resources: Resources) -> None:
    """Fine-tune, export and measure."""
    if resources.processes > 1:  # they leave the last checkpoint, which `learn` goes on from
        train_under_torchrun(run, "finetune", {"model": model, "pairs": pairs}, config, resources)
    policy, pretrained, tokenizer, training, validation = learn(run, model, pairs, config, resources)
    save_pretrained(policy, tokenizer, run.output / "model")
    figures = {"pairs": float(len(training.examples)), "pairs_too_long": float(training.too_long)}
    if validation.examples:
        device = resolve_device(resources.device)
        losses, counts = example_losses(policy, validation.examples, device=device, precision=_precision(config))
        figures |= bootstrap_interval(losses, config.seed, weights=counts).metrics("eval/loss")
    held_out = read_pairs(pairs.path, "evaluation", config.eval_prompts, config.seed)
    figures |= compare_answers(run, held_out, policy, pretrained, tokenizer, config)
    run.log_metrics(figures)
    (run.output / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


class Encoded(NamedTuple):
    """Pairs as examples, how many did not fit the context, and the pair of each example."""

    examples: list[Example]
    too_long: int
    pair_ids: list[str]


class Learned(NamedTuple):
    """The fine-tuned model, the one before, their tokenizer, and the pairs of learning and of its watching."""

    policy: Transformer
    pretrained: Transformer
    tokenizer: Tokenizer
    training: Encoded
    validation: Encoded


def learn(run: StageRun, model: Artifact, pairs: Artifact, config: FinetuneConfig, resources: Resources) -> Learned:
    """Fine-tune. Raises DataError where there is no pair to learn from."""
    use_threads(resources.threads)
    # One of several processes takes to its device no more than what it trains.
    device = "cpu" if Ranks.here().together else resolve_device(resources.device)
    pretrained, tokenizer = load_causal(model.path / "model", device=device)
    policy = copy.deepcopy(pretrained)
    training = examples_of(read_pairs(pairs.path, "finetune", config.max_pairs, config.seed), policy, tokenizer)
    validation = examples_of(
        read_pairs(pairs.path, "validation", config.validation_pairs, config.seed), policy, tokenizer
    )
    if not training.examples:
        raise DataError(
            f"there is no pair to fine-tune on ({training.too_long} are too long for a context of "
            f"{policy.config.max_position_embeddings} tokens): add pairs, or raise pretrain.context_length"
        )
    run.logger.info("%d pairs to learn from, %d left out as too long", len(training.examples), training.too_long)

    def sources(rows: Sequence[int]) -> list[BatchDocument]:
        ids = [training.pair_ids[row] for row in rows]
        return documents_where(pairs.path / "pairs.parquet", "pair_id", ids, doc_id="pair_id")

    fit(run, policy, training.examples, validation.examples, tokenizer, config, resources, sources)
    return Learned(policy, pretrained, tokenizer, training, validation)


def examples_of(pairs: Sequence[HumanPair], model: Transformer, tokenizer: Tokenizer) -> Encoded:
    """Pairs in chat format, those too long for the model left out."""
    encoded = [Example(*encode_pair(tokenizer, pair.prompt, pair.response)) for pair in pairs]
    fits = [len(example.ids) <= model.config.max_position_embeddings for example in encoded]
    ids = [pair.pair_id for pair in pairs]
    return Encoded(list(compress(encoded, fits)), len(encoded) - sum(fits), list(compress(ids, fits)))


def make_batches(
    examples: list[Example], config: FinetuneConfig, pad_token_id: int, context: int, compiled: bool = False
) -> ExampleBatches | PackedExamples:
    """The training batches: packed rows, or padded ones."""
    shared: dict[str, Any] = {"batch_size": config.batch_size, "seed": config.seed, "pad_token_id": pad_token_id}
    if config.packing:
        return PackedExamples(examples, context=context, **shared)
    return ExampleBatches(examples, context=context, multiple=SHAPE_MULTIPLE if compiled else 1, **shared)


def _precision(config: FinetuneConfig) -> Precision:
    return resolve_precision(config.precision)


def fit(
    run: StageRun,
    model: Transformer,
    training: list[Example],
    validation: list[Example],
    tokenizer: Tokenizer,
    config: FinetuneConfig,
    resources: Resources,
    sources: Callable[[Sequence[int]], Sequence[BatchDocument]],
) -> None:
    """Train in place. Raises DataError, naming the pairs by `sources` of their rows in `training`, where the loss is no
    longer finite."""
    device = resolve_device(resources.device)
    batches = make_batches(training, config, tokenizer.pad_id, model.config.max_position_embeddings, resources.compile)
    names = (
        "batch_size",
        "lr",
        "adamw_lr",
        "optimizer",
        "weight_decay",
        "schedule",
        "warmup_fraction",
        "decay_fraction",
        "grad_clip",
        "accumulation",
        "spike_deviations",
        "seed",
    )
    settings = TrainingConfig(
        steps=config.steps or config.epochs * batches.steps_per_epoch,
        precision=_precision(config),
        **{name: getattr(config, name) for name in names},
    )

    def evaluate(step: int) -> Mapping[str, float]:
        losses, counts = example_losses(model, validation, device=device, precision=settings.precision)
        return {"eval/loss": losses.sum() / counts.sum()}

    watch = Watch(run, "finetune", settings.steps, lambda step: sources(batches.rows_at(step).tolist()), device=device)
    with watch.naming_documents():
        train(
            model,
            batches,
            language_modelling_loss,
            settings,
            checkpoint_dir=run.work / "checkpoints",
            checkpoint_seconds=resources.checkpoint_seconds,
            checkpoint_steps=resources.checkpoint_steps,
            data_workers=resources.data_workers,
            device=device,
            compile=resources.compile,
            activation_checkpointing=resources.activation_checkpointing,
            divide_model=resources.shard,
            on_step=watch,
            evaluate=evaluate if validation else None,
            evaluate_every=batches.steps_per_epoch,
        )


def answers(
    model: Transformer, tokenizer: Tokenizer, prompts: Sequence[list[int]], config: FinetuneConfig
) -> list[str]:
    """Greedy answers as text, each ending at the end of a turn or of a document."""
    written = generate(
        model,
        prompts,
        max_new_tokens=config.max_new_tokens,
        sampling=GREEDY,
        eos_token_id=tokenizer.im_end_id,
        pad_token_id=tokenizer.pad_id,
        seed=config.seed,
    )
    ended = [ids[: ids.index(tokenizer.endoftext_id)] if tokenizer.endoftext_id in ids else ids for ids in written]
    return [text.strip() for text in tokenizer.decode_batch(ended)]


def compare_answers(
    run: StageRun,
    held_out: Sequence[HumanPair],
    policy: Transformer,
    pretrained: Transformer,
    tokenizer: Tokenizer,
    config: FinetuneConfig,
) -> dict[str, float]:
    """chrF of both models on the held-out prompts, with 95% intervals; writes samples.jsonl. No held-out prompt, no
    figures."""
    room = policy.config.max_position_embeddings - config.max_new_tokens
    asked = [(pair, render_prompt(tokenizer, pair.prompt)) for pair in held_out]
    kept = [(pair, ids) for pair, ids in asked if len(ids) <= room]
    if not kept:
        run.logger.warning("No held-out prompt of at most %d tokens: chrF is not measured", room)
        (run.output / "samples.jsonl").touch()
        return {"eval/prompts": 0.0}
    pairs, chats = [pair for pair, _ in kept], [ids for _, ids in kept]
    plain = [[tokenizer.endoftext_id, *tokenizer.encode(f"{pair.prompt}\n")] for pair in pairs]
    texts = {
        "finetuned": answers(policy, tokenizer, chats, config),
        "pretrained": answers(pretrained, tokenizer, chats, config),
        "pretrained_plain": answers(pretrained, tokenizer, plain, config),
    }
    human = [pair.response for pair in pairs]
    scores = {name: chrf_scores(answered, human) for name, answered in texts.items()}
    with (run.output / "samples.jsonl").open("w", encoding="utf-8") as file:
        for number, pair in enumerate(pairs[: config.samples]):
            row = {
                "prompt": pair.prompt,
                "human": pair.response,
                "pretrained": texts["pretrained"][number],
                "finetuned": texts["finetuned"][number],
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return {
        **score_figures(scores, config.seed),
        **length_figures(texts["finetuned"], human),
        "eval/prompts": float(len(pairs)),
    }


def score_figures(scores: Mapping[str, NDArray[np.float64]], seed: int) -> dict[str, float]:
    """chrF of each kind of answer and the paired gain over the better way to prompt the pretrained model."""
    better = max((scores["pretrained"], scores["pretrained_plain"]), key=lambda values: float(values.mean()))
    return {
        **bootstrap_interval(scores["finetuned"], seed).metrics("eval/chrf"),
        **bootstrap_interval(scores["pretrained"], seed).metrics("eval/chrf_pretrained"),
        **bootstrap_interval(scores["pretrained_plain"], seed).metrics("eval/chrf_pretrained_plain"),
        **bootstrap_interval(scores["finetuned"] - better, seed).metrics("eval/chrf_gain"),
    }


def length_figures(ours: Sequence[str], human: Sequence[str]) -> dict[str, float]:
    """Mean characters of the answers, ours and people's, so that a score won by length is seen."""
    return {
        "eval/length": float(np.mean([len(text) for text in ours])),
        "eval/length_human": float(np.mean([len(text) for text in human])),
    }
