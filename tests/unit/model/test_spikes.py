import json
import random

import pytest
import torch

from model.losses import language_modelling_loss
from model.seeding import generator
from model.spikes import FEWEST, WINDOW, SpikeRule
from model.training import TrainingConfig, train
from tests.one_batch import language_model

HEALTHY = random.Random(0)


def healthy(count):
    return [(4 + HEALTHY.gauss(0, 0.1), 1 + HEALTHY.gauss(0, 0.05)) for _ in range(count)]


def test_what_stands_out_is_a_spike_and_the_rest_is_not():
    rule = SpikeRule(6)
    assert not any(rule.is_spike(*pair) for pair in healthy(300))
    assert rule.is_spike(6.0, 1.0) and rule.is_spike(4.0, 3.0)
    assert not rule.is_spike(3.0, 0.5), "better than ever is no spike"


def test_by_hand():
    """Losses 1 and 3 in turn: mean 2, and with n - 1 below the line the deviation is √(64/63) = 1.008."""
    values = [(1.0, 1.0), (3.0, 1.0)] * (FEWEST // 2)
    for loss, spike in ((4.0, False), (4.03, True)):
        rule = SpikeRule(2)
        assert not any(rule.is_spike(*pair) for pair in values)
        assert rule.is_spike(loss, 1.0) is spike


def test_nothing_is_judged_by_few_steps():
    rule = SpikeRule(1)
    assert not any(rule.is_spike(10.0**step, 1.0) for step in range(FEWEST))


def test_a_new_level_is_taken_as_it_is_before_long():
    rule = SpikeRule(6)
    for pair in healthy(WINDOW):
        rule.is_spike(*pair)
    skipped = [rule.is_spike(loss + 2, norm) for loss, norm in healthy(WINDOW)]
    assert skipped[0] and not any(skipped[WINDOW // 4 :])


def test_the_history_survives_json_to_the_same_verdicts():
    rule, restored = SpikeRule(3), SpikeRule(3)
    for pair in healthy(100):
        rule.is_spike(*pair)
    restored.load_state(json.loads(json.dumps(rule.state())))
    pairs = [(4 + step / 20, 1.0) for step in range(40)]
    verdicts = [rule.is_spike(*pair) for pair in pairs]
    assert [restored.is_spike(*pair) for pair in pairs] == verdicts and any(verdicts)


BAD_STEP = FEWEST + 6
CONFIG = TrainingConfig(steps=FEWEST + 12, lr=0.01, optimizer="adamw", grad_clip=None, spike_deviations=6)


def batches(step):
    """A regular language, and one batch of noise in the wrong direction."""
    ids = torch.arange(17).repeat(4, 1) + torch.randint(0, 20, (4, 1), generator=generator(0, step))
    return {"input_ids": ids[:, :-1] % 20, "targets": ids[:, 1:] % 20}


def loss(model, batch):
    value, figures = language_modelling_loss(model, batch)
    bad = torch.equal(batch["input_ids"], batches(BAD_STEP)["input_ids"])
    return value * (50.0 if bad else 1.0), figures


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("kill_at", [None, BAD_STEP - 2, BAD_STEP + 1])
def test_a_spike_is_skipped_told_and_skipped_again_after_a_kill(tmp_path, kill_at):
    rows, models = {}, {}

    def learn(name, **options):
        models[name] = language_model(vocab_size=20)

        def on_step(step, figures):
            rows[name, step] = figures
            if step == options.get("kill_at"):
                raise Killed

        kept = {key: value for key, value in options.items() if key != "kill_at"}
        train(models[name], batches, loss, CONFIG, on_step=on_step, **kept)

    learn("whole")
    assert [step for (_, step), row in rows.items() if row["skipped"]] == [BAD_STEP + 1]
    assert rows["whole", CONFIG.steps]["skipped_updates"] == 1
    if kill_at is not None:
        with pytest.raises(Killed):
            learn("killed", kill_at=kill_at, checkpoint_dir=tmp_path, checkpoint_seconds=0)
        learn("resumed", checkpoint_dir=tmp_path, checkpoint_seconds=0)
        assert rows["resumed", CONFIG.steps]["skipped_updates"] == 1
        for name, tensor in models["whole"].state_dict().items():
            assert torch.equal(tensor, models["resumed"].state_dict()[name]), name
