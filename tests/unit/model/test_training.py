import dataclasses
import json
import os
import signal
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from model.checkpoint import CheckpointMismatch
from model.distributed import Ranks
from model.losses import language_modelling_loss
from model.seeding import generator
from model.training import NonFiniteLoss, TrainingConfig, TrainingStopped, train
from tests.one_batch import language_model

CONFIG = TrainingConfig(steps=12, batch_size=4, lr=0.01, seed=3)
GOLDEN = [2.40719, 2.37606, 2.34938, 2.33848, 2.24864, 2.30066, 2.29912, 2.27819, 2.28562, 2.22322, 2.24391, 2.25618]


class Net(nn.Module):
    """Next-token prediction with dropout, so that the global generator matters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 8)
        self.mix = nn.Linear(8, 16)
        self.drop = nn.Dropout(0.2)
        self.back = nn.Linear(16, 8)
        self.lm_head = nn.Linear(8, 11, bias=False)

    def forward(self, ids):
        return self.lm_head(self.back(self.drop(torch.relu(self.mix(self.embed(ids))))))


def batches(step):
    ids = torch.randint(0, 11, (4, 6), generator=generator(3, "batch", step))
    return {"input_ids": ids[:, :-1], "targets": (ids[:, :-1] * 2 + 1) % 11}


def loss(model, batch):
    logits = model(batch["input_ids"])
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten()), {"tokens": 20.0}


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def uninterrupted(config, **options):
    model = Net()
    train(model, batches, loss, config, **options)
    return weights(model)


class Killed(BaseException):
    """Stands for a kill: nothing after it runs."""


def kill_at(step):
    def on_step(done, figures):
        if done == step:
            raise Killed

    return on_step


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@settings(deadline=None, max_examples=12)
@given(kills=st.lists(st.integers(1, CONFIG.steps), max_size=3))
def test_a_run_killed_at_any_steps_ends_with_the_same_bytes(optimizer, kills):
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    with tempfile.TemporaryDirectory() as folder:
        for kill in kills:
            with pytest.raises(Killed):
                train(
                    Net(),
                    batches,
                    loss,
                    config,
                    checkpoint_dir=Path(folder),
                    checkpoint_seconds=0,
                    on_step=kill_at(kill),
                )
                raise Killed  # the kill came after all the steps that were left
        model = Net()
        train(model, batches, loss, config, checkpoint_dir=Path(folder), checkpoint_seconds=0)
    assert_same(weights(model), uninterrupted(config))


def test_resuming_does_not_repeat_steps(tmp_path):
    with pytest.raises(Killed):
        train(Net(), batches, loss, CONFIG, checkpoint_dir=tmp_path, checkpoint_seconds=0, on_step=kill_at(7))
    seen = []
    train(
        Net(),
        batches,
        loss,
        CONFIG,
        checkpoint_dir=tmp_path,
        checkpoint_seconds=0,
        on_step=lambda done, figures: seen.append(done),
    )
    assert seen == [7, 8, 9, 10, 11, 12]


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    with pytest.raises(Killed):
        train(Net(), batches, loss, CONFIG, checkpoint_dir=tmp_path, checkpoint_seconds=0, on_step=kill_at(9))
    newest = tmp_path / "step-00000008" / "tensors.safetensors"
    os.truncate(newest, newest.stat().st_size // 2)
    seen, model = [], Net()
    train(
        model,
        batches,
        loss,
        CONFIG,
        checkpoint_dir=tmp_path,
        checkpoint_seconds=0,
        on_step=lambda done, figures: seen.append(done),
    )
    assert seen[0] == 8 and "step-00000008 is damaged" in caplog.text
    assert_same(weights(model), uninterrupted(CONFIG))


def test_golden_curve():
    losses = []
    train(Net(), batches, loss, CONFIG, on_step=lambda done, figures: losses.append(figures["loss"]))
    assert losses == pytest.approx(GOLDEN, rel=1e-4)


def test_it_overfits_one_batch():
    losses, one = [], batches(0)
    config = TrainingConfig(steps=150, lr=0.02, weight_decay=0.0)
    model = Net()
    model.drop.p = 0.0
    train(model, lambda step: one, loss, config, on_step=lambda done, figures: losses.append(figures["loss"]))
    assert losses[0] > 2 and losses[-1] < 0.01
    assert not model.training


def test_figures_of_a_step():
    rows = {}
    train(
        Net(),
        batches,
        loss,
        CONFIG,
        on_step=rows.__setitem__,
        evaluate=lambda step: {"eval/step": step},
        evaluate_every=5,
    )
    assert list(rows) == list(range(1, 13))
    assert rows[12].keys() == {"loss", "lr", "grad_norm", "tokens", "tokens_per_second", "eval/step"}
    assert [step for step, row in rows.items() if "eval/step" in row] == [5, 10, 12]
    assert rows[1]["lr"] == 0.01 and rows[12]["lr"] == pytest.approx(0.01 / 7)  # 7 of 12 steps decay


def test_how_often_one_evaluates_does_not_change_what_is_learned():
    drawing = uninterrupted(CONFIG, evaluate=lambda step: {"eval/x": torch.rand(3).sum()}, evaluate_every=2)
    assert_same(drawing, uninterrupted(CONFIG))


def test_accumulated_micro_batches_give_the_gradient_of_the_whole_batch():
    def masked(model, batch):
        mask = batch["mask"]
        each = nn.functional.cross_entropy(
            model(batch["input_ids"]).flatten(0, 1), batch["targets"].flatten(), reduction="none"
        ).view_as(mask)
        return (each * mask).sum() / mask.sum(), {"tokens": mask.sum()}

    def with_mask(step):
        mask = torch.ones(4, 5)
        mask[0, 2:], mask[3, 1:] = 0, 0
        return {**batches(step), "mask": mask}

    results = []
    for accumulation in (1, 3):
        model, rows = Net(), {}
        model.drop.p = 0.0
        config = dataclasses.replace(CONFIG, accumulation=accumulation, optimizer="adamw")
        train(model, with_mask, masked, config, on_step=rows.__setitem__)
        results.append((rows[12], weights(model)))
    (whole, whole_weights), (parts, parts_weights) = results
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-4) and parts["tokens"] == whole["tokens"] == 13
    for name in whole_weights:
        torch.testing.assert_close(parts_weights[name], whole_weights[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fewer_rows_than_parts_are_taken_a_row_at_a_time(precision):
    ids = torch.arange(34).view(2, 17) % 40
    batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:], "loss_mask": torch.ones(2, 16, dtype=torch.bool)}
    curves = []
    for accumulation in (2, 5):
        rows: dict[int, dict[str, float]] = {}
        config = dataclasses.replace(CONFIG, steps=2, accumulation=accumulation, precision=precision)
        train(language_model(), lambda step: batch, language_modelling_loss, config, on_step=rows.__setitem__)
        curves.append([(row["loss"], row["grad_norm"], row["tokens"]) for row in rows.values()])
    assert curves[0] == curves[1]


def test_ranks_cut_their_rows_into_equally_many_micro_batches():
    """FSDP gathers layers together: a rank with one micro-batch more would wait for the others for ever."""
    whole = {"input_ids": torch.arange(7)}
    for rows, size, parts, expected in ((7, 2, 4, 3), (7, 1, 4, 4), (7, 3, 2, 2), (2, 1, 8, 2)):
        read = [Ranks(rank, size).share(lambda step, n=rows: {"input_ids": whole["input_ids"][:n]}, parts)(0)
                for rank in range(size)]  # fmt: skip
        assert [len(micro_batches) for micro_batches in read] == [expected] * size
        found = torch.cat([part["input_ids"] for micro_batches in read for part in micro_batches])
        assert torch.equal(found, whole["input_ids"][:rows])


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_batch_of_which_nothing_counts_has_loss_0(accumulation):
    ids = torch.zeros(2, 17, dtype=torch.int64)
    batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:], "loss_mask": torch.zeros(2, 16, dtype=torch.bool)}
    rows: dict[int, dict[str, float]] = {}
    config = dataclasses.replace(CONFIG, steps=1, accumulation=accumulation)
    train(language_model(), lambda step: batch, language_modelling_loss, config, on_step=rows.__setitem__)
    assert rows[1]["loss"] == rows[1]["grad_norm"] == rows[1]["tokens"] == 0


def test_a_loss_that_is_not_finite_stops_and_names_the_step(tmp_path):
    def exploding(model, batch):
        value, figures = loss(model, batch)
        return value * (float("nan") if batch["input_ids"][0, 0] == batches(4)["input_ids"][0, 0] else 1.0), figures

    first = next(s for s in range(12) if batches(s)["input_ids"][0, 0] == batches(4)["input_ids"][0, 0])
    model = Net()
    with pytest.raises(NonFiniteLoss, match=f"at step {first} ") as error:
        train(model, batches, exploding, CONFIG, checkpoint_dir=tmp_path, checkpoint_seconds=0)
    assert error.value.step == first
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_weights_are_looked_through_once_a_step(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr("model.training.check_weights", lambda *given: steps.append(given[3]))
    config = dataclasses.replace(CONFIG, steps=4)
    measuring = {"evaluate": lambda step: {}, "evaluate_every": 2}
    train(Net(), batches, loss, config, checkpoint_dir=tmp_path, checkpoint_seconds=0, **measuring)
    assert steps == [0, 1, 2, 3]


@pytest.mark.parametrize("when", ["saved", "measured", "at the end"])
def test_weights_that_are_not_finite_are_neither_saved_nor_measured_nor_given_back(tmp_path, when):
    def unmeasurable(step):
        raise AssertionError("measured with weights that are not finite")

    config = dataclasses.replace(CONFIG, lr=1e30, weight_decay=1e30, steps=1 if when == "at the end" else 12)
    checkpoints = {"checkpoint_dir": tmp_path, "checkpoint_steps": 1} if when == "saved" else {}
    measuring = {"evaluate": unmeasurable, "evaluate_every": 1} if when == "measured" else {}
    with pytest.raises(NonFiniteLoss, match=r"at step 0 .*weights that are not finite"):
        train(Net(), batches, loss, config, **checkpoints, **measuring)
    assert not list(tmp_path.glob("step-*"))


def test_another_config_in_the_same_folder_is_refused(tmp_path):
    train(Net(), batches, loss, CONFIG, checkpoint_dir=tmp_path)
    with pytest.raises(CheckpointMismatch, match=r"lr=0\.01, not 0\.02"):
        train(Net(), batches, loss, dataclasses.replace(CONFIG, lr=0.02), checkpoint_dir=tmp_path)


def test_a_request_to_stop_saves_and_the_next_run_goes_on(tmp_path):
    polls = iter([False, False, True])
    with pytest.raises(TrainingStopped, match="after 1 steps; nothing is saved"):
        train(Net(), batches, loss, CONFIG, should_stop=lambda: True)
    with pytest.raises(TrainingStopped, match="after 3 steps; a checkpoint is saved"):
        train(
            Net(),
            batches,
            loss,
            CONFIG,
            checkpoint_dir=tmp_path,
            checkpoint_seconds=1e6,
            should_stop=lambda: next(polls),
        )
    model = Net()
    train(model, batches, loss, CONFIG, checkpoint_dir=tmp_path)
    assert_same(weights(model), uninterrupted(CONFIG))


def test_sigterm_saves_stops_and_is_passed_on(tmp_path):
    received = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with pytest.raises(TrainingStopped):
            train(
                Net(),
                batches,
                loss,
                CONFIG,
                checkpoint_dir=tmp_path,
                checkpoint_seconds=1e6,
                on_step=lambda done, figures: os.kill(os.getpid(), signal.SIGTERM) if done == 4 else None,
            )
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, former)
    assert json.loads((tmp_path / "step-00000004" / "state.json").read_text())["step"] == 4


def test_it_trains_in_a_thread_that_cannot_take_signals():
    failures = []

    def work():
        try:
            train(Net(), batches, loss, CONFIG)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
