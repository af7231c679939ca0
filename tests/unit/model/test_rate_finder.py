import dataclasses

import pytest
import torch

from model.losses import language_modelling_loss
from model.rate_finder import SHARE, find_rate
from model.schedules import RANGE, learning_rate_factor
from model.seeding import generator
from model.training import TrainingConfig, train
from tests.one_batch import language_model

CONFIG = TrainingConfig(steps=60, lr=1e-3, adamw_lr=5e-4, grad_clip=None, optimizer="adamw")


def batches(step):
    ids = (torch.arange(17) + torch.randint(0, 40, (8, 1), generator=generator(0, step))) % 40
    return {"input_ids": ids[:, :-1].contiguous(), "targets": ids[:, 1:].contiguous()}


def test_rates_grow_by_equal_factors_over_the_range():
    factors = [learning_rate_factor("range", step, 6) for step in range(6)]
    assert factors == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_the_suggested_rate_learns_more_than_much_lower_and_much_higher_ones():
    test = find_rate(language_model(), batches, language_modelling_loss, CONFIG, highest=3.0, steps=60)
    assert test.points[0].lr == pytest.approx(3.0 / RANGE) and test.broke
    assert test.suggested == SHARE * test.lowest
    assert test.lowest in [point.lr for point in test.points]

    def last_loss(lr):
        rows = {}
        config = dataclasses.replace(CONFIG, lr=lr, adamw_lr=lr / 2)
        train(language_model(), batches, language_modelling_loss, config, on_step=rows.__setitem__)
        return rows[CONFIG.steps]["loss"]

    best = last_loss(test.suggested)
    assert best < last_loss(test.suggested / 30) and best < last_loss(test.suggested * 30)


def test_the_average_is_that_of_the_losses_so_far():
    points = find_rate(language_model(), batches, language_modelling_loss, CONFIG, highest=1e-3, steps=20).points
    weights = [0.9**age for age in range(2, -1, -1)]
    by_hand = sum(w * point.loss for w, point in zip(weights, points, strict=False)) / sum(weights)
    assert points[2].smoothed == pytest.approx(by_hand)


def test_a_loss_that_is_not_finite_ends_the_test_and_is_no_point():
    def fragile(model, batch):
        value, figures = language_modelling_loss(model, batch)
        seen.append(1)
        return value * (float("inf") if len(seen) == 15 else 1.0), figures

    seen: list[int] = []
    test = find_rate(language_model(), batches, fragile, CONFIG, steps=40)
    assert test.broke and len(test.points) == 14


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="give 20"):
        find_rate(language_model(), batches, language_modelling_loss, CONFIG, steps=5)
