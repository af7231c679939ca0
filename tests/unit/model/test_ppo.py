import copy
import dataclasses
from pathlib import Path

import pytest
import torch

from model.checkpoint import CheckpointMismatch
from model.config import ModelConfig
from model.experience import assess, sequence_kl
from model.ppo import prompt_batch, train_ppo
from model.ppo_settings import PPOSettings
from model.rollout import collate, log_distribution
from model.scalar import ScalarModel
from model.training import NonFiniteLoss, TrainingStopped
from model.transformer import Transformer

EOS, PAD, WANTED = 2, 3, 7
CONFIG = ModelConfig(
    vocab_size=16, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=32,
)  # fmt: skip
PROMPTS = [[4, 5], [6], [8, 9, 10], [11], [12, 13]]
SETTINGS = PPOSettings(
    iterations=6, batch_size=16, max_new_tokens=6, epochs=2, minibatches=2, lr=1e-2, value_lr=1e-2,
    kl_coef=0.01, update_kl_limit=None,
)  # fmt: skip


def reward_the_wanted_token(prompts: list[int], responses: list[list[int]]) -> tuple[torch.Tensor, dict[str, float]]:
    scores = torch.tensor([sum(token == WANTED for token in response) / len(response) for response in responses])
    return scores, {"share": float(scores.mean())}


def models() -> tuple[Transformer, Transformer, ScalarModel]:
    policy = Transformer(CONFIG, generator=torch.Generator().manual_seed(1))
    return policy, copy.deepcopy(policy), ScalarModel.from_causal(policy, 1)


def run(settings: PPOSettings = SETTINGS, **options):
    policy, reference, value = models()
    figures: dict[int, dict[str, float]] = {}
    train_ppo(
        policy, reference, value, PROMPTS, options.pop("score", reward_the_wanted_token), settings,
        eos_token_id=EOS, pad_token_id=PAD, on_step=figures.__setitem__, **options,
    )  # fmt: skip
    return policy, value, figures


def weights(model: torch.nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def test_ppo_raises_a_toy_reward_and_pays_for_it_in_kl():
    settings = dataclasses.replace(SETTINGS, iterations=40)
    _, _, figures = run(settings)
    first, last = figures[1], figures[40]
    assert first["share"] < 0.15 and last["share"] > 0.5
    assert first["kl"] == pytest.approx(0.0, abs=1e-5) and last["kl"] > 0.5
    assert last["entropy"] < first["entropy"]
    assert last["explained_variance"] > first["explained_variance"]


def test_a_large_kl_coefficient_holds_the_policy_at_the_reference():
    free, bound = (run(dataclasses.replace(SETTINGS, iterations=25, kl_coef=kl_coef))[2][25] for kl_coef in (0.0, 2.0))
    assert bound["kl"] < 0.25 * free["kl"] and bound["share"] < free["share"]


def test_the_reference_is_left_as_it_was():
    policy, reference, value = models()
    before = weights(reference)
    train_ppo(policy, reference, value, PROMPTS, reward_the_wanted_token, SETTINGS, eos_token_id=EOS, pad_token_id=PAD)
    assert weights(reference) == before != weights(policy)


def test_the_first_update_starts_at_ratio_one():
    _, _, figures = run(dataclasses.replace(SETTINGS, iterations=1, epochs=1, minibatches=1))
    assert figures[1]["clip_fraction"] == 0.0
    assert figures[1]["update_kl"] == pytest.approx(0.0, abs=1e-6)
    assert figures[1]["kl_sampled"] == pytest.approx(0.0, abs=1e-4)


def test_no_eos_is_penalised_by_its_setting():
    policy, reference, value = models()
    rollout = collate([[4, 5], [6]], [[7, EOS], [7, 8]], eos_token_id=EOS, pad_token_id=PAD)
    scores = torch.tensor([1.0, 1.0])
    for penalty in (0.0, 1.5):
        settings = dataclasses.replace(SETTINGS, missing_eos_penalty=penalty)
        experience, figures = assess(policy, reference, value, rollout, scores, settings, kl_coef=0.0)
        assert figures["objective"] == pytest.approx(1.0 - penalty / 2)
        assert figures["reward"] == 1.0 and figures["finished"] == 0.5
        # γ = 1 and λ = 0.95; the last token's return is its reward
        assert experience.returns[0, 1].item() == pytest.approx(1.0, abs=1e-5)
        assert experience.returns[1, 1].item() == pytest.approx(1.0 - penalty, abs=1e-5)


def test_advantages_are_white():
    policy, reference, value = models()
    rollout = collate([[4, 5], [6]], [[7, EOS], [7, 8, 9]], eos_token_id=EOS, pad_token_id=PAD)
    experience, _ = assess(policy, reference, value, rollout, torch.tensor([1.0, -1.0]), SETTINGS, kl_coef=0.1)
    real = experience.advantages[rollout.mask]
    assert real.mean().item() == pytest.approx(0.0, abs=1e-5)
    assert real.std(unbiased=False).item() == pytest.approx(1.0, abs=1e-3)


def test_updates_stop_early_when_the_policy_has_moved_too_far():
    settings = dataclasses.replace(SETTINGS, iterations=2, epochs=50, lr=0.05)
    assert run(settings)[2][2]["updates"] == 100
    assert run(dataclasses.replace(settings, update_kl_limit=0.01))[2][2]["updates"] < 20


def test_an_adaptive_coefficient_rises_while_kl_is_above_its_target():
    settings = dataclasses.replace(SETTINGS, iterations=12, kl_target=1e-4, kl_horizon=16)
    figures = run(settings)[2]
    assert figures[12]["kl_coef"] > 1.5 * settings.kl_coef


def test_prompts_come_in_full_passes_each_in_its_own_order():
    stream = [place for iteration in range(7) for place in prompt_batch(5, 5, seed=0, iteration=iteration)]
    passes = [stream[start : start + 5] for start in range(0, 35, 5)]
    assert all(sorted(one) == list(range(5)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    # batches that do not divide the number of prompts see the same stream
    assert [place for i in range(5) for place in prompt_batch(5, 7, seed=0, iteration=i)] == stream


def test_two_runs_are_the_same_bytes_and_another_seed_is_not():
    first, second = run(), run()
    assert weights(first[0]) == weights(second[0]) and weights(first[1]) == weights(second[1])
    assert weights(run(dataclasses.replace(SETTINGS, seed=1))[0]) != weights(first[0])


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_run_stopped_anywhere_ends_with_the_same_bytes(tmp_path: Path, stop_after: int):
    settings = dataclasses.replace(SETTINGS, kl_target=0.01, kl_horizon=16)
    whole_policy, whole_value, whole_figures = run(settings)
    calls = iter(range(1, 100))
    with pytest.raises(TrainingStopped):
        run(settings, checkpoint_dir=tmp_path, should_stop=lambda: next(calls) == stop_after)
    torch.manual_seed(999)  # whatever the new process's generators hold
    policy, value, figures = run(settings, checkpoint_dir=tmp_path)
    assert min(figures) == stop_after + 1
    assert weights(policy) == weights(whole_policy) and weights(value) == weights(whole_value)
    assert figures[6]["kl_coef"] == whole_figures[6]["kl_coef"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path):
    settings = dataclasses.replace(SETTINGS, lr=1e39, epochs=1, minibatches=1)  # beyond fp32
    with pytest.raises(NonFiniteLoss, match=r"at step 0 .*weights that are not finite"):
        run(settings, checkpoint_dir=tmp_path, checkpoint_seconds=0)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_settings_is_refused(tmp_path: Path):
    run(checkpoint_dir=tmp_path)
    with pytest.raises(CheckpointMismatch, match=r"lr=0.01, not 0\.5"):
        run(dataclasses.replace(SETTINGS, lr=0.5), checkpoint_dir=tmp_path)


def test_evaluation_is_called_when_asked_and_changes_nothing():
    seen = []

    def evaluate(iteration: int) -> dict[str, float]:
        seen.append(iteration)
        torch.rand(5)
        return {"heldout": 1.0}

    policy, _, figures = run(evaluate=evaluate, evaluate_every=2)
    assert seen == [2, 4, 6] and figures[4]["heldout"] == 1.0 and "heldout" not in figures[3]
    assert weights(policy) == weights(run()[0])


def test_no_prompts_are_refused():
    policy, reference, value = models()
    with pytest.raises(ValueError, match="at least one prompt"):
        train_ppo(policy, reference, value, [], reward_the_wanted_token, SETTINGS, eos_token_id=EOS, pad_token_id=PAD)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_more_mini_batches_than_responses_are_refused(batch_size):
    settings = dataclasses.replace(SETTINGS, iterations=1, batch_size=batch_size, minibatches=2)
    if batch_size == 2:
        assert run(settings)[2].keys() == {1}
        return
    with pytest.raises(ValueError, match="2 mini-batches of 0 rows, and 1 process needs one each"):
        run(settings)


def test_sequence_kl_is_that_of_whole_responses():
    """Over all responses of two tokens, Σ p·(log p − log q) equals the expectation of the per-token exact KLs."""
    policy = Transformer(CONFIG, generator=torch.Generator().manual_seed(1))
    reference = Transformer(CONFIG, generator=torch.Generator().manual_seed(2))
    for model in (policy, reference):
        with torch.no_grad():
            model.model.embed_tokens.weight.mul_(20)  # distributions that differ
    every = [[a, b] for a in range(16) for b in range(16)]
    rollout = collate([[4, 5]] * 256, every, eos_token_id=EOS, pad_token_id=PAD)
    with torch.no_grad():
        ours, theirs = (
            log_distribution(model, rollout).gather(1, rollout.tokens.reshape(-1, 1)).reshape(256, 2).sum(1)
            for model in (policy, reference)
        )
    truth = (ours.exp() * (ours - theirs)).sum().item()
    estimates = sequence_kl(policy, reference, rollout, temperature=1.0, precision="fp32")
    assert truth > 0.05 and (ours.exp() * estimates).sum().item() == pytest.approx(truth, rel=1e-3)
