"""Pretrain: a Transformer learns to predict the next token of the text, and is measured on text held out from it.

The baseline beside it is an interpolated Kneser–Ney 3-gram over the very tokens that the Transformer read, on the same
held-out documents.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from model.bootstrap import bootstrap_interval
from model.config import ModelConfig
from model.data import PackedWindows
from model.evaluation import bits_per_byte, document_bits
from model.export import save_pretrained
from model.generation import generate
from model.losses import language_modelling_loss
from model.ngram import KneserNey
from model.precision import resolve_device, resolve_precision, use_threads
from model.sampling import Sampling
from model.seeding import derive, generator
from model.tokenizer import SMALLEST_VOCABULARY
from model.training import TrainingConfig, train
from model.transformer import Transformer
from tasks.batch_parts import check_parts
from tasks.lineage.errors import DataError
from tasks.lineage.fates import LEDGER
from tasks.stage import Artifact, Resources, StageConfig, StageRun, neutral, stage
from tasks.tokens import HeldOut, Tokens
from tasks.torchrun import train_under_torchrun
from tasks.watching import BatchDocument, Watch, documents_where

PREFIX_TOKENS = 32  # of a held-out document, to be continued in samples.jsonl
CONTINUATION_TOKENS = 64
MANY_EPOCHS = 8  # up to four are nearly as good as new text (Muennighoff et al. 2023)


class PretrainConfig(StageConfig):
    """A Llama-shaped Transformer, next-token prediction."""

    # The sizes suit a budget of minutes on two cores: in equal time 128 × 5 reached 2.13 bits per byte (550k tokens),
    # 192 × 6 reached 2.33 (300k tokens). Small budgets want small models (Hoffmann et al. 2022).
    hidden_size: int = Field(128, ge=8, description="width of the residual stream")
    num_hidden_layers: int = Field(5, ge=1, description="layers")
    num_attention_heads: int = Field(4, ge=1, description="query heads; must divide hidden_size")
    num_key_value_heads: int = Field(2, ge=1, description="key and value heads; must divide num_attention_heads")
    intermediate_size: int = Field(344, ge=8, description="width of the feed-forward layers")
    context_length: int = Field(256, ge=16, description="tokens a row, and the most the model can read at once")
    tie_word_embeddings: bool = Field(True, description="one matrix for input and output embeddings")
    tokens: int = Field(6_000_000, ge=1, description="tokens to train on; the text is read again when it is used up")
    steps: int | None = Field(None, ge=1, description="optimiser steps, instead of tokens")
    # At 246k tokens of docstrings, bits per byte: batch 8, lr 4e-3: 2.325, 8e-3: 2.287, 16e-3: 2.300; batch 4, lr 8e-3:
    # 2.236 for 15% more time. Longer runs want lower rates, so the default lies between the first two.
    batch_size: int = Field(8, ge=1, description="rows a step")
    accumulation: int = Field(1, ge=1, description="parts a step's rows are computed in, to save memory")
    optimizer: Literal["muon", "adamw"] = Field("muon", description="muon: for matrices, with AdamW for the rest")
    lr: float = Field(6e-3, gt=0, lt=1, description="peak learning rate of matrices")
    adamw_lr: float | None = Field(4.5e-3, gt=0, lt=1, description="peak rate of embeddings and norms; empty: lr")
    weight_decay: float = Field(0.1, ge=0, lt=10, description="of matrices; embeddings and norms are never decayed")
    schedule: Literal["wsd", "cosine", "constant"] = Field("wsd", description="wsd: warm-up, stable, linear decay")
    warmup_fraction: float = Field(0.03, ge=0, le=1, description="share of steps that warm up")
    decay_fraction: float = Field(0.6, ge=0, le=1, description="share of steps that decay (wsd)")
    grad_clip: float | None = Field(1.0, gt=0, description="largest gradient norm; empty: no limit")
    z_loss: float = Field(
        0.0,
        ge=0,
        description="times log² of the softmax's normaliser, added to the loss; PaLM: 1e-4. 0 for none",
        json_schema_extra=neutral(0.0),
    )
    spike_deviations: float | None = Field(
        None,
        gt=0,
        description="leave out an update whose loss or gradient norm is so many deviations over the last 128 steps' "
        "mean; 6 is usual, empty for never",
        json_schema_extra=neutral(None),
    )
    document_mask: bool = Field(False, description="no attention across documents of one row")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where it is fast")
    evaluations: int = Field(8, ge=1, description="held-out losses along the way")
    evaluation_tokens: int = Field(400_000, ge=1, description="held-out tokens to measure on at the end")
    ngram_tokens: int = Field(30_000_000, ge=1, description="most tokens that the 3-gram baseline counts")
    samples: int = Field(16, ge=0, description="held-out documents continued in samples.jsonl")
    seed: int = Field(0, ge=0, description="of weights, order and samples")

    @model_validator(mode="after")
    def _a_row_for_each_part(self) -> Self:
        check_parts("accumulation", self.accumulation, self.batch_size, "a part needs a row")
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        model_config(self, SMALLEST_VOCABULARY)  # now, not once there are tokens
        return self

    def resolved(self) -> Self:
        return self.model_copy(update={"precision": resolve_precision(self.precision)})

    def num_steps(self) -> int:
        """The budget in steps; tokens are rounded up to whole steps."""
        return self.steps or -(-self.tokens // self.tokens_per_step)

    @property
    def tokens_per_step(self) -> int:
        """Of all rows."""
        return self.batch_size * self.context_length


def model_config(config: PretrainConfig, vocab_size: int) -> ModelConfig:
    """The model's sizes. Raises ValueError where they do not fit together."""
    names = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "tie_word_embeddings",
    )
    return ModelConfig(
        vocab_size=vocab_size,
        max_position_embeddings=config.context_length,
        **{name: getattr(config, name) for name in names},
    )


def build_model(config: PretrainConfig, vocab_size: int) -> Transformer:
    """The untrained model. Raises ValueError for sizes that do not fit together."""
    return Transformer(model_config(config, vocab_size), generator=generator(config.seed, "pretrain", "weights"))


def training_config(config: PretrainConfig) -> TrainingConfig:
    """What the engine is told."""
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
    return TrainingConfig(
        steps=config.num_steps(),
        precision=resolve_precision(config.precision),
        **{name: getattr(config, name) for name in names},
    )


@stage(output="model", retries=2, libraries=("numba", "numpy", "safetensors", "tokenizers", "torch"))
def pretrain(run: StageRun, tokens: Artifact, config: PretrainConfig, resources: Resources) -> None:
    """Train, export and measure a language model."""
    if resources.processes > 1:  # they leave the last checkpoint, which `learn` goes on from
        train_under_torchrun(run, "pretrain", {"tokens": tokens}, config, resources)
    model, windows, source, held_out = learn(run, tokens, config, resources)
    save_pretrained(model, source.tokenizer, run.output / "model")
    figures = measure(model, windows, source, held_out, config)
    run.log_metrics(figures)
    content = {"steps": config.num_steps(), "parameters": model.config.num_parameters(), **figures}
    (run.output / "metrics.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_samples(run, model, source, held_out, config)


def learn(
    run: StageRun, tokens: Artifact, config: PretrainConfig, resources: Resources
) -> tuple[Transformer, PackedWindows, Tokens, HeldOut]:
    """The trained model, and what it was trained and is measured on."""
    use_threads(resources.threads)
    source = Tokens(tokens.path)
    windows = make_windows(source, config)
    held_out = source.held_out(config.evaluation_tokens, config.seed)
    model = build_model(config, source.vocab_size)
    run.logger.info(
        "%d parameters, %d steps of %d tokens; the text has %d training tokens",
        model.config.num_parameters(),
        config.num_steps(),
        config.tokens_per_step,
        windows.shards.num_tokens,
    )
    epochs = config.num_steps() * config.tokens_per_step / windows.shards.num_tokens
    if epochs > MANY_EPOCHS:
        run.logger.warning(
            "the text is read %.0f times, and after four it is learnt by heart more and more: watch the held-out "
            "loss, lower pretrain.tokens or give more text",
            epochs,
        )
    fit(run, model, windows, source, held_out, config, resources)
    return model, windows, source, held_out


def make_windows(source: Tokens, config: PretrainConfig) -> PackedWindows:
    """The training batches. Raises DataError where the text does not fill one row."""
    try:
        return PackedWindows(
            source.shards("train"),
            context=config.context_length,
            batch_size=config.batch_size,
            seed=config.seed,
            document_end=source.document_end if config.document_mask else None,
        )
    except ValueError as error:
        raise DataError(f"pretrain: {error} (pretrain.context_length)") from error


def fit(
    run: StageRun,
    model: Transformer,
    windows: PackedWindows,
    source: Tokens,
    held_out: HeldOut,
    config: PretrainConfig,
    resources: Resources,
) -> None:
    """Train in place. Raises DataError naming the documents where the loss is no longer finite."""
    settings = training_config(config)
    device = resolve_device(resources.device)
    some = max(1, len(held_out.documents) // 8)

    def evaluate(step: int) -> Mapping[str, float]:
        bits = held_out_bits(model, held_out.documents[:some], source, config)
        tokens = sum(len(document) for document in held_out.documents[:some])
        return {"eval/loss": float(bits.sum() * np.log(2) / tokens)}

    def documents(step: int) -> list[BatchDocument]:
        return documents_where(source.path / LEDGER, "doc_id", source.documents_in(windows.spans_at(step)))

    watch = Watch(run, "pretrain", settings.steps, documents, device=device)
    with watch.naming_documents():
        train(
            model,
            windows,
            partial(language_modelling_loss, z_loss=config.z_loss) if config.z_loss else language_modelling_loss,
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
            evaluate=evaluate,
            evaluate_every=max(1, settings.steps // config.evaluations),
        )


def held_out_bits(model: Transformer, documents: list[Any], source: Tokens, config: PretrainConfig) -> Any:
    """Bits of each document (N,)."""
    device = model.model.embed_tokens.weight.device
    return document_bits(
        model,
        documents,
        start_token=source.document_end,
        context=config.context_length,
        device=device,
        precision=resolve_precision(config.precision),
    )


def measure(
    model: Transformer, windows: PackedWindows, source: Tokens, held_out: HeldOut, config: PretrainConfig
) -> dict[str, float]:
    """Bits per byte of the model and of the 3-gram, and how many fewer the model takes, with 95% intervals."""
    bits = held_out_bits(model, held_out.documents, source, config)
    seen = windows.read_by(config.num_steps())[: max(1, config.ngram_tokens // config.context_length)]
    grams = source.trigrams_in([windows.span(int(window)) for window in seen])
    baseline = KneserNey(grams, source.vocab_size).document_bits(held_out.documents, source.document_end)
    held_out_tokens = sum(len(document) for document in held_out.documents)
    return {
        **bits_per_byte(bits, held_out.num_bytes, config.seed).metrics("eval/bits_per_byte"),
        **bits_per_byte(baseline, held_out.num_bytes, config.seed).metrics("eval/ngram_bits_per_byte"),
        **bootstrap_interval(baseline - bits, config.seed, weights=held_out.num_bytes).metrics(
            "eval/bits_saved_per_byte"
        ),
        "eval/loss": float(bits.sum() * np.log(2) / held_out_tokens),
        "eval/documents": len(held_out.documents),
        "ngram_tokens": len(grams),
        "train_tokens": config.num_steps() * config.tokens_per_step,
        "parameters": model.config.num_parameters(),
    }


def write_samples(run: StageRun, model: Transformer, source: Tokens, held_out: HeldOut, config: PretrainConfig) -> None:
    """samples.jsonl: the beginnings of held-out documents, how the model goes on, and how the document does."""
    prefix = min(PREFIX_TOKENS, config.context_length // 2)
    length = min(CONTINUATION_TOKENS, config.context_length - prefix)
    chosen = [row for row, document in enumerate(held_out.documents) if len(document) > prefix + 1][: config.samples]
    prompts = [held_out.documents[row][:prefix].tolist() for row in chosen]
    written = (
        generate(
            model,
            prompts,
            max_new_tokens=length,
            sampling=Sampling(0.8, top_p=0.95),
            eos_token_id=source.document_end,
            pad_token_id=source.tokenizer.pad_id,
            seed=derive(config.seed, "samples"),
        )
        if prompts
        else []
    )
    with (run.output / "samples.jsonl").open("w", encoding="utf-8") as file:
        for row, prompt, continuation in zip(chosen, prompts, written, strict=True):
            truth = held_out.documents[row][prefix : prefix + length].tolist()
            line = {
                "document": held_out.doc_ids[row],
                "prefix": source.tokenizer.decode(prompt),
                "continuation": source.tokenizer.decode(continuation),
                "truth": source.tokenizer.decode(truth),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
