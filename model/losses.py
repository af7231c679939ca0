"""Cross-entropy from hidden states without ever holding the logits of a whole batch.

The logits of B·T positions over a vocabulary are by far the largest tensor of a small model's step. Here they exist
for a chunk of positions at a time; the gradient of the chunk is taken while it is still in the cache, so nothing is
kept or computed again in the backward pass (the idea of Hsu et al. 2024, Liger Kernel).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.precision import fits_machine_code, product_format
from model.products import matrix_product

_CHUNK_BYTES = {"cpu": 16 << 20, "cuda": 512 << 20}  # of fp32 logits at once: about a last-level cache; a GPU's share


def chunk_rows(weight: Tensor) -> int:
    """How many positions to take at once against an output matrix (V, D)."""
    return max(1, _CHUNK_BYTES.get(weight.device.type, 64 << 20) // (4 * weight.shape[0]))


def fits_kernel(matrix: Tensor, share: Tensor) -> bool:
    """Whether `model.fused.softmax_losses` can be had for logits in the format of the output matrix (V, D)."""
    return fits_machine_code(matrix.dtype, matrix.device) and share.dtype == torch.float32 and len(matrix) % 16 == 0


def _softmax_kernel(logits: Tensor, wanted: Tensor, share: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    from model.fused import softmax_losses  # numba need not be installed

    return softmax_losses(logits, wanted, share, z_loss).sum(), logits


def _softmax(logits: Tensor, wanted: Tensor, share: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """Σ share · (-log softmax(logits)[wanted] + z_loss · log²Z) and its gradient in the format of logits (N, V)."""
    format, logits, wanted, share = logits.dtype, logits.to(share.dtype), wanted[:, None], share[:, None]
    chosen = logits.gather(1, wanted)
    largest = logits.amax(1, keepdim=True)
    # One exponential serves loss and gradient, in place: a tenth of the time in fp32, a fifth in bf16.
    odds = logits.sub_(largest).exp_()
    sums = odds.sum(1, keepdim=True)
    normaliser = sums.log() + largest  # log Z
    loss = ((normaliser - chosen) * share).sum()
    of_softmax = share
    if z_loss:  # d(z · log²Z)/d logits = 2z · log Z · softmax
        loss = loss + z_loss * (normaliser.square() * share).sum()
        of_softmax = share * (1 + 2 * z_loss * normaliser)
    return loss, odds.mul_(of_softmax / sums).scatter_add_(1, wanted, -share).to(format)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Σ scale · (-log softmax(hidden · weightᵀ)[target] + z_loss · log²Z), with the gradients taken in the forward
    pass; Z is the softmax's normaliser."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        scale: Tensor,
        rows: int,
        dtype: torch.dtype,
        z_loss: float,
    ) -> Tensor:
        states, matrix = hidden.to(dtype), weight.to(dtype)
        hidden_gradient = torch.empty_like(states)
        weight_gradient: Tensor | None = None
        total, softmax = scale.new_zeros(()), _softmax_kernel if fits_kernel(matrix, scale) else _softmax
        for start in range(0, hidden.shape[0], rows):
            chunk, wanted, share = (part[start : start + rows] for part in (states, targets, scale))
            losses, gradient = softmax(matrix_product(chunk, matrix.mT), wanted, share, z_loss)
            total = total + losses
            matrix_product(gradient, matrix, hidden_gradient[start : start + rows])
            if weight_gradient is None:
                weight_gradient = matrix_product(gradient.mT, chunk, torch.empty_like(weight))
            else:
                matrix_product(gradient.mT, chunk, weight_gradient, adds=True)
        if weight_gradient is None:
            weight_gradient = torch.zeros_like(weight)
        ctx.save_for_backward(hidden_gradient.to(hidden.dtype), weight_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        (times,) = gradients
        if times.device.type == "cpu" and times == 1:  # the loss itself is what is derived: no need to copy a matrix
            return hidden_gradient, weight_gradient, None, None, None, None, None
        return hidden_gradient * times, weight_gradient * times, None, None, None, None, None


def cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    rows: int | None = None,
    z_loss: float = 0.0,
) -> Tensor:
    """The mean negative log-likelihood in nats, differentiable in `hidden` and `weight`.

    hidden (…, D), weight (V, D), targets (…) token ids, mask (…) bool: the positions that count (None: all; where none
    does, the loss is 0). `rows`: positions at once. `z_loss`: so many times the mean of log²Z is added, where Z is the
    softmax's normaliser, which keeps logits from drifting (Chowdhery et al. 2022, PaLM, section 5). Softmax and sums
    are in fp32 at least, products in autocast's format.
    """
    states, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    exact = torch.promote_types(weight.dtype, torch.float32)
    if mask is None:
        scale = torch.full(wanted.shape, 1 / wanted.numel(), dtype=exact, device=states.device)
    else:
        counted = mask.reshape(-1)
        if not torch.compiler.is_compiling():  # leaves the head's work for the other positions out
            places = counted.nonzero().squeeze(1)
            states, wanted, counted = states[places], wanted[places], counted[places]
        scale = counted.to(exact) / counted.sum().clamp(min=1)
    rows = rows or chunk_rows(weight)
    loss: Tensor = _ChunkedCrossEntropy.apply(states, weight, wanted, scale, rows, product_format(weight), z_loss)
    return loss


@torch.no_grad()
def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The negative log-likelihood in nats of each target (N,), from hidden (N, D) and weight (V, D); no gradient."""
    matrix = weight.to(product_format(weight))
    parts = [
        F.cross_entropy((chunk.to(matrix.dtype) @ matrix.mT).float(), wanted, reduction="none")
        for chunk, wanted in zip(hidden.split(chunk_rows(weight)), targets.split(chunk_rows(weight)), strict=True)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0)


def language_modelling_loss(
    model: Any, batch: dict[str, Tensor], z_loss: float = 0.0
) -> tuple[Tensor, dict[str, Tensor | float]]:
    """The loss of a `Transformer` for `train`: next-token cross-entropy where "loss_mask", if there is one, is true,
    with `z_loss` as in `cross_entropy`.

    batch: "input_ids", "targets" (B, T); "loss_mask" (B, T) bool and "segment_ids" (B, T), optional.
    """
    mask = batch.get("loss_mask")
    hidden = model.hidden(batch["input_ids"], segment_ids=batch.get("segment_ids"))
    loss = cross_entropy(hidden, model.output_weight, batch["targets"], mask, z_loss=z_loss)
    return loss, {} if mask is None else {"tokens": mask.sum()}
