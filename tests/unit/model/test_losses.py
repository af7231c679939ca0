import pytest
import torch
import torch.nn.functional as F

from model.losses import chunk_rows, cross_entropy, language_modelling_loss, token_losses


def case(dtype=torch.float32, positions=13, size=5, vocabulary=17):
    torch.manual_seed(0)
    hidden = torch.randn(positions, size, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocabulary, size, dtype=dtype, requires_grad=True)
    return hidden, weight, torch.randint(0, vocabulary, (positions,))


def test_gradients_are_right_in_float64():
    hidden, weight, targets = case(torch.float64)
    mask = torch.arange(13) % 3 != 0
    assert torch.autograd.gradcheck(lambda h, w: cross_entropy(h, w, targets, rows=4), (hidden, weight))
    assert torch.autograd.gradcheck(lambda h, w: cross_entropy(h, w, targets, mask, rows=4), (hidden, weight))


@pytest.mark.parametrize("rows", [1, 5, 13, 100])
@pytest.mark.parametrize("masked", [False, True])
def test_it_equals_torchs_cross_entropy_for_every_chunk_size(rows, masked):
    hidden, weight, targets = case()
    mask = torch.arange(13) % 2 == 0 if masked else None
    ours = cross_entropy(
        hidden.view(1, 13, 5), weight, targets.view(1, 13), None if mask is None else mask.view(1, 13), rows=rows
    )
    ours_gradients = torch.autograd.grad(3 * ours, (hidden, weight))
    theirs = F.cross_entropy(hidden @ weight.T, targets if mask is None else targets.where(mask, -100))
    torch.testing.assert_close(ours, theirs)
    for mine, reference in zip(ours_gradients, torch.autograd.grad(3 * theirs, (hidden, weight)), strict=True):
        torch.testing.assert_close(mine, reference)


def test_large_logits_stay_finite():
    hidden, weight, targets = case()
    loss = cross_entropy(hidden * 1e4, weight, targets)
    torch.testing.assert_close(loss, F.cross_entropy(hidden * 1e4 @ weight.T, targets))
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (hidden, weight)))


def test_nothing_under_the_mask_gives_zero_and_no_gradient():
    hidden, weight, targets = case()
    loss = cross_entropy(hidden, weight, targets, torch.zeros(13, dtype=torch.bool))
    gradients = torch.autograd.grad(loss, (hidden, weight))
    assert loss == 0 and not any(g.any() for g in gradients)


def test_bf16_products_are_near_the_exact_loss():
    hidden, weight, targets = case()
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(hidden, weight, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(cross_entropy(hidden, weight, targets).item(), rel=0.02)
    (gradient,) = torch.autograd.grad(loss, weight)
    (exact,) = torch.autograd.grad(cross_entropy(hidden, weight, targets), weight)
    torch.testing.assert_close(gradient, exact, rtol=0.1, atol=0.02)


def test_token_losses_are_those_of_each_position():
    hidden, weight, targets = case()
    torch.testing.assert_close(
        token_losses(hidden, weight, targets), F.cross_entropy(hidden @ weight.T, targets, reduction="none").detach()
    )
    assert token_losses(hidden[:0], weight, targets[:0]).shape == (0,)


def test_a_chunk_of_logits_fills_sixteen_megabytes():
    assert chunk_rows(torch.empty(4096, 1)) == 1024


def test_the_loss_of_a_batch_counts_only_masked_positions():
    class Model:
        output_weight = case()[1]

        def hidden(self, input_ids, segment_ids):
            assert segment_ids is None
            return case()[0].view(1, 13, 5)

    targets, mask = case()[2].view(1, 13), torch.arange(13).view(1, 13) > 9
    loss, figures = language_modelling_loss(Model(), {"input_ids": targets, "targets": targets, "loss_mask": mask})
    each = F.cross_entropy(case()[0] @ case()[1].T, targets[0], reduction="none")
    torch.testing.assert_close(loss, each[10:].mean())
    assert figures["tokens"] == 3


def test_the_z_loss_and_its_gradient():
    hidden, weight, targets = case(torch.float64)
    mask = torch.arange(13) % 3 != 0
    normaliser = (hidden @ weight.T).logsumexp(1)
    expected = cross_entropy(hidden, weight, targets, mask) + 0.3 * normaliser[mask].square().mean()
    torch.testing.assert_close(cross_entropy(hidden, weight, targets, mask, rows=4, z_loss=0.3), expected)
    assert torch.autograd.gradcheck(
        lambda h, w: cross_entropy(h, w, targets, mask, rows=4, z_loss=0.3), (hidden, weight)
    )
