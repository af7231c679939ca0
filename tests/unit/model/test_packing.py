"""Documents packed into rows under a document mask teach what the same documents teach each in a row of its own."""

import dataclasses

import pytest
import torch

from model.losses import language_modelling_loss
from model.seeding import generator
from model.training import TrainingConfig, train
from tests.one_batch import language_model

END, CONTEXT = 0, 32
CONFIG = TrainingConfig(steps=12, lr=0.01)


def packed(step):
    """Two rows of documents of 3 to 9 tokens, cut where the row ends."""
    chance = generator(0, step)
    rows = []
    for _ in range(2):
        row = []
        while len(row) <= CONTEXT:
            length = int(torch.randint(3, 10, (1,), generator=chance))
            row += [*torch.randint(1, 40, (length - 1,), generator=chance).tolist(), END]
        rows.append(row[: CONTEXT + 1])
    ids = torch.tensor(rows)
    ends = (ids[:, :-1] == END).long()
    return {
        "input_ids": ids[:, :-1].contiguous(),
        "targets": ids[:, 1:].contiguous(),
        "segment_ids": ends.cumsum(1) - ends,
    }


def alone(step):
    """The documents of `packed`, each in a row of its own and padded."""
    batch = packed(step)
    rows = []
    for ids, targets, segments in zip(*batch.values(), strict=True):
        rows += [(ids[segments == n], targets[segments == n]) for n in segments.unique()]
    width = max(len(ids) for ids, _ in rows)

    def padded(tensors):
        return torch.stack([torch.nn.functional.pad(t, (0, width - len(t))) for t in tensors])

    return {
        "input_ids": padded([ids for ids, _ in rows]),
        "targets": padded([targets for _, targets in rows]),
        "loss_mask": padded([torch.ones(len(ids), dtype=torch.bool) for ids, _ in rows]),
    }


def learn(batches, config):
    model, losses = language_model(context=CONTEXT).double(), []
    train(model, batches, language_modelling_loss, config, on_step=lambda _, figures: losses.append(figures["loss"]))
    return losses, model.state_dict()


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_packing_equals_unpacked_training(optimizer, accumulation):
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    apart = learn(alone, config)
    together = learn(packed, dataclasses.replace(config, accumulation=accumulation))
    # Muon orthogonalises in fp32, so its weights agree to that
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if optimizer == "muon" else {"rtol": 1e-7, "atol": 1e-9}
    assert together[0] == pytest.approx(apart[0], rel=1e-5 if optimizer == "muon" else 1e-6)
    for name, tensor in apart[1].items():
        torch.testing.assert_close(together[1][name], tensor, **tolerance)


def test_without_the_mask_other_things_are_learned():
    def unmasked(step):
        return {name: tensor for name, tensor in packed(step).items() if name != "segment_ids"}

    assert abs(learn(unmasked, CONFIG)[0][-1] - learn(alone, CONFIG)[0][-1]) > 1e-3
