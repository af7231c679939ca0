"""Every gradient that training follows, beside finite differences in float64."""

import pytest
import torch

from model.losses import language_modelling_loss
from model.policy_losses import policy_loss, value_loss
from model.preference import pairwise_loss
from model.rope_scaling import RopeScaling
from model.scalar import ScalarModel
from tests.one_batch import language_model


def by_name(model):
    return {name: parameter.detach().clone().requires_grad_() for name, parameter in model.named_parameters()}


def check(model, loss, **tolerances):
    """gradcheck of `loss(call)` in every parameter of the model, along random directions."""
    values = by_name(model)

    def of(*parameters):
        state = dict(zip(values, parameters, strict=True))
        return loss(lambda *args, **kwargs: torch.func.functional_call(model, state, args, kwargs), state)

    assert torch.autograd.gradcheck(of, tuple(values.values()), fast_mode=True, **tolerances)


def small(**sizes):
    return language_model(vocab_size=11, context=8, hidden_size=8, intermediate_size=12, **sizes).double()


@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
@pytest.mark.parametrize("packed", [False, True])
def test_of_the_language_model(attention, packed):
    model = small()
    model.model.attention = attention
    ids = torch.randint(0, 11, (2, 7), generator=torch.Generator().manual_seed(0))
    segments = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 2]]) if packed else None

    def loss(call, state):
        logits = call(ids[:, :-1], segment_ids=segments)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    check(model, loss)


SCALED = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
@pytest.mark.parametrize(
    "variant",
    [
        {"model_type": "mistral", "sliding_window": 2},
        {"model_type": "llama", "attention_bias": True},
        {"model_type": "qwen2", "sliding_window": 3, "max_window_layers": 1},
        {"model_type": "qwen3"},
        {"rope_scaling": RopeScaling(**SCALED, original_max_position_embeddings=4)},
        {"rope_scaling": RopeScaling("yarn", factor=4.0, original_max_position_embeddings=4)},
    ],
    ids=["window", "biases", "biases of queries, keys and values", "norm of queries and keys", "llama3", "yarn"],
)
def test_of_the_kin_of_llama(variant, attention):
    model = small(**variant)
    model.model.attention = attention
    with torch.no_grad():
        for parameter in model.parameters():  # no bias and no gain at a value at which it is left out
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    ids = torch.randint(0, 11, (2, 7), generator=torch.Generator().manual_seed(0))

    def loss(call, state):
        return torch.nn.functional.cross_entropy(call(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    check(model, loss)


def test_of_the_loss_that_training_uses():
    """Our loss takes its gradients in the forward pass, so it is compared with the plain one and not differentiated by
    gradcheck again."""
    model = small()
    ids = torch.randint(0, 11, (3, 8), generator=torch.Generator().manual_seed(1))
    mask = torch.rand(3, 7, generator=torch.Generator().manual_seed(2)) < 0.6
    batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:], "loss_mask": mask}
    ours, _ = language_modelling_loss(model, batch, z_loss=0.01)
    logits = model(batch["input_ids"])[mask]
    normaliser = logits.logsumexp(-1)
    theirs = torch.nn.functional.cross_entropy(logits, batch["targets"][mask]) + 0.01 * normaliser.square().mean()
    parameters = tuple(model.parameters())
    pairs = zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True)
    for mine, reference in pairs:
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-12)


def test_of_the_reward_model():
    backbone = ScalarModel.from_causal(small(), 1).model
    head = torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids = torch.randint(0, 11, (4, 6), generator=torch.Generator().manual_seed(0))
    better, worse, weight = torch.tensor([0, 1, 3]), torch.tensor([2, 2, 0]), torch.tensor([1.0, 0.5, 1.0]).double()

    def loss(call, state):
        return pairwise_loss(call(ids)[:, -1] @ head, better, worse, weight, torch.tensor(0.1).double())

    check(backbone, loss)


def response():
    """Log-probabilities, what they were at the rollout, and a mask: (2, 5), none of them where a clip begins."""
    random = torch.Generator().manual_seed(0)
    new = (torch.rand(2, 5, generator=random, dtype=torch.float64) - 2).requires_grad_()
    old = torch.rand(2, 5, generator=random, dtype=torch.float64) - 2
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    return new, old, mask, torch.randn(2, 5, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("clip", [0.2, 0.9])
def test_of_the_policy_loss(clip):
    new, old, mask, advantages = response()
    assert torch.autograd.gradcheck(lambda values: policy_loss(values, old, advantages, mask, clip).loss, (new,))


@pytest.mark.parametrize("clip", [None, 0.2])
def test_of_the_value_loss(clip):
    new, old, mask, returns = response()
    assert torch.autograd.gradcheck(lambda values: value_loss(values, old, returns, mask, clip)[0], (new,))


def test_a_wrong_gradient_is_noticed():
    """The check can fail: a loss that hides a factor from autograd."""
    model = torch.nn.Linear(2, 1).double()
    given = torch.ones(1, 2, dtype=torch.float64)

    def loss(call, state):
        value = call(given).square().sum()
        return value + (value * 0.01).detach()

    with pytest.raises(RuntimeError, match="Jacobian"):
        check(model, loss)
