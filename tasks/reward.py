"""Reward: a model smaller than the policy learns from rankings to score an answer with one number."""

import json
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import pyarrow.parquet as pq
import torch
from pydantic import Field
from torch import Tensor, nn

from model.answers import EncodedAnswer, answer_scores, answer_states, pad_answers, score_answers
from model.export import load_causal, save_pretrained
from model.precision import Precision, resolve_device, resolve_precision, use_threads
from model.preference import Pair, normalised_head, pairwise_loss
from model.scalar import ScalarModel
from model.seeding import generator
from model.tokenizer import Tokenizer
from model.training import Batches, TrainingConfig, train
from model.transformer import Transformer
from tasks.lineage.errors import ConfigError, DataError
from tasks.rankings import Ranking, held_out_figures, read_rankings
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage
from tasks.torchrun import train_under_torchrun
from tasks.watching import BatchDocument, Watch, documents_where

NUM_SAMPLES = 50  # rows of samples.jsonl


class RewardConfig(StageConfig):
    """Pairwise reward model (Ouyang et al. 2022, §3.5): all pairs of a ranking in one batch, ties left out."""

    num_hidden_layers: int | None = Field(
        None, ge=1, description="depth; empty for four fifths of the policy's. Must come out smaller than the policy"
    )
    start: Literal["finetuned", "scratch"] = Field(
        "finetuned", description="first layers of the fine-tuned model, or fresh weights"
    )
    epochs: int = Field(3, ge=1, description="passes over the training rankings; many overfit small sets")
    batch_size: int = Field(16, ge=1, description="prompts a step, each with all its answers")
    optimizer: Literal["muon", "adamw"] = Field("muon", description="muon: for matrices, with AdamW for the rest")
    lr: float = Field(2e-3, gt=0, lt=1, description="peak learning rate of matrices")
    adamw_lr: float | None = Field(1e-3, gt=0, lt=1, description="peak rate of embeddings, head and norms; empty: lr")
    weight_decay: float = Field(0.1, ge=0, description="of matrices")
    human_weight: float = Field(
        1.0, ge=0, le=1, description="weight in the loss of a pair of a human and a model answer; model pairs have 1"
    )
    margin: float = Field(
        0.0,
        ge=0,
        description="times the rater's score gap: by how much rewards should differ (Llama 2, eq. 2)",
    )
    min_gap: float = Field(0.0, ge=0, description="model pairs with a smaller score gap are not trained on")
    evaluate_every: int = Field(200, ge=1, description="steps between two held-out evaluations")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where it is fast")
    seed: int = Field(0, ge=0, description="of order and of fresh weights")

    def resolved(self) -> Self:
        return self.model_copy(update={"precision": resolve_precision(self.precision)})


def build_model(policy: Transformer, config: RewardConfig) -> ScalarModel:
    """The untrained reward model. ConfigError unless it has fewer parameters than `policy`."""
    depth = config.num_hidden_layers or max(1, round(policy.config.num_hidden_layers * 4 / 5))
    if depth > policy.config.num_hidden_layers:
        raise ConfigError(
            f"reward.num_hidden_layers is {depth}, the policy has {policy.config.num_hidden_layers}: "
            "give fewer, the reward model must be smaller than the policy"
        )
    chance = generator(config.seed, "reward model")
    model = ScalarModel.from_causal(policy, depth, generator=chance)
    if config.start == "scratch":
        model.model.initialise(chance)
    # A small head, so that training starts from near-equal scores and not from what a random head happens to like.
    with torch.no_grad():
        model.head.weight.mul_(0.1)
    if model.num_parameters() >= policy.config.num_parameters():
        raise ConfigError(
            f"the reward model has {model.num_parameters()} parameters, the policy {policy.config.num_parameters()}: "
            "lower reward.num_hidden_layers"
        )
    return model


def training_pairs(ranking: Ranking, config: RewardConfig) -> list[tuple[Pair, float]]:
    """The pairs to learn from with their weights."""
    weighted = []
    for pair in ranking.pairs:
        if ranking.involves_human(pair):
            weighted.append((pair, config.human_weight))
        elif ranking.gap(pair) >= config.min_gap:
            weighted.append((pair, 1.0))
    return [(pair, weight) for pair, weight in weighted if weight > 0]


@dataclass(frozen=True)
class RankingBatches:
    """Batches as a function of the step: whole rankings, each answer once, pairs as indices into the batch's rows."""

    rankings: list[Ranking]
    config: RewardConfig
    pad_token_id: int
    rank: int = 0
    size: int = 1

    def share(self, rank: int, size: int) -> Batches:
        """The rankings of each step that process `rank` of `size` learns from."""
        return replace(self, rank=rank, size=size)

    def __call__(self, step: int) -> dict[str, Tensor]:
        chosen = rankings_at(step, len(self.rankings), self.config)
        own = chosen[self.rank :: self.size]
        counts = float(bool(own))  # a process that has none computes with one that does not count
        rows: list[EncodedAnswer] = []
        pairs: list[tuple[int, int, float, float]] = []
        for index in own or chosen[:1]:
            ranking = self.rankings[index]
            for pair, weight in training_pairs(ranking, self.config):
                margin = self.config.margin * ranking.gap(pair)
                pairs.append((len(rows) + pair.better, len(rows) + pair.worse, weight * counts, margin))
            rows.extend(ranking.rows)
        input_ids, starts, lengths = pad_answers(rows, self.pad_token_id)
        better, worse, weights, margins = zip(*pairs, strict=True)
        return {
            "input_ids": input_ids,
            "starts": starts,
            "lengths": lengths,
            "better": torch.tensor(better),
            "worse": torch.tensor(worse),
            "weight": torch.tensor(weights),
            "margin": torch.tensor(margins),
        }


def epoch_order(num_rankings: int, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch takes the rankings."""
    order: list[int] = torch.randperm(num_rankings, generator=generator(seed, "reward order", epoch)).tolist()
    return order


def rankings_at(step: int, num_rankings: int, config: RewardConfig) -> list[int]:
    """Which rankings are in the batch of `step`."""
    epoch, place = divmod(step, steps_per_epoch(num_rankings, config))
    order = epoch_order(num_rankings, config.seed, epoch)
    return order[place * config.batch_size : (place + 1) * config.batch_size]


def steps_per_epoch(num_rankings: int, config: RewardConfig) -> int:
    """Steps of one pass; the last may hold fewer prompts."""
    return -(-num_rankings // config.batch_size)


def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor | float]]:
    """Pairwise loss of one batch, and the share of its pairs that come out right."""
    assert isinstance(model, ScalarModel)
    scores = answer_scores(model, batch["input_ids"], batch["starts"], batch["lengths"])
    value = pairwise_loss(scores, batch["better"], batch["worse"], batch["weight"], batch["margin"])
    right = (scores[batch["better"]] > scores[batch["worse"]]).float().mean()
    return value, {"pair_accuracy": right.detach(), "weight": batch["weight"].sum()}


def score_all(
    model: ScalarModel, rankings: list[Ranking], pad_token_id: int, precision: Precision
) -> list[list[float]]:
    """The model's score of every answer."""
    flat = score_answers(
        model, [row for ranking in rankings for row in ranking.rows], pad_token_id=pad_token_id, precision=precision
    ).tolist()
    scores = iter(flat)
    return [[next(scores) for _ in ranking.rows] for ranking in rankings]


def normalise(model: ScalarModel, rankings: list[Ranking], pad_token_id: int, precision: Precision) -> None:
    """Sets the head so that the scores of the fine-tuned model's answers in `rankings` have mean 0, deviation 1."""
    rows = [row for ranking in rankings for row, human in zip(ranking.rows, ranking.human, strict=True) if not human]
    states = answer_states(model, rows, pad_token_id=pad_token_id, precision=precision)
    with torch.no_grad():
        model.head.weight.copy_(normalised_head(model.head.weight.cpu(), states))


def _samples(rankings: list[Ranking], scores: list[list[float]]) -> list[dict[str, Any]]:
    """The answers of some held-out prompts, best reward first."""
    rows = []
    for ranking, values in list(zip(rankings, scores, strict=True))[:NUM_SAMPLES]:
        order = sorted(range(len(values)), key=lambda index: -values[index])
        rows.append(
            {
                "prompt": ranking.prompt,
                "best": ranking.texts[order[0]],
                "best_reward": round(values[order[0]], 3),
                "worst": ranking.texts[order[-1]],
                "worst_reward": round(values[order[-1]], 3),
                "human_reward": round(values[ranking.human.index(True)], 3) if any(ranking.human) else None,
            }
        )
    return rows


def _read(rankings: Artifact, tokenizer: Tokenizer, max_tokens: int, config: RewardConfig) -> dict[str, list[Ranking]]:
    """Rankings by split; training rankings without a pair to learn from are left out. DataError if a split is empty."""
    found = {}
    for split in ("train", "validation"):
        table = pq.read_table(rankings.path / "rankings.parquet", filters=[("split", "=", split)]).to_pylist()
        found[split] = read_rankings(table, tokenizer, max_tokens)
        if split == "train":
            found[split] = [ranking for ranking in found[split] if training_pairs(ranking, config)]
        if not found[split]:
            raise DataError(
                f"no ranking of the {split} split has a pair to use: rank more prompts, lower rank.rater.tie_margin or "
                "reward.min_gap, or raise reward.human_weight"
            )
    return found


@stage(output="reward_model", retries=2, libraries=("numba", "torch", "pyarrow", "tokenizers", "safetensors"))
def reward(run: StageRun, model: Artifact, rankings: Artifact, config: RewardConfig, resources: Resources) -> None:
    """Trains the reward model on rankings and writes model/, with its scores normalised over the policy's answers.

    An answer's reward is read half from its last token, half from all of them (`model.answers.answer_scores`).

    `model` is the fine-tuned policy: it gives the tokenizer, the first layers and the size to stay below. Figures
    are held out: prompts of the rankings' validation split.
    """
    resources = run.without(resources, "compile", *(["shard"] if resources.processes > 1 else []))
    if resources.processes > 1:  # they leave the last checkpoint, which `learn` goes on from
        train_under_torchrun(run, "reward", {"model": model, "rankings": rankings}, config, resources)
    policy_parameters, tokenizer, scorer, learned, held_out = learn(run, model, rankings, config, resources)
    precision = resolve_precision(config.precision, resolve_device(resources.device))
    normalise(scorer, learned, tokenizer.pad_id, precision)
    scores = score_all(scorer, held_out, tokenizer.pad_id, precision)
    metrics = held_out_figures(scores, learned, held_out, config.seed)
    metrics |= {"parameters": scorer.num_parameters(), "policy_parameters": policy_parameters}
    save_pretrained(scorer, tokenizer, run.output / "model")
    (run.output / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    with (run.output / "samples.jsonl").open("w", encoding="utf-8") as file:
        for row in _samples(held_out, scores):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    run.log_metrics(metrics)
    run.log_metrics({"reward/rankings": len(learned), "reward/rankings_validation": len(held_out)})


class Learned(NamedTuple):
    """What the reward model must stay below, the tokenizer, the reward model, and the rankings of learning and of
    measuring."""

    policy_parameters: int
    tokenizer: Tokenizer
    scorer: ScalarModel
    training: list[Ranking]
    held_out: list[Ranking]


def learn(run: StageRun, model: Artifact, rankings: Artifact, config: RewardConfig, resources: Resources) -> Learned:
    """The reward model, trained, its scores not yet normalised."""
    use_threads(resources.threads)
    device = resolve_device(resources.device)
    policy, tokenizer = load_causal(model.path / "model")
    scorer = build_model(policy, config)
    sets = _read(rankings, tokenizer, scorer.config.max_position_embeddings, config)
    learned, held_out = sets["train"], sets["validation"]
    precision = resolve_precision(config.precision, device)

    def evaluate(step: int) -> dict[str, float]:
        scores = score_all(scorer, held_out, tokenizer.pad_id, precision)
        return held_out_figures(scores, learned, held_out, config.seed)

    def documents(step: int) -> list[BatchDocument]:
        prompts = [learned[index].prompt for index in rankings_at(step, len(learned), config)]
        table = rankings.path / "rankings.parquet"
        return documents_where(table, "prompt", prompts, doc_id="prompt_id", source="origin")

    steps = config.epochs * steps_per_epoch(len(learned), config)
    settings = TrainingConfig(
        steps=steps,
        batch_size=config.batch_size,
        lr=config.lr,
        adamw_lr=config.adamw_lr,
        optimizer=config.optimizer,
        weight_decay=config.weight_decay,
        decay_fraction=0.9,
        precision=precision,
        seed=config.seed,
    )
    shown = ("loss", "pair_accuracy", "tokens_per_second", "mfu")
    watch = Watch(run, "reward", steps, documents, device=device, shown=shown)
    with watch.naming_documents():
        train(
            scorer,
            RankingBatches(learned, config, tokenizer.pad_id),
            loss,
            settings,
            checkpoint_dir=run.work / "checkpoints",
            checkpoint_seconds=resources.checkpoint_seconds,
            checkpoint_steps=resources.checkpoint_steps,
            data_workers=resources.data_workers,
            device=device,
            activation_checkpointing=resources.activation_checkpointing,
            on_step=watch,
            evaluate=evaluate,
            evaluate_every=config.evaluate_every,
        )
    return Learned(policy.config.num_parameters(), tokenizer, scorer, learned, held_out)
