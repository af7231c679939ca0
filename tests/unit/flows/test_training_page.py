"""docs/training.md says of every default of training how it was found, and says the default that there is."""

import re
from typing import Any

import pytest

from flows.environment import PROJECT
from flows.presets import PRESETS
from flows.settings import DEFAULTS

PAGE = (PROJECT / "docs" / "training.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ((?:gpu: )?\w+\.\w+) \| (\S+) \| (.+) \|$", PAGE, re.MULTILINE)
SHAPE_TRAINING = {
    "batch_size", "lr", "adamw_lr", "value_lr", "optimizer", "weight_decay", "schedule", "warmup_fraction",
    "decay_fraction", "grad_clip", "epochs", "minibatches", "clip", "value_clip", "lam", "gamma", "kl_coef",
}  # fmt: skip
EXEMPT = {"ppo.batch_size"}  # a budget, as are steps and iterations


def defaults() -> dict[str, Any]:
    """Every setting that the page must speak of, with its value."""
    found = {}
    for stage in ("pretrain", "finetune", "reward", "ppo"):
        for name in SHAPE_TRAINING & type(getattr(DEFAULTS, stage)).model_fields.keys():
            found[f"{stage}.{name}"] = getattr(getattr(DEFAULTS, stage), name)
            if name in PRESETS["gpu"].get(stage, {}) and name.endswith(("lr", "batch_size")) and stage != "ppo":
                found[f"gpu: {stage}.{name}"] = PRESETS["gpu"][stage][name]
    for name in ("lr", "value_lr"):
        found[f"gpu: ppo.{name}"] = PRESETS["gpu"]["ppo"][name]
    return {name: value for name, value in found.items() if name not in EXEMPT}


def test_every_default_is_told_and_none_that_is_not() -> None:
    assert {name for name, _, _ in ROWS} == defaults().keys()


@pytest.mark.parametrize(("name", "value", "how"), ROWS, ids=[row[0] for row in ROWS])
def test_the_default_is_as_told_with_one_of_the_ways(name: str, value: str, how: str) -> None:
    assert value == str(defaults()[name])
    way = re.match(r"\w+", how)
    assert way and way[0] in ("measured", "fitted", "taken", "seen", "guessed")
    assert way[0] != "taken" or re.search(r"\([A-Z].+ et al\. \d{4}", how), "name the paper"
