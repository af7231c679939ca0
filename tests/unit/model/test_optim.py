import pytest
import torch
from torch import nn

from model.muon import Muon, orthogonalize
from model.optim import build_optimizers, classify, clip_gradients


class Tiny(nn.Module):
    """An embedding, a norm, matrices of both orientations and a head."""

    def __init__(self, tied=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(7, 6)
        self.norm = nn.LayerNorm(6)
        self.up = nn.Linear(6, 10)
        self.down = nn.Linear(10, 6, bias=False)
        self.square = nn.Linear(6, 6, bias=False)
        self.lm_head = nn.Linear(6, 7, bias=False)
        if tied:
            self.lm_head.weight = self.embed.weight

    def forward(self, ids):
        x = self.norm(self.embed(ids))
        return self.lm_head(self.square(x + self.down(torch.relu(self.up(x)))))


def learn(model, optimizers, steps):
    ids = torch.tensor([[1, 2, 3, 4]])
    for _ in range(steps):
        nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def test_groups():
    names = {group: [name for name, _ in members] for group, members in classify(Tiny()).items()}
    assert names == {
        "hidden": ["up.weight", "down.weight", "square.weight"],
        "head": ["lm_head.weight"],
        "plain": ["embed.weight", "norm.weight", "norm.bias", "up.bias"],
    }
    assert [name for name, _ in classify(Tiny(tied=True))["head"]] == []


def test_plain_parameters_are_not_decayed_and_matrices_are():
    for name in ("adamw", "muon"):
        model = Tiny()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizers = build_optimizers(model, name, lr=0.1, weight_decay=0.5)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizers.step()
        for parameter_name, parameter in model.named_parameters():
            decayed = parameter_name in ("up.weight", "down.weight", "square.weight", "lm_head.weight")
            expected = before[parameter_name] * (0.95 if decayed else 1)
            torch.testing.assert_close(parameter.detach(), expected, msg=f"{name} {parameter_name}")


def test_muon_equals_torchs_muon_in_bf16():
    ours, theirs = Tiny(), Tiny()
    matrices = [[m.up.weight, m.down.weight, m.square.weight] for m in (ours, theirs)]
    mine = Muon(matrices[0], lr=0.02, weight_decay=0.1, dtype=torch.bfloat16)
    reference = torch.optim.Muon(matrices[1], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    learn(ours, [mine], 5)
    learn(theirs, [reference], 5)
    for a, b in zip(*matrices, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3)  # steps move weights by 0.02 × 0.2 each; bf16 noise
        assert (a - b).abs().mean() < 2e-4


def test_muon_in_fp32_equals_torchs_formula_in_fp32(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    ours, theirs = Tiny(), Tiny()
    matrices = [[m.up.weight, m.down.weight, m.square.weight] for m in (ours, theirs)]
    learn(ours, [Muon(matrices[0], lr=0.02, weight_decay=0.1)], 5)
    learn(theirs, [torch.optim.Muon(matrices[1], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")], 5)
    for a, b in zip(*matrices, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_orthogonalised_singular_values_are_near_one():
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.6 and values.max() < 1.3


def test_muon_refuses_a_vector():
    with pytest.raises(ValueError, match="matrices only"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_restored_by_name_goes_on_to_the_same_bytes(name):
    model = Tiny()
    optimizers = build_optimizers(model, name, lr=0.01)
    learn(model, [optimizers], 3)
    saved = {key: value.clone() for key, value in optimizers.state_tensors().items()}
    copy = Tiny()
    copy.load_state_dict(model.state_dict())
    restored = build_optimizers(copy, name, lr=0.01)
    restored.load_state_tensors(saved)
    learn(model, [optimizers], 3)
    learn(copy, [restored], 3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copy.parameters(), strict=True))


def test_state_of_another_model_is_refused():
    with pytest.raises(ValueError, match="no trainable parameter 'other'"):
        build_optimizers(Tiny(), lr=0.1).load_state_tensors({"exp_avg.other": torch.zeros(1)})


def test_rates_follow_the_factor_and_keep_their_ratio():
    optimizers = build_optimizers(Tiny(), "muon", lr=0.04, adamw_lr=0.03)
    optimizers.set_factor(0.5)
    optimizers.set_factor(0.5)
    rates = {group["lr"] for optimizer in optimizers.optimizers for group in optimizer.param_groups}
    assert rates == {0.02, 0.015}


def test_clipping_returns_the_norm_before():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([parameter], 1.0).item() == pytest.approx(5.0)
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.8]))
    parameter.grad = torch.tensor([3.0, 4.0])
    clip_gradients([parameter], None)
    torch.testing.assert_close(parameter.grad, torch.tensor([3.0, 4.0]))


def test_gradients_within_the_limit_are_left_as_they_are(monkeypatch):
    """Most are, so no pass over them is made."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    monkeypatch.setattr(torch, "_foreach_mul_", None)
    assert clip_gradients([parameter], 5.0).item() == 5.0
    assert torch.equal(parameter.grad, torch.tensor([3.0, 4.0]))
    assert clip_gradients([], 1.0) == 0 and clip_gradients([nn.Parameter(torch.zeros(2))], 1.0) == 0


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_clipping_leaves_no_finite_gradients_beside_one_that_is_not(number):
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([1.0, number])
    assert not clip_gradients(parameters, 1.0).isfinite()
    assert not any(bool((parameter.grad.abs() > 0).any()) for parameter in parameters), "0 or not a number"
