"""Muon's machine code against Muon by torch, and against what it says it does."""

import pytest
import torch
from torch import nn

from model.muon import EPSILON, Muon
from tests.kernels import needs_bf16, needs_kernels

GatheredMatrices = pytest.importorskip("model.gathered").GatheredMatrices
pytestmark = needs_kernels

SHAPES = [(32, 48), (48, 32), (32, 32), (32, 48), (16, 80), (80, 16)]


def matrices(shapes, seed):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=random) for shape in shapes]


def trained(dtype, steps=3):
    parameters = [nn.Parameter(matrix) for matrix in matrices(SHAPES, 0)]
    optimizer = Muon(parameters, lr=0.02, weight_decay=0.1, dtype=dtype)
    for step in range(steps):
        for parameter, gradient in zip(parameters, matrices(SHAPES, 1 + step), strict=True):
            parameter.grad = gradient
        optimizer.step()
    return parameters, [optimizer.state[parameter]["momentum_buffer"] for parameter in parameters]


@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float32, 1e-5), pytest.param(torch.bfloat16, 2e-3, marks=needs_bf16)]
)
def test_steps_are_those_by_torch(dtype, precision, monkeypatch):
    """A step moves weights by about 0.004."""
    ours, our_buffers = trained(dtype)
    monkeypatch.setattr("model.muon.fits_kernels", lambda *given: False)
    plain, plain_buffers = trained(dtype)
    for mine, reference in zip((*ours, *our_buffers), (*plain, *plain_buffers), strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=precision)


@pytest.mark.parametrize("shape", [(32, 48), (48, 32), (32, 32)], ids=["wide", "tall", "square"])
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float32, 1e-6), pytest.param(torch.bfloat16, 2**-8, marks=needs_bf16)]
)
def test_directions_of_norm_1_go_in_and_come_out(shape, dtype, precision):
    parameters, gradients, buffers = (matrices([shape] * 3, seed) for seed in range(3))
    moved = [buffer.lerp(gradient, 0.1) for buffer, gradient in zip(buffers, gradients, strict=True)]
    before = [parameter.clone() for parameter in parameters]
    together = GatheredMatrices(parameters, gradients, buffers, (min(shape), max(shape)), dtype)
    together.gather(0.9, EPSILON)
    together.apply(0.5, -2.0)
    for number, (buffer, gradient) in enumerate(zip(moved, gradients, strict=True)):
        torch.testing.assert_close(buffers[number], buffer)
        ahead = gradient.lerp(buffer, 0.9)
        direction = together.batch[number].float()
        torch.testing.assert_close(
            direction.T if shape[0] > shape[1] else direction, ahead / ahead.norm(), rtol=precision, atol=1e-6
        )
        expected = before[number] * 0.5 - 2 * ahead / ahead.norm()
        torch.testing.assert_close(parameters[number], expected, rtol=2 * precision, atol=2 * precision)


def test_large_matrices_are_left_to_torch(monkeypatch):
    ours, _ = trained(torch.float32)
    monkeypatch.setattr("model.gathered.LARGEST", 4 * (3 * 32 * 32 + 2 * 32 * 64) - 1)  # as large as (32, 48)
    monkeypatch.setattr("model.gathered.GatheredMatrices.newton_schulz", smaller_than(48))
    mixed, _ = trained(torch.float32)
    for mine, reference in zip(ours, mixed, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-5)


def smaller_than(columns):
    whole = GatheredMatrices.newton_schulz

    def checked(self, *given):
        assert self.batch.shape[2] < columns
        whole(self, *given)

    return checked


def test_no_gradient_leaves_only_the_decay():
    parameter = nn.Parameter(torch.ones(16, 32))
    parameter.grad = torch.zeros(16, 32)
    Muon([parameter], lr=0.5, weight_decay=0.1).step()
    assert torch.equal(parameter, torch.full((16, 32), 0.95))


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(number):
    parameter = nn.Parameter(torch.ones(32, 16))
    parameter.grad = torch.ones(32, 16)
    parameter.grad[3, 5] = number
    Muon([parameter], lr=0.5, weight_decay=0.1).step()
    assert parameter.isnan().all()
