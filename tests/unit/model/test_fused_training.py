"""Trainings of a model that kernels run: learning, going on, and stopping."""

import pytest
import torch

from model.losses import language_modelling_loss
from model.seeding import generator
from model.training import NonFiniteLoss, TrainingConfig, train
from tests.kernels import PRECISIONS, needs_bf16, needs_kernels
from tests.one_batch import language_model

pytest.importorskip("numba")
pytestmark = needs_kernels


def model_that_fits():
    model = language_model(
        48, hidden_size=32, intermediate_size=48, num_attention_heads=2, num_key_value_heads=1, head_dim=32
    )
    assert by_kernels(model)
    return model


def by_kernels(model):
    return "Normalised" in model.hidden(torch.zeros(1, 3, dtype=torch.long)).grad_fn.name()


def packed(step):
    ids = torch.randint(0, 48, (4, 1), generator=generator(5, "batch", step)) + 7 * torch.arange(28)
    ids[:, 9:] += 3
    segments = (torch.arange(27).expand(4, -1) + torch.arange(4)[:, None]) // 9
    return {"input_ids": ids[:, :-1] % 48, "targets": ids[:, 1:] % 48, "segment_ids": segments}


class Killed(BaseException):
    """Stands for a kill: nothing after it runs."""


def kill(done, figures):
    if done == 4:
        raise Killed


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, precision, optimizer):
    config = TrainingConfig(steps=8, lr=0.01, precision=precision, optimizer=optimizer, accumulation=2)
    saving = {"checkpoint_dir": tmp_path, "checkpoint_seconds": 0}
    with pytest.raises(Killed):
        train(model_that_fits(), packed, language_modelling_loss, config, **saving, on_step=kill)
    resumed, whole, seen = model_that_fits(), model_that_fits(), []
    train(resumed, packed, language_modelling_loss, config, **saving, on_step=lambda done, _: seen.append(done))
    train(whole, packed, language_modelling_loss, config)
    assert seen[0] == 4
    fresh = model_that_fits().state_dict()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
        assert not torch.equal(fresh[name], tensor), name


def curve(*, attention, precision):
    model, losses = model_that_fits(), []
    model.model.attention = attention
    assert by_kernels(model) == (attention == "auto")
    config = TrainingConfig(steps=12, lr=0.01, precision=precision)
    train(model, packed, language_modelling_loss, config, on_step=lambda _, figures: losses.append(figures["loss"]))
    return losses


@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-4), pytest.param("bf16", 0.02, marks=needs_bf16)])
def test_it_learns_as_the_plain_path_does(precision, near):
    ours, plain = (curve(attention=method, precision=precision) for method in ("auto", "matmul"))
    assert ours == pytest.approx(plain, rel=near)
    assert ours[-1] < ours[0] - 0.3


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_learns_one_batch_by_heart(precision, optimizer):
    ids = torch.randint(0, 48, (4, 17), generator=generator(0))
    batch, losses = {"input_ids": ids[:, :-1], "targets": ids[:, 1:]}, []
    config = TrainingConfig(steps=80, lr=0.02, weight_decay=0.0, optimizer=optimizer, precision=precision)
    train(
        model_that_fits(), lambda step: batch, language_modelling_loss, config,
        on_step=lambda _, figures: losses.append(figures["loss"]),
    )  # fmt: skip
    assert losses[0] > 3.5 and losses[-1] < 0.05


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_that_are_not_finite_stop_it(precision):
    model = model_that_fits()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 3] = torch.nan
    with pytest.raises(NonFiniteLoss):
        train(model, packed, language_modelling_loss, TrainingConfig(steps=2, precision=precision))
