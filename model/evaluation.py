"""Held-out losses with a value for each document or example, so that their uncertainty can be told.

Bits per byte compare models of different tokenizers: the bits a model needs for a text, over the text's UTF-8 bytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.bootstrap import Interval, bootstrap_interval
from model.data import Example, collate
from model.losses import token_losses
from model.precision import Precision, autocast

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@torch.no_grad()
def example_losses(
    model: Any,
    examples: Sequence[Example],
    *,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    batch_tokens: int = 8192,
) -> tuple[Floats, Integers]:
    """For each example the summed negative log-likelihood in nats of its tokens under the mask, and their number.

    The first token of an example is never predicted. `model`: a `Transformer` on `device`, put into eval mode.
    Examples of like length share a batch of about `batch_tokens` tokens.
    """
    training = model.training
    model.eval()
    losses = np.zeros(len(examples))
    counts = np.array([sum(example.loss_mask[1:]) for example in examples], dtype=np.int64)
    order = sorted(range(len(examples)), key=lambda row: len(examples[row].ids))
    while order:
        size = max(1, batch_tokens // len(examples[order[-1]].ids))
        rows, order = order[-size:], order[:-size]
        batch = {name: tensor.to(device) for name, tensor in collate([examples[row] for row in rows], 0).items()}
        with autocast(precision, device):
            hidden = model.hidden(batch["input_ids"])
            mask = batch["loss_mask"]
            each = token_losses(hidden[mask], model.output_weight, batch["targets"][mask])
        sums = torch.zeros(len(rows), dtype=torch.float64)
        sums.index_add_(0, mask.nonzero()[:, 0].cpu(), each.double().cpu())
        losses[rows] = sums.numpy()
    model.train(training)
    return losses, counts


def document_bits(
    model: Any,
    documents: Sequence[NDArray[np.integer]],
    *,
    start_token: int,
    context: int,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    batch_tokens: int = 8192,
) -> Floats:
    """The bits a model needs for all tokens of each document: (N,).

    A document is read on its own after `start_token` (which stands before it in training too: the end of the document
    before), in pieces of at most `context` predicted tokens; a piece sees the last token of the one before, no more.
    """
    pieces, owners = [], []
    for number, document in enumerate(documents):
        tokens = [start_token, *document.tolist()]
        for start in range(0, len(tokens) - 1, context):
            ids = tokens[start : start + context + 1]
            pieces.append(Example(ids, [True] * len(ids)))
            owners.append(number)
    losses, _ = example_losses(model, pieces, device=device, precision=precision, batch_tokens=batch_tokens)
    return np.bincount(np.array(owners, dtype=np.int64), weights=losses, minlength=len(documents)) / np.log(2)


def bits_per_byte(bits: Floats, num_bytes: NDArray[np.integer], seed: int = 0) -> Interval:
    """Σ bits / Σ bytes with its 95% bootstrap interval over documents. bits, num_bytes: (N,)."""
    return bootstrap_interval(bits, seed, weights=num_bytes)
