"""How rotary positions are stretched past the context that a model first learnt with, as its `config.json` says it.

`model.rotary` computes the frequencies; here is only what may be asked for. PyTorch is not imported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from model.errors import ModelConfigError

NEEDED: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
"""Kind → the numbers it cannot be computed without."""
ALLOWED = {
    **NEEDED,
    "dynamic": ("factor", "original_max_position_embeddings"),
    "yarn": (*NEEDED["yarn"], "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"),
}


@dataclass(frozen=True)
class RopeScaling:
    """The numbers of one kind of scaling, under Hugging Face's names; None where the kind has no such number.

    - `linear`: every position divided by `factor` (Chen et al. 2023).
    - `dynamic`: as without scaling up to `max_position_embeddings`, which rows here never exceed; kept for the export.
    - `llama3`: slow frequencies divided by `factor`, fast ones kept, a slope between (Grattafiori et al. 2024, 3.4).
    - `yarn`: the same idea with the slope over dimensions, and attention sharpened (Peng et al. 2023).

    Raises `ModelConfigError` for another kind, and for numbers that are missing or cannot be.
    """

    rope_type: str
    factor: float | None = None
    original_max_position_embeddings: int | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool | None = None

    def __post_init__(self) -> None:
        if self.rope_type not in NEEDED:
            raise ModelConfigError(
                f"config.json asks for {self.rope_type!r} rotary scaling, but only {', '.join(NEEDED)} are computed "
                "here: use a checkpoint without it."
            )
        given = self.to_dict()
        lacking = [name for name in NEEDED[self.rope_type] if name not in given]
        if lacking:
            raise ModelConfigError(
                f"{self.rope_type} rotary scaling lacks {', '.join(lacking)}: take the config.json that came with the "
                "weights."
            )
        for name, value in given.items():
            if name == "rope_type":
                continue
            if name not in ALLOWED[self.rope_type]:
                raise ModelConfigError(f"{self.rope_type} rotary scaling has no {name}: leave it out.")
            if (name == "truncate") != isinstance(value, bool):
                raise ModelConfigError(f"{name} of the rotary scaling is {value!r}, which is of the wrong kind.")
            if name != "truncate" and not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise ModelConfigError(
                    f"{name} of the rotary scaling is {value!r}: it must be a finite number above 0."
                )
        if self.rope_type == "llama3" and not given["low_freq_factor"] < given["high_freq_factor"]:
            raise ModelConfigError("low_freq_factor of the rotary scaling must be below high_freq_factor.")

    def to_dict(self) -> dict[str, Any]:
        """The numbers that are given, and `rope_type`."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @classmethod
    def from_config(cls, content: Mapping[str, Any]) -> Self | None:
        """What a `config.json` asks for in `rope_parameters` or, before transformers 5, `rope_scaling`; None: nothing.

        Raises `ModelConfigError` for what would be computed otherwise here, and for what is not known.
        """
        asked: dict[str, Any] = {}
        for key in ("rope_parameters", "rope_scaling"):
            part = content.get(key) or {}
            if not isinstance(part, Mapping):
                raise ModelConfigError(f"config.json's {key} is {part!r}, which is of the wrong kind.")
            asked |= {name: value for name, value in part.items() if value is not None and name != "rope_theta"}
        older = asked.pop("type", None)
        kind = str(asked.pop("rope_type", None) or older or "default")
        rotated = asked.pop("partial_rotary_factor", content.get("partial_rotary_factor"))
        if rotated not in (None, 1, 1.0):
            raise ModelConfigError(f"config.json turns {rotated} of each head only: use a checkpoint that turns all.")
        unknown = sorted(asked.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown and (kind == "default" or kind in NEEDED):
            raise ModelConfigError(f"the rotary scaling says {unknown[0]}, which is not known here: use another model.")
        if kind == "default":
            return None
        if kind in ("llama3", "yarn"):
            original = content.get("original_max_position_embeddings")  # of the file first, as in transformers
            original = original or asked.get("original_max_position_embeddings")
            asked["original_max_position_embeddings"] = original or content.get("max_position_embeddings")
        return cls(rope_type=kind, **({} if unknown else asked))
