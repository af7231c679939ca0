"""Documents packed into rows under a document mask teach what the same documents teach each in a row of its own."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import Example, ExampleBatches, collate
from model.losses import language_modelling_loss
from model.packing import PackedExamples, first_fit
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


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 20), max_size=60))
def test_first_fit_places_each_item_once_and_never_too_much(lengths):
    rows = first_fit(lengths, 20)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[item] for item in row) <= 20 for row in rows)
    filled = [sum(lengths[item] for item in row) for row in rows]
    assert sum(fill <= 10 for fill in filled) <= 1, "two rows that are half empty would have been one"


def test_first_fit_by_hand():
    assert first_fit([3, 7, 5, 4], 10) == [[1, 0], [2, 3]]


def examples(count=40):
    chance = generator(1)
    found = []
    for _ in range(count):
        length = int(torch.randint(4, 14, (1,), generator=chance))
        ids = torch.randint(1, 40, (length,), generator=chance).tolist()
        found.append(Example(ids, [position >= length // 2 for position in range(length)]))
    return found


def test_an_epoch_takes_each_row_once_and_the_steps_of_an_example_are_known():
    batches = PackedExamples(examples(), batch_size=8, seed=0, pad_token_id=0, context=CONTEXT)
    steps = 3 * batches.steps_per_epoch
    for epoch in range(3):
        span = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        seen = [example for step in span for example in batches.rows_at(step)]
        assert len(seen) == len(set(seen)) > 30
    for example in (0, 17, 39):
        expected = [step for step in range(steps) if example in batches.rows_at(step)]
        assert batches.steps_with([example], steps).tolist() == expected
    again = PackedExamples(examples(), batch_size=8, seed=0, pad_token_id=0, context=CONTEXT)
    assert all(torch.equal(batches(5)[name], again(5)[name]) for name in batches(5))


def test_rows_are_of_one_shape_and_nearly_full():
    batches = PackedExamples(examples(), batch_size=8, seed=0, pad_token_id=0, context=CONTEXT)
    found = [batches(step) for step in range(batches.steps_per_epoch)]
    assert {batch["input_ids"].shape for batch in found} == {(batches.num_rows, CONTEXT)}
    assert 6 <= sum(len(batches.rows_at(step)) for step in range(len(found))) / len(found) <= 10
    full = torch.cat([batch["input_ids"] != 0 for batch in found]).float().mean()
    assert full > 0.85


def test_packed_examples_teach_what_padded_ones_do():
    given_examples = examples()
    batches = PackedExamples(given_examples, batch_size=8, seed=0, pad_token_id=0, context=CONTEXT)

    def padded(step):
        return collate([given_examples[row] for row in batches.rows_at(step)], 0)

    config = dataclasses.replace(CONFIG, optimizer="adamw")
    together, apart = learn(batches, config), learn(padded, config)
    assert together[0] == pytest.approx(apart[0], rel=1e-9)
    for name, tensor in apart[1].items():
        torch.testing.assert_close(together[1][name], tensor, rtol=1e-7, atol=1e-9)


def test_no_examples_are_refused():
    for kind in (PackedExamples, ExampleBatches):
        with pytest.raises(ValueError, match="add pairs"):
            kind([], batch_size=8, seed=0, pad_token_id=0, context=CONTEXT)
