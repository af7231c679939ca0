"""docs/training.md says of every default of training how it was found, and says the default that there is."""

import re
from dataclasses import fields
from typing import Any

import pytest

from flows.environment import PROJECT
from flows.presets import PRESETS
from flows.settings import DEFAULTS
from model.ppo_settings import PPOSettings
from model.training import TrainingConfig
from tasks.ppo import PPOConfig

PAGE = (PROJECT / "docs" / "training.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ((?:gpu: )?\w+\.\w+) \| (\S+) \| (.+) \|$", PAGE, re.MULTILINE)
STAGES = ("pretrain", "finetune", "reward", "ppo")
EXEMPT = {"ppo.rater"}  # settings of another stage, `rank`


def defaults() -> dict[str, Any]:
    """Every setting of the training stages with its value, what the engine knows besides, and the `gpu` preset's."""
    found, settable = {}, set()
    for stage in STAGES:
        for name, value in getattr(DEFAULTS, stage):
            found[f"{stage}.{name}"] = value
            settable.add(name)
        found |= {f"gpu: {stage}.{name}": value for name, value in PRESETS["gpu"].get(stage, {}).items()}
    for engine, own in ((TrainingConfig(steps=1), settable), (PPOSettings(iterations=1), set(PPOConfig.model_fields))):
        for field in fields(engine):
            if field.name not in own:
                found[f"{type(engine).__name__}.{field.name}"] = getattr(engine, field.name)
    return {name: value for name, value in found.items() if name not in EXEMPT}


def test_every_default_is_told_and_none_that_is_not() -> None:
    assert {name for name, _, _ in ROWS} == defaults().keys()


@pytest.mark.parametrize(("name", "value", "how"), ROWS, ids=[row[0] for row in ROWS])
def test_the_default_is_as_told_with_one_of_the_ways(name: str, value: str, how: str) -> None:
    assert value == str(defaults()[name])
    way = re.match(r"\w+", how)
    assert way and way[0] in ("measured", "fitted", "taken", "seen", "guessed", "chosen")
    assert way[0] != "taken" or re.search(r"\([A-Z].+ et al\. \d{4}", how), "name the paper"
