"""Every trainer learns one batch by heart: the plainest sign that loss, gradient and optimiser fit together."""

import copy

import pytest
import torch

from model.answers import encode_answer, pad_answers
from model.chat import encode_pair
from model.data import Example, collate
from model.losses import language_modelling_loss
from model.ppo import train_ppo
from model.ppo_settings import PPOSettings
from model.scalar import ScalarModel
from model.seeding import generator
from model.training import TrainingConfig, train
from model.transformer import Transformer
from tasks.reward import loss as reward_loss
from tests.alignment_world import WORSE, pair_rows, toy_config, toy_tokenizer
from tests.one_batch import language_model


def learn(model, batch, loss, optimizer, steps=200):
    rows = {}
    lr = 0.02 if optimizer == "muon" else 0.01
    config = TrainingConfig(steps=steps, lr=lr, weight_decay=0.0, optimizer=optimizer)
    train(model, lambda step: batch, loss, config, on_step=rows.__setitem__)
    return rows[1], rows[steps]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_pretraining(optimizer):
    """Noise, so that there is nothing to learn but the batch itself; ln 40 = 3.69."""
    ids = torch.randint(0, 40, (4, 17), generator=generator(0))
    batch = {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}
    model = language_model(hidden_size=32, intermediate_size=64)
    first, last = learn(model, batch, language_modelling_loss, optimizer)
    assert first["loss"] > 3.5 and last["loss"] < 0.02
    with torch.no_grad():
        assert torch.equal(model(batch["input_ids"]).argmax(-1)[:, 1:], batch["targets"][:, 1:])


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_fine_tuning(optimizer):
    tokenizer = toy_tokenizer()
    pairs = [(row["prompt"], row["response"]) for row in pair_rows()[:3]]
    examples = [Example(*encode_pair(tokenizer, *pair)) for pair in pairs]
    batch = collate(examples, tokenizer.pad_id)
    model = Transformer(toy_config(tokenizer))
    first, last = learn(model, batch, language_modelling_loss, optimizer, steps=250)
    assert first["loss"] > 5 and last["loss"] < 0.02
    with torch.no_grad():
        said = model(batch["input_ids"]).argmax(-1)
    assert torch.equal(said[batch["loss_mask"]], batch["targets"][batch["loss_mask"]])
    assert last["tokens"] == batch["loss_mask"].sum()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_reward_model(optimizer):
    """Three answers in an order that nothing explains: all pairs come out right, and far apart."""
    tokenizer = toy_tokenizer()
    rows = [encode_answer(tokenizer, "What?", text, finished=True, max_tokens=64) for text in WORSE]
    input_ids, starts, lengths = pad_answers(rows, tokenizer.pad_id)
    better, worse = torch.tensor([2, 2, 2, 0, 0, 3]), torch.tensor([0, 1, 3, 1, 3, 1])
    batch = {
        "input_ids": input_ids, "starts": starts, "lengths": lengths, "better": better, "worse": worse,
        "weight": torch.ones(6), "margin": torch.zeros(6),
    }  # fmt: skip
    first, last = learn(ScalarModel(toy_config(tokenizer)), batch, reward_loss, optimizer, steps=60)
    assert first["loss"] > 0.3 and last["loss"] < 0.01 and last["pair_accuracy"] == 1.0


def test_ppo():
    """One prompt, and a reward for one token and then the end."""
    wanted, end = [7, 2], 2
    policy = language_model(vocab_size=12, context=8)
    reference, value = copy.deepcopy(policy), ScalarModel.from_causal(policy)

    def score(prompts, responses):
        return torch.tensor([float(sum(map(int.__eq__, response, wanted))) for response in responses]), {}

    rows = {}
    settings = PPOSettings(
        iterations=40, batch_size=64, max_new_tokens=2, lr=0.01, value_lr=0.01, kl_coef=0.0, update_kl_limit=None
    )
    train_ppo(
        policy, reference, value, [[4, 5]], score, settings, eos_token_id=end, pad_token_id=3,
        on_step=rows.__setitem__,
    )  # fmt: skip
    assert rows[1]["reward"] < 0.5 and rows[40]["reward"] > 1.9
    with torch.no_grad():
        chance = policy(torch.tensor([[4, 5, *wanted]])).softmax(-1)[0, 1:3]
    assert chance[range(2), wanted].prod() > 0.9
