"""Presets: what differs from the defaults, by section and field. `demo` is the defaults themselves.

Plain data, so that the command line reads them without loading the stages.
"""

from typing import Any

DATA = ("snapshot", "collect", "clean", "deduplicate", "tokenize", "pair")
PRETRAIN = ("pretrain",)
ALIGN = ("finetune", "rank", "reward", "ppo", "evaluate")

# The sections of each flow's parameters, in the order of its form.
FLOW_SECTIONS: dict[str, tuple[str, ...]] = {
    "train": (*DATA, *PRETRAIN, *ALIGN, "resources"),
    "data": (*DATA, "resources"),
    "align": ("start", *ALIGN, "resources"),
    "retrain": (*DATA, *PRETRAIN, *ALIGN, "resources"),
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "demo": {},
    "test": {},
    "gpu": {},
}
