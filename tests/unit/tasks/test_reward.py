import json
from pathlib import Path

import pytest
import torch

from model.export import load_scalar
from model.transformer import Transformer
from tasks.lineage.errors import ConfigError, DataError
from tasks.lineage.store import Store
from tasks.rankings import Ranking, held_out_figures, read_rankings
from tasks.reward import RankingBatches, RewardConfig, build_model, loss, reward, score_all, training_pairs
from tasks.stage import Artifact, Resources
from tests.alignment_world import ranking_rows, store_model, store_rankings, toy_config, toy_tokenizer

CONFIG = RewardConfig(
    num_hidden_layers=2, epochs=12, batch_size=8, optimizer="adamw", lr=3e-3, adamw_lr=None, human_weight=0.5
)


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    tokenizer = toy_tokenizer()
    return store_model(Transformer(toy_config(tokenizer)), tokenizer, tmp_path / "policy")


def test_the_reward_model_learns_a_toy_taste_and_is_normalised(policy: Artifact, tmp_path: Path):
    rows = ranking_rows()
    rankings = store_rankings(tmp_path / "rankings", rows)
    exact = CONFIG.model_copy(update={"precision": "fp32"})  # as it is scored below
    made = reward(model=policy, rankings=rankings, config=exact, resources=Resources())
    record = Store().record(made.key)
    assert record is not None
    metrics = record.metrics
    assert metrics["eval/pair_accuracy_model_model"] >= 0.95
    # Right answers of held-out prompts are new texts: by the processor's rounding it preferred 0.75 to all of them.
    assert metrics["eval/pair_accuracy_human_model"] >= 0.7
    assert metrics["eval/pair_accuracy_model_model_low"] <= metrics["eval/pair_accuracy_model_model"]
    assert metrics["eval/margin_model_model"] > 0
    # lengths of WORSE are 27, 16, 19, 6: "longer" gets all but (16, 19) of the six pairs right
    assert metrics["eval/pair_accuracy_length_only"] == pytest.approx(5 / 6)
    assert metrics["eval/length_only_prefers_longer"] == 1.0
    assert 0 < metrics["parameters"] < metrics["policy_parameters"]
    assert json.loads((made.path / "metrics.json").read_text())["eval/pairs_model_model"] == 60

    scorer, tokenizer = load_scalar(made.path / "model")
    train = read_rankings([row for row in rows if row["split"] == "train"], tokenizer, 64)
    scores = score_all(scorer.eval(), train, tokenizer.pad_id, "fp32")
    ours = torch.tensor([score for values in scores for score in values[:4]])
    assert ours.mean().item() == pytest.approx(0.0, abs=1e-3)
    assert ours.std(unbiased=False).item() == pytest.approx(1.0, abs=1e-3)


def test_twice_the_same_bytes_and_what_it_cannot_follow_is_said(
    policy: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    config = CONFIG.model_copy(update={"epochs": 1})
    first = reward(model=policy, rankings=store_rankings(tmp_path / "a", ranking_rows()), config=config)
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "other"))
    tokenizer = toy_tokenizer()
    again = store_model(Transformer(toy_config(tokenizer)), tokenizer, tmp_path / "policy again")
    assert "resources" not in caplog.text
    rankings = store_rankings(tmp_path / "b", ranking_rows())
    second = reward(model=again, rankings=rankings, config=config, resources=Resources(compile=True))
    assert first.digest == second.digest
    record = Store().record(second.key)
    assert record is not None and record.numerics["compile"] is False
    assert "resources.compile=True is not for this stage, which goes on without" in caplog.text


def test_a_reward_model_as_large_as_the_policy_is_refused(policy: Artifact, tmp_path: Path):
    rankings = store_rankings(tmp_path / "rankings", ranking_rows())
    for depth, words in ((3, "lower reward.num_hidden_layers"), (4, "must be smaller")):
        with pytest.raises(ConfigError, match=words):
            reward(model=policy, rankings=rankings, config=RewardConfig(num_hidden_layers=depth))


def test_depth_defaults_to_four_fifths_and_scratch_shares_no_weight():
    tokenizer = toy_tokenizer()
    big = Transformer(toy_config(tokenizer, num_hidden_layers=6))
    copied = build_model(big, RewardConfig())
    assert copied.config.num_hidden_layers == 5
    assert torch.equal(copied.model.layers[3].mlp.up_proj.weight, big.model.layers[3].mlp.up_proj.weight)
    fresh = build_model(big, RewardConfig(start="scratch"))
    assert not torch.equal(fresh.model.embed_tokens.weight, big.model.embed_tokens.weight)


def test_only_ties_give_a_clear_error(policy: Artifact, tmp_path: Path):
    rows = ranking_rows()
    for row in rows:
        for item in row["responses"]:  # type: ignore[attr-defined]
            item["rank"] = 1
    with pytest.raises(DataError, match="no ranking of the train split has a pair"):
        reward(model=policy, rankings=store_rankings(tmp_path / "rankings", rows), config=CONFIG)


def ranking() -> Ranking:
    tokenizer = toy_tokenizer()
    return read_rankings(ranking_rows()[:1], tokenizer, 64)[0]


def test_all_pairs_of_a_ranking_are_learned_from_with_their_weights():
    pairs = training_pairs(ranking(), CONFIG)
    assert len(pairs) == 10  # 5·4/2
    assert sorted(weight for _, weight in pairs) == [0.5] * 4 + [1.0] * 6
    assert len(training_pairs(ranking(), CONFIG.model_copy(update={"human_weight": 0.0}))) == 6
    # score gaps of the model's answers are 0.2, 0.4 and 0.6: only three reach 0.3
    assert len(training_pairs(ranking(), CONFIG.model_copy(update={"min_gap": 0.3, "human_weight": 0.0}))) == 3


def test_a_batch_encodes_each_answer_once_and_points_pairs_at_its_rows():
    tokenizer = toy_tokenizer()
    rankings = read_rankings(ranking_rows()[:3], tokenizer, 64)
    config = CONFIG.model_copy(update={"batch_size": 2, "margin": 1.0})
    batch_of = RankingBatches(rankings, config, tokenizer.pad_id)
    first, second = batch_of(0), batch_of(1)
    assert len(first["input_ids"]) == 10 and len(second["input_ids"]) == 5
    assert len(first["better"]) == 20
    for better, worse, margin in zip(first["better"], first["worse"], first["margin"], strict=True):
        assert better // 5 == worse // 5  # of one prompt
        assert margin > 0
    assert torch.equal(batch_of(0)["input_ids"], first["input_ids"])
    # the first four steps are two passes, each over all three prompts
    seen = [(row.tolist()[: int(n)], int(start)) for s in range(2) for row, n, start in
            zip(*(batch_of(s)[name] for name in ("input_ids", "lengths", "starts")), strict=True)]  # fmt: skip
    assert sorted(seen) == sorted(tuple(row) for item in rankings for row in item.rows)


def test_the_parts_of_more_processes_than_rankings_are_the_whole_batch():
    tokenizer = toy_tokenizer()
    model = build_model(Transformer(toy_config(tokenizer)), CONFIG)
    rankings = read_rankings(ranking_rows()[:2], tokenizer, 64)
    whole = RankingBatches(rankings, CONFIG, tokenizer.pad_id)
    parts = [loss(model, whole.share(rank, 3)(0)) for rank in range(3)]
    weights = [float(figures["weight"]) for _, figures in parts]
    assert weights == [8.0, 8.0, 0.0]  # of a ranking: six pairs of model answers, four with a human one at a half
    mean = sum(value.item() * weight for (value, _), weight in zip(parts, weights, strict=True)) / sum(weights)
    assert mean == pytest.approx(loss(model, whole(0))[0].item(), abs=1e-6)


def test_loss_of_an_untrained_model_is_near_log_two():
    tokenizer = toy_tokenizer()
    model = build_model(Transformer(toy_config(tokenizer)), CONFIG)
    rankings = read_rankings(ranking_rows()[:8], tokenizer, 64)
    value, figures = loss(model, RankingBatches(rankings, CONFIG, tokenizer.pad_id)(0))
    assert value.item() == pytest.approx(0.693, abs=0.1) and 0 <= float(figures["pair_accuracy"]) <= 1


def test_length_only_is_reversed_where_shorter_was_better_in_training():
    item = ranking()
    assert held_out_figures([[5, 4, 3, 2, 9]], [item], [item], 0)["eval/length_only_prefers_longer"] == 1.0
    short = Ranking(item.prompt, ["a", "bb", "ccc", "dddd", "human"], item.rows, item.human, item.scores, item.pairs)
    figures = held_out_figures([[5, 4, 3, 2, 9]], [short], [short], 0)
    assert figures["eval/length_only_prefers_longer"] == 0.0 and figures["eval/pair_accuracy_length_only"] == 1.0
    assert figures["eval/pair_accuracy_model_model"] == figures["eval/pair_accuracy_human_model"] == 1.0
