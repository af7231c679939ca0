"""The softmax of the loss as machine code, against formulas in float64."""

import pytest
import torch

from model.losses import cross_entropy
from tests.kernels import FORMATS, IN_BF16, needs_bf16, needs_kernels

fused = pytest.importorskip("model.fused")
pytestmark = needs_kernels

TARGETS = torch.tensor([0, 15, 16, 47, 5, 31, 40])


def case(format, scale=3.0):
    random = torch.Generator().manual_seed(0)
    return (torch.randn(7, 48, generator=random) * scale).to(format), torch.rand(7, generator=random)


def expected(logits, targets, share, z_loss):
    exact = logits.double().requires_grad_()
    log_z = exact.logsumexp(1)
    losses = share.double() * (log_z - exact[range(len(targets)), targets] + z_loss * log_z.square())
    return losses.detach(), *torch.autograd.grad(losses.sum(), exact)


@pytest.mark.parametrize("z_loss", [0.0, 0.3])
@pytest.mark.parametrize(
    ("format", "precision"), [(torch.float32, 1e-6), pytest.param(torch.bfloat16, 2**-8, marks=needs_bf16)]
)
def test_losses_and_gradients(format, precision, z_loss):
    logits, share = case(format)
    share[2] = 0
    losses, gradient = expected(logits, TARGETS, share, z_loss)
    found = fused.softmax_losses(logits, TARGETS, share, z_loss)
    torch.testing.assert_close(found.double(), losses, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(logits.double(), gradient, rtol=precision, atol=precision / 10)
    assert found[2] == 0 and not logits[2].any()


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_large_logits(scale):
    logits, share = case(torch.float32, scale)
    losses, gradient = expected(logits, TARGETS, share, 0.0)
    torch.testing.assert_close(fused.softmax_losses(logits, TARGETS, share, 0.0).double(), losses, rtol=1e-6, atol=0)
    torch.testing.assert_close(logits.double(), gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
@pytest.mark.parametrize("column", [0, 20, 47])
def test_a_number_that_is_not_finite_reaches_the_loss_of_its_row(format, number, column):
    logits, share = case(format)
    logits[4, column] = number
    losses = fused.softmax_losses(logits, TARGETS, share, 0.0)
    assert losses.isnan().tolist() == logits.isnan().any(1).tolist() == [row == 4 for row in range(7)]


@pytest.mark.parametrize("target", [-100, -1, 48, 10**12])
def test_targets_outside_the_vocabulary_are_refused(target):
    logits, share = case(torch.float32)
    before, targets = logits.clone(), TARGETS.clone()
    targets[3] = target
    with pytest.raises(IndexError, match=f"{target}.*from 0 to 47"):
        fused.softmax_losses(logits, targets, share, 0.0)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("targets", [TARGETS.int(), TARGETS.repeat_interleave(2)[::2]], ids=["int32", "strided"])
def test_targets_in_any_format_and_layout(targets):
    (logits, share), (again, _) = case(torch.float32), case(torch.float32)
    losses = fused.softmax_losses(logits, targets, share, 0.0)
    assert torch.equal(losses, fused.softmax_losses(again, TARGETS, share, 0.0)) and torch.equal(logits, again)


def test_no_rows():
    losses = fused.softmax_losses(torch.empty(0, 48), torch.empty(0, dtype=torch.long), torch.empty(0), 0.0)
    assert losses.shape == (0,)


@pytest.mark.parametrize("format", [torch.float32, torch.float64])
@pytest.mark.parametrize("bf16", IN_BF16)
def test_the_loss_of_weights_in_either_format(format, bf16, monkeypatch):
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(40, 8, generator=random, dtype=format, requires_grad=True)
    weight = torch.randn(64, 8, generator=random, dtype=format, requires_grad=True)
    targets = torch.randint(0, 64, (40,), generator=random)
    results = []
    for kernel in (True, False):
        if not kernel:
            monkeypatch.setattr("model.losses.fits_kernel", lambda *given: False)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = cross_entropy(hidden, weight, targets, rows=16, z_loss=0.01)
        results.append((loss, *torch.autograd.grad(loss, (hidden, weight))))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=2**-7 if bf16 else 1e-5, atol=1e-3 if bf16 else 1e-6)
