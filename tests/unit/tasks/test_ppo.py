import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.export import load_causal
from model.scalar import ScalarModel
from model.tokenizer import Tokenizer
from tasks.assessment import Assessor, Question, compare, mean_by_question
from tasks.lineage.errors import ConfigError, DataError
from tasks.lineage.store import Store
from tasks.ppo import PPOConfig, ppo, read_questions
from tasks.rater import ReferenceRater
from tasks.stage import Artifact, Resources
from tests.alignment_world import (
    half_learned_policy,
    pair_rows,
    store_model,
    store_pairs,
    toy_config,
    toy_tokenizer,
)

CONFIG = PPOConfig(
    iterations=3, batch_size=8, max_new_tokens=12, lr=1e-3, evaluation_prompts=6, watch_every=2, watch_prompts=3,
    precision="fp32",
)  # fmt: skip
RESOURCES = Resources(checkpoint_seconds=0.001, checkpoint_steps=1, threads=1)


class World:
    def __init__(self, folder: Path) -> None:
        self.tokenizer = toy_tokenizer()
        self.policy = half_learned_policy(self.tokenizer)
        self.model = store_model(self.policy, self.tokenizer, folder / "model")
        scorer = ScalarModel.from_causal(self.policy, 2)
        self.reward_model = store_model(scorer, self.tokenizer, folder / "reward", "reward_model")
        self.pairs = store_pairs(folder / "pairs")

    def align(self, config: PPOConfig = CONFIG) -> Artifact:
        return ppo(
            model=self.model, reward_model=self.reward_model, pairs=self.pairs, config=config, resources=RESOURCES
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    return World(tmp_path)


def test_the_stage_writes_a_model_that_moved_with_all_its_figures(world: World):
    aligned = world.align()
    record = Store().record(aligned.key)
    assert record is not None
    metrics = record.metrics
    for name in ("reward", "gold", "gold_greedy", "length", "repetition"):
        for suffix in ("", "_sft", "_gain"):
            mean = metrics[f"eval/{name}{suffix}"]
            assert metrics[f"eval/{name}{suffix}_low"] <= mean + 1e-9
            assert mean <= metrics[f"eval/{name}{suffix}_high"] + 1e-9
        gain = metrics[f"eval/{name}"] - metrics[f"eval/{name}_sft"]
        assert metrics[f"eval/{name}_gain"] == pytest.approx(gain, abs=1e-9)
    assert metrics["eval/kl"] > 0 and metrics["eval/kl_low"] <= metrics["eval/kl"] <= metrics["eval/kl_high"]
    assert metrics["eval/prompts"] == 6

    policy, _ = load_causal(aligned.path / "model")
    moved = [not torch.equal(a, b) for a, b in zip(policy.parameters(), world.policy.parameters(), strict=True)]
    assert all(moved)
    human = {row["prompt"]: row["response"] for row in pair_rows() if row["split"] == "evaluation"}
    rows = [json.loads(line) for line in (aligned.path / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    for row in rows:
        assert row.keys() == {"prompt", "human", "finetuned", "aligned"} and human[row["prompt"]] == row["human"]


def test_more_mini_batches_than_responses_are_refused():
    with pytest.raises(ValidationError, match="minibatches 3 is more than batch_size 2"):
        PPOConfig(batch_size=2, minibatches=3)


def test_each_iteration_is_logged(world: World):
    aligned = world.align()
    lines = Store().metrics_path(aligned.key).read_text().splitlines()
    by_step = {row["step"]: row["metrics"] for row in map(json.loads, lines) if row["step"] is not None}
    wanted = {f"ppo/{name}" for name in ("reward", "kl", "entropy", "clip_fraction", "length", "value_loss",
              "policy_loss", "kl_coef", "gold")}  # fmt: skip
    assert by_step.keys() == {1, 2, 3} and all(wanted <= figures.keys() for figures in by_step.values())
    assert "ppo/heldout_gold" in by_step[2] and "ppo/heldout_gold_greedy" in by_step[2]
    assert "ppo/heldout_gold" not in by_step[1]
    assert by_step[1]["ppo/kl"] == pytest.approx(0.0, abs=1e-4)


def test_a_broken_off_stage_goes_on_and_ends_with_the_same_bytes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assess = Assessor.assess
    calls = []

    def failing(self, questions, responses):
        calls.append(len(responses))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return assess(self, questions, responses)

    config = CONFIG.model_copy(update={"watch_every": 100})
    monkeypatch.setattr(Assessor, "assess", failing)
    with pytest.raises(KeyboardInterrupt):
        world.align(config)
    resumed = world.align(config)
    assert calls[:4] == [8, 8, 8, 8] and calls[4:] == [12, 6, 12, 6]  # only iteration 3 again, then held out

    monkeypatch.setattr(Assessor, "assess", assess)
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "other"))
    assert World(tmp_path / "again").align(config).digest == resumed.digest


def test_a_reward_model_of_another_tokenizer_is_refused(world: World, tmp_path: Path):
    other = Tokenizer.from_json(world.tokenizer.to_json().replace("<|pad|>", "<|fill|>"))
    scorer = ScalarModel(toy_config(world.tokenizer))
    world.reward_model = store_model(scorer, other, tmp_path / "stranger", "reward_model")
    with pytest.raises(ConfigError, match="another tokenizer"):
        world.align()


def test_questions_come_from_one_split_and_leave_room(world: World):
    pairs = world.pairs.path / "pairs.parquet"
    questions = read_questions(pairs, "ppo", world.tokenizer, 60)
    assert {q.prompt for q in questions} == {row["prompt"] for row in pair_rows() if row["split"] == "ppo"}
    assert read_questions(pairs, "ppo", world.tokenizer, 60, limit=2) == questions[:2]
    with pytest.raises(DataError, match="leaves room"):
        read_questions(pairs, "ppo", world.tokenizer, 3)


def test_gold_is_the_score_of_the_rankings(world: World):
    question = Question("What does open_file do?", [1, 2], "Open the file.")
    tokenizer = world.tokenizer
    ids = [*tokenizer.encode("Open the table."), tokenizer.im_end_id]
    assessor = Assessor(tokenizer, ScalarModel.from_causal(world.policy, 1), ReferenceRater(), "fp32")
    worth = assessor.assess([question, question], [ids, ids[:-1]])
    for place, finished in enumerate((True, False)):
        expected = ReferenceRater().rate("Open the table.", "Open the file.", finished=finished)
        assert worth.gold[place] == expected.score
    assert worth.length.tolist() == [len(ids) - 1] * 2 and worth.texts == ["Open the table."] * 2
    assert worth.reward[0] != worth.reward[1]  # the reward model sees whether the answer ended


def test_a_gain_is_paired_by_question():
    before = {"gold": np.array([0.1, 0.5, 0.9] * 20)}
    after = {"gold": before["gold"] + 0.01}
    figures = compare(after, before, seed=0)
    assert figures["eval/gold_low"] < figures["eval/gold_sft"]  # apart, the intervals overlap widely
    assert figures["eval/gold_gain_low"] == pytest.approx(0.01)
    np.testing.assert_allclose(mean_by_question(np.array([1.0, 3.0, 5.0, 5.0]), 2), [2.0, 5.0])
