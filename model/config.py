"""The sizes of a decoder of Llama's kin, under the names Hugging Face gives them, and what sets each family apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from model.errors import ModelConfigError
from model.rope_scaling import RopeScaling

LONGEST = 1 << 24  # positions; tables of more take gigabytes, and no model has read more than 10 million
# What a `config.json` may say that would change the result; any other value is refused, not ignored.
FIXED = {"hidden_act": "silu", "mlp_bias": False}


@dataclass(frozen=True)
class Family:
    """What sets a family apart from the others, and transformers' own values for keys that its files may leave out."""

    architecture: str  # begins the names of its classes in transformers
    keys: tuple[str, ...]  # those of VARIANTS that its `config.json` has
    qkv_bias: bool = False  # the projections to queries, keys and values always have biases
    qk_norm: bool = False  # queries and keys are normalised within each head (Dehghani et al. 2023)
    left_out: Mapping[str, int] = field(default_factory=dict)


FAMILIES = {
    "llama": Family("Llama", ("attention_bias", "mlp_bias"), left_out={"max_position_embeddings": 2048}),
    "mistral": Family(
        "Mistral",
        ("sliding_window",),
        left_out={"max_position_embeddings": 131_072, "num_key_value_heads": 8, "sliding_window": 4096},
    ),
    "qwen2": Family(
        "Qwen2",
        ("sliding_window", "max_window_layers"),
        qkv_bias=True,
        left_out={"max_position_embeddings": 32_768, "num_key_value_heads": 32},
    ),
    "qwen3": Family(
        "Qwen3",
        ("sliding_window", "max_window_layers", "attention_bias"),
        qk_norm=True,
        left_out={"max_position_embeddings": 32_768, "num_key_value_heads": 32, "head_dim": 128},
    ),
}
VARIANTS = ("attention_bias", "mlp_bias", "sliding_window", "max_window_layers")


@dataclass(frozen=True)
class ModelConfig:
    """A decoder with RMSNorm, rotary positions, grouped-query attention and SwiGLU (Touvron et al. 2023).

    `num_key_value_heads=None` means one per attention head; `head_dim=None` means hidden_size / num_attention_heads.
    Both are numbers once the object exists. `model_type` names one of `FAMILIES`: the projections of attention may have
    biases, queries and keys a norm, and layers from `max_window_layers` on may see the last `sliding_window` tokens
    only. Raises `ModelConfigError` where values do not fit together.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 512
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    bos_token_id: int | None = 0  # <|endoftext|>, which also ends every document
    eos_token_id: int | None = 2  # <|im_end|>, which ends a turn
    pad_token_id: int | None = 3  # <|pad|>
    model_type: str = "llama"
    attention_bias: bool = False
    sliding_window: int | None = None
    max_window_layers: int = 0
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
        ):
            self._check_count(name)
        if self.num_key_value_heads is None:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if self.head_dim is None:
            if self.hidden_size % self.num_attention_heads:
                raise ModelConfigError(
                    f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                    f"{self.num_attention_heads}: change one of them, or set head_dim."
                )
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        self._check_count("num_key_value_heads")
        self._check_count("head_dim")
        if self.num_attention_heads % self.kv_heads:
            raise ModelConfigError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads "
                f"{self.kv_heads}: every key-value head serves the same number of attention heads."
            )
        if self.head_size % 2:
            raise ModelConfigError(f"head_dim {self.head_size} is odd: rotary positions turn pairs, so make it even.")
        if self.max_position_embeddings > LONGEST:
            raise ModelConfigError(
                f"max_position_embeddings is {self.max_position_embeddings}, but {LONGEST} are the most computed here."
            )
        for name in ("rope_theta", "rms_norm_eps", "initializer_range"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value > 0):
                raise ModelConfigError(f"{name} is {value!r}: it must be a finite number above 0.")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise ModelConfigError(f"{name} is {value!r}: it must be a whole number, or None.")
            if not 0 <= value < self.vocab_size:
                raise ModelConfigError(
                    f"{name} is {value}, outside the vocabulary of {self.vocab_size}: use an id below vocab_size, "
                    "or None where there is no such token."
                )
        self._check_family()

    def _check_family(self) -> None:
        if not isinstance(self.model_type, str) or self.model_type not in FAMILIES:
            raise ModelConfigError(
                f"model_type={self.model_type!r} is not computed here: use a checkpoint of {', '.join(FAMILIES)}."
            )
        if self.sliding_window is not None:
            self._check_count("sliding_window")
        if self.max_window_layers != 0:
            self._check_count("max_window_layers")
        for name in ("attention_bias", "tie_word_embeddings"):
            if not isinstance(getattr(self, name), bool):
                raise ModelConfigError(f"{name} is {getattr(self, name)!r}: it must be true or false.")
        for name in ("attention_bias", "sliding_window", "max_window_layers"):
            value = getattr(self, name)
            if value and name not in FAMILIES[self.model_type].keys:
                raise ModelConfigError(f"{name}={value!r}, which no {self.model_type} has: leave it out.")

    def _check_count(self, name: str) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ModelConfigError(f"{name} is {value!r}: it must be a whole number of at least 1.")

    @property
    def kv_heads(self) -> int:
        """`num_key_value_heads` as the number it always is after construction."""
        assert self.num_key_value_heads is not None
        return self.num_key_value_heads

    @property
    def head_size(self) -> int:
        """`head_dim` as the number it always is after construction."""
        assert self.head_dim is not None
        return self.head_dim

    @property
    def qkv_bias(self) -> bool:
        """Whether the projections to queries, keys and values have biases."""
        return self.attention_bias or FAMILIES[self.model_type].qkv_bias

    @property
    def output_bias(self) -> bool:
        """Whether the projection of attention's output has one."""
        return self.attention_bias

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalised within each head."""
        return FAMILIES[self.model_type].qk_norm

    @property
    def windows(self) -> tuple[int | None, ...]:
        """How many tokens each layer sees back, its own among them; None: all. (num_hidden_layers,)"""
        full = min(self.max_window_layers, self.num_hidden_layers)
        return (None,) * full + (self.sliding_window,) * (self.num_hidden_layers - full)

    def layer_matrices(self) -> int:
        """Numbers in the matrices of one layer."""
        attention = self.hidden_size * self.head_size * (2 * self.num_attention_heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden_size * self.intermediate_size

    def num_parameters(self) -> int:
        """Trained numbers of the causal model; tied embeddings count once."""
        layer = self.layer_matrices() + 2 * self.hidden_size
        layer += self.qkv_bias * self.head_size * (self.num_attention_heads + 2 * self.kv_heads)
        layer += self.output_bias * self.hidden_size + self.qk_norm * 2 * self.head_size
        tables = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return tables + self.num_hidden_layers * layer + self.hidden_size

    def flops_per_token(self, context_length: int | None = None) -> int:
        """Floating-point operations of a training step (forward and backward) for each token.

        6 for each weight of a matrix product, and 12·L·(H·Q)·T for attention over a context of T tokens
        (default: max_position_embeddings; a layer's window if that is smaller), counted without the causal half as in
        PaLM (Chowdhery et al. 2022, appendix B). A forward alone takes a third.
        """
        context = self.max_position_embeddings if context_length is None else context_length
        products = self.num_hidden_layers * self.layer_matrices() + self.vocab_size * self.hidden_size
        seen = sum(min(context, window or context) for window in self.windows)
        attention = self.num_attention_heads * self.head_size * seen
        return 6 * products + 12 * attention

    def to_dict(self) -> dict[str, Any]:
        """The content of a Hugging Face `config.json`, without `architectures`.

        `rope_theta` and the scaling are written twice: at the top, where releases before 5 and other programs look for
        them, and in `rope_parameters`, where transformers 5 does.
        """
        content = {**FIXED, **dataclasses.asdict(self)}
        keys = FAMILIES[self.model_type].keys
        for name in VARIANTS:
            if name not in keys:
                del content[name]
        if "max_window_layers" in keys:
            content["use_sliding_window"] = self.sliding_window is not None
        del content["rope_scaling"]  # files without any stay as they always were
        scaling = self.rope_scaling.to_dict() if self.rope_scaling else {}
        if scaling:
            content["rope_scaling"] = scaling
        return {**content, "rope_parameters": {"rope_theta": self.rope_theta, "rope_type": "default", **scaling}}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read a Hugging Face `config.json`; `ModelConfigError` for anything this layer would compute otherwise."""
        for name, value in FIXED.items():
            if content.get(name, value) != value:
                raise ModelConfigError(
                    f"config.json says {name}={content[name]!r}, but only {value!r} is computed here: "
                    "use another checkpoint."
                )
        family = FAMILIES.get(str(content.get("model_type", cls.model_type)), FAMILIES["llama"])  # none: refused below
        scaling = RopeScaling.from_config({**family.left_out, **content})
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        values = {**family.left_out, "tie_word_embeddings": False, "rms_norm_eps": 1e-6, **values}
        rope = content.get("rope_parameters") or {}
        values["rope_theta"] = _float(rope.get("rope_theta") or content.get("rope_theta") or cls.rope_theta)
        values["rope_scaling"] = scaling
        if "max_window_layers" in family.keys:
            values |= _window_of_qwen(content)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = values.setdefault(name, None)
            if isinstance(value, list):  # several ids may end a text: the first is the model's own
                values[name] = value = value[0] if value else None
            if value == -1:  # how some files write that there is no such token
                values[name] = None
        required = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
        missing = sorted(required - values.keys())
        if missing:
            raise ModelConfigError(f"config.json lacks {', '.join(missing)}: take the file that came with the weights.")
        return cls(**values)


def _float(value: Any) -> Any:
    """A whole number as a float, which the file of such a model then says; what is no number as it is."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _window_of_qwen(content: dict[str, Any]) -> dict[str, int | None]:
    """sliding_window and max_window_layers as a Qwen file means them: off unless use_sliding_window is on."""
    used = content.get("use_sliding_window", False)
    if not isinstance(used, bool | None):
        raise ModelConfigError(f"use_sliding_window is {used!r}: it must be true or false.")
    window = content.get("sliding_window", 4096) if used else None
    kinds = content.get("layer_types")
    if not isinstance(kinds, list | None):
        raise ModelConfigError(f"layer_types is {kinds!r}: it must be a list with the kind of each layer.")
    num_layers = content.get("num_hidden_layers")
    if kinds is not None and len(kinds) != num_layers:
        raise ModelConfigError(f"layer_types names {len(kinds)} of {num_layers} layers: mend one of the two.")
    if window is None or kinds is None:
        if window is None and kinds and "sliding_attention" in kinds:
            raise ModelConfigError("config.json has layers with sliding attention but no window: mend one of them.")
        return {
            "sliding_window": window,
            "max_window_layers": 0 if window is None else content.get("max_window_layers", 28),
        }
    full = sum(kind == "full_attention" for kind in kinds)
    if list(kinds) != ["full_attention"] * full + ["sliding_attention"] * (len(kinds) - full):
        raise ModelConfigError(
            "config.json's layer_types mix full and sliding attention; only full ones followed by sliding ones are "
            "computed here: use another checkpoint."
        )
    return {"sliding_window": window, "max_window_layers": full}
