"""PPO: the fine-tuned model learns from the reward model, on prompts it was not fine-tuned on."""

import copy
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from model.acceleration import accelerated
from model.chat import render_prompt
from model.experience import sequence_kl
from model.export import load_causal, load_scalar, save_pretrained
from model.ppo import prompt_batch, train_ppo
from model.ppo_settings import PPOSettings
from model.precision import Precision, resolve_device, resolve_precision, use_threads
from model.rollout import collate
from model.seeding import derive
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from tasks.assessment import (
    Assessment,
    Assessor,
    Question,
    answer_questions,
    compare,
    flat,
    mean_by_question,
    with_interval,
)
from tasks.batch_parts import check_parts
from tasks.lineage.errors import ConfigError, DataError
from tasks.rater import ReferenceRater
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage
from tasks.torchrun import train_under_torchrun
from tasks.watching import BatchDocument, Watch, documents_where

NUM_SAMPLES = 50  # rows of samples.jsonl
KL_ROWS = 64  # responses at once: two distributions over the vocabulary for each token are held


class PPOConfig(StageConfig):
    """Proximal policy optimisation (Schulman et al. 2017; Ouyang et al. 2022). KL is in nats a response."""

    iterations: int = Field(120, ge=1, description="rounds of sampling, scoring and learning")
    batch_size: int = Field(64, ge=1, description="responses an iteration")
    max_new_tokens: int = Field(40, ge=1, description="tokens after which an answer is cut off; as in ranking")
    temperature: float = Field(1.0, ge=0.01, le=5, description="of sampling, and of the log-probabilities")
    epochs: int = Field(2, ge=1, description="passes over an iteration's responses")
    minibatches: int = Field(2, ge=1, description="updates a pass")
    lr: float = Field(5e-5, gt=0, lt=1, description="learning rate of the policy")
    value_lr: float = Field(1e-4, gt=0, lt=1, description="learning rate of the value model")
    linear_decay: bool = Field(False, description="let both rates fall to 0 over the iterations")
    grad_clip: float | None = Field(1.0, gt=0, description="largest gradient norm, of each model; empty for none")
    gamma: float = Field(1.0, gt=0, le=1, description="discount a token")
    lam: float = Field(0.95, ge=0, le=1, description="λ of generalised advantage estimation")
    clip: float = Field(0.2, gt=0, lt=1, description="how far the probability ratio counts, ε")
    value_clip: float | None = Field(0.2, gt=0, description="how far a value may move an iteration; empty for no limit")
    whiten_advantages: bool = Field(True, description="advantages to mean 0, deviation 1 over an iteration")
    kl_coef: float = Field(0.2, ge=0, description="price of a nat of KL to the fine-tuned model, in rewards")
    kl_target: float | None = Field(None, gt=0, description="adapt kl_coef towards this KL; empty keeps it fixed")
    kl_horizon: int = Field(10_000, ge=1, description="responses over which kl_coef adapts")
    update_kl_limit: float | None = Field(
        0.05, gt=0, description="KL a token within an iteration after which its updates end; empty for no limit"
    )
    missing_eos_penalty: float = Field(1.0, ge=0, description="off the reward of an answer that was cut off")
    repetition_penalty: float = Field(
        10.0, ge=0, description="off the reward of an answer, times its share of repeated word pairs"
    )
    rater: ReferenceRater = Field(
        default_factory=ReferenceRater, description="gives the gold score, never shown to the policy; as in ranking"
    )
    evaluation_prompts: int = Field(4000, ge=1, description="held-out prompts for the final figures, at most")
    evaluation_samples: int = Field(2, ge=1, description="sampled answers to each of them")
    watch_every: int = Field(20, ge=1, description="iterations between two looks at held-out prompts")
    watch_prompts: int = Field(96, ge=1, description="held-out prompts to look at; logged, nothing is chosen by them")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where it is fast")
    seed: int = Field(0, ge=0, description="of prompts, sampling and mini-batches")

    @model_validator(mode="after")
    def _a_response_for_each_update(self) -> Self:
        check_parts("minibatches", self.minibatches, self.batch_size, "an update needs a response")
        return self

    def resolved(self) -> Self:
        return self.model_copy(update={"precision": resolve_precision(self.precision)})

    def settings(self, precision: Precision) -> PPOSettings:
        """What `model.ppo` needs of these."""
        names = {field.name for field in fields(PPOSettings)} & type(self).model_fields.keys()
        return PPOSettings(**{**{name: getattr(self, name) for name in names}, "precision": precision})


@dataclass(frozen=True)
class _Course:
    """What one run of the stage works with."""

    config: PPOConfig
    tokenizer: Tokenizer
    policy: Transformer
    finetuned: Transformer
    assessor: Assessor
    precision: Precision

    def answers(
        self, model: Transformer, questions: list[Question], *, greedy: bool, samples: int = 1
    ) -> tuple[list[list[int]], Assessment]:
        """Held-out responses of `model` and their worth; the same random numbers whichever model is asked."""
        responses = answer_questions(
            model,
            self.tokenizer,
            questions,
            max_new_tokens=self.config.max_new_tokens,
            temperature=0.0 if greedy else self.config.temperature,
            seed=derive(self.config.seed, "ppo evaluation"),
            samples=samples,
        )
        repeated = [question for question in questions for _ in range(samples)]
        return responses, self.assessor.assess(repeated, responses)

    def kl(self, questions: list[Question], responses: list[list[int]]) -> NDArray[np.float64]:
        """KL (N,) of the policy to the fine-tuned model along each response of its own."""
        found = []
        device = next(self.policy.parameters()).device
        for start in range(0, len(responses), KL_ROWS):
            rollout = collate(
                [question.ids for question in questions[start : start + KL_ROWS]],
                responses[start : start + KL_ROWS],
                eos_token_id=self.tokenizer.im_end_id,
                pad_token_id=self.tokenizer.pad_id,
                device=device,
            )
            kl = sequence_kl(
                self.policy,
                self.finetuned,
                rollout,
                temperature=self.config.temperature,
                precision=self.precision,
            )
            found.append(kl.double().cpu().numpy())
        return np.concatenate(found)


def read_questions(
    pairs: Path, split: str, tokenizer: Tokenizer, max_prompt_tokens: int, limit: int | None = None
) -> list[Question]:
    """The first `limit` questions of a split of pairs.parquet, in the order of pair_id (a hash), that leave room for
    an answer. DataError if there is none."""
    table = pq.read_table(pairs, columns=["pair_id", "prompt", "response"], filters=[("split", "=", split)])
    rows = sorted(table.to_pylist(), key=lambda row: row["pair_id"])
    questions = []
    for row in rows:
        ids = render_prompt(tokenizer, row["prompt"])
        if len(ids) <= max_prompt_tokens:
            questions.append(Question(row["prompt"], ids, row["response"].strip()))
        if len(questions) == limit:
            break
    if not questions:
        raise DataError(
            f"no prompt of the {split!r} split leaves room for an answer within {max_prompt_tokens} tokens: give more "
            "pairs to `pair`, or lower ppo.max_new_tokens"
        )
    return questions


def _held_out(course: _Course, questions: list[Question]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Final figures of policy and fine-tuned model on questions neither was trained on, and a table of answers."""
    samples, seed = course.config.evaluation_samples, course.config.seed
    responses, sampled = course.answers(course.policy, questions, greedy=False, samples=samples)
    _, greedy = course.answers(course.policy, questions, greedy=True)
    _, sampled_sft = course.answers(course.finetuned, questions, greedy=False, samples=samples)
    _, greedy_sft = course.answers(course.finetuned, questions, greedy=True)
    kl = course.kl([question for question in questions for _ in range(samples)], responses)
    figures = compare(flat(sampled, greedy, samples), flat(sampled_sft, greedy_sft, samples), seed)
    figures |= with_interval("eval/kl", mean_by_question(kl, samples), seed)
    figures["eval/prompts"] = len(questions)
    table = [
        {"prompt": question.prompt, "human": question.human, "finetuned": before, "aligned": after}
        for question, before, after in zip(questions, greedy_sft.texts, greedy.texts, strict=True)
    ]
    return figures, table[:NUM_SAMPLES]


def _learn(
    run: StageRun,
    course: _Course,
    questions: list[Question],
    watched: list[Question],
    pairs: Path,
    device: torch.device,
    resources: Resources,
) -> None:
    """Trains the policy in place, logging each iteration."""
    config, tokenizer = course.config, course.tokenizer

    def score(prompts: list[int], responses: list[list[int]]) -> tuple[Tensor, dict[str, float]]:
        worth = course.assessor.assess([questions[place] for place in prompts], responses)
        # The reward model sees few answers that repeat themselves, so it alone does not keep a policy from them.
        rewards = worth.reward - config.repetition_penalty * worth.repetition
        figures = {name: float(getattr(worth, name).mean()) for name in ("gold", "repetition")}
        return torch.from_numpy(rewards).float(), {**figures, "reward_model": float(worth.reward.mean())}

    def watch(iteration: int) -> dict[str, float]:
        sampled, greedy = (course.answers(course.policy, watched, greedy=greedy)[1] for greedy in (False, True))
        return {
            "heldout_gold": float(sampled.gold.mean()),
            "heldout_gold_greedy": float(greedy.gold.mean()),
            "heldout_reward": float(sampled.reward.mean()),
            "heldout_repetition_greedy": float(greedy.repetition.mean()),
        }

    def documents(iteration: int) -> list[BatchDocument]:
        chosen = prompt_batch(len(questions), config.batch_size, config.seed, iteration)
        return documents_where(pairs, "prompt", [questions[place].prompt for place in chosen], doc_id="pair_id")

    shown = ("reward", "gold", "kl", "tokens_per_second", "mfu")
    told = Watch(run, "ppo", config.iterations, documents, device=device, shown=shown, prefix="ppo")
    value = copy.deepcopy(course.assessor.reward_model)
    frugal = accelerated(course.policy, value, activation_checkpointing=resources.activation_checkpointing)
    with told.naming_documents(), frugal:
        train_ppo(
            course.policy,
            course.finetuned,
            value,
            [question.ids for question in questions],
            score,
            config.settings(course.precision),
            eos_token_id=tokenizer.im_end_id,
            pad_token_id=tokenizer.pad_id,
            checkpoint_dir=run.work / "checkpoints",
            checkpoint_seconds=resources.checkpoint_seconds,
            checkpoint_steps=resources.checkpoint_steps,
            device=device,
            on_step=told,
            evaluate=watch,
            evaluate_every=config.watch_every,
        )


@stage(output="model", retries=2, libraries=("numba", "torch", "pyarrow", "tokenizers", "safetensors"))
def ppo(
    run: StageRun, model: Artifact, reward_model: Artifact, pairs: Artifact, config: PPOConfig, resources: Resources
) -> None:
    """Aligns the fine-tuned `model` to `reward_model` on the "ppo" prompts, and writes model/.

    The value model starts as a copy of the reward model. Figures are on the "evaluation" prompts, which nothing was
    trained on: eval/X of the aligned and eval/X_sft of the fine-tuned model, sampled and greedy.
    """
    resources = run.without(resources, "compile", *(["shard"] if resources.processes > 1 else []))
    if resources.processes > 1:  # they leave the last checkpoint, which `learn` goes on from
        inputs = {"model": model, "reward_model": reward_model, "pairs": pairs}
        train_under_torchrun(run, "ppo", inputs, config, resources)
    course, num_prompts, held_out = learn(run, model, reward_model, pairs, config, resources)
    figures, table = _held_out(course, held_out)
    save_pretrained(course.policy, course.tokenizer, run.output / "model")
    (run.output / "metrics.json").write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    with (run.output / "samples.jsonl").open("w", encoding="utf-8") as file:
        for row in table:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    run.log_metrics({**figures, "ppo/prompts": num_prompts})


class Learned(NamedTuple):
    """The course with the aligned policy, on how many prompts it learned, and the questions it is measured on."""

    course: _Course
    num_prompts: int
    held_out: list[Question]


def learn(
    run: StageRun, model: Artifact, reward_model: Artifact, pairs: Artifact, config: PPOConfig, resources: Resources
) -> Learned:
    """Aligns the policy."""
    use_threads(resources.threads)
    device = resolve_device(resources.device)
    precision = resolve_precision(config.precision, device)
    finetuned, tokenizer = load_causal(model.path / "model", device=device)
    scorer, scorer_tokenizer = load_scalar(reward_model.path / "model", device=device)
    if scorer_tokenizer.to_json() != tokenizer.to_json():
        raise ConfigError("the reward model has another tokenizer than the policy: train it from the same model")
    assessor = Assessor(tokenizer, scorer.eval(), config.rater, precision)
    course = _Course(config, tokenizer, copy.deepcopy(finetuned).eval(), finetuned.eval(), assessor, precision)

    room = min(finetuned.config.max_position_embeddings, scorer.config.max_position_embeddings) - config.max_new_tokens
    prompts = read_questions(pairs.path / "pairs.parquet", "ppo", tokenizer, room)
    held_out = read_questions(pairs.path / "pairs.parquet", "evaluation", tokenizer, room, config.evaluation_prompts)
    run.logger.info("PPO on %d prompts, %d iterations of %d", len(prompts), config.iterations, config.batch_size)
    watched = held_out[: config.watch_prompts]
    _learn(run, course, prompts, watched, pairs.path / "pairs.parquet", device, resources)
    return Learned(course, len(prompts), held_out)
