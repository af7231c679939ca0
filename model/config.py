"""The sizes of a Llama-shaped decoder, under the names Hugging Face gives them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

from model.errors import ModelConfigError

# What a `config.json` may say that would change the result; any other value is refused, not ignored.
FIXED = {"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False}


@dataclass(frozen=True)
class ModelConfig:
    """A decoder with RMSNorm, rotary positions, grouped-query attention and SwiGLU (Touvron et al. 2023).

    `num_key_value_heads=None` means one per attention head; `head_dim=None` means hidden_size / num_attention_heads.
    Both are numbers once the object exists. Raises `ModelConfigError` where sizes do not fit together.
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
        for name in ("rope_theta", "rms_norm_eps", "initializer_range"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise ModelConfigError(f"{name} is {value!r}: it must be a finite number above 0.")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise ModelConfigError(
                    f"{name} is {value}, outside the vocabulary of {self.vocab_size}: use an id below vocab_size, "
                    "or None where there is no such token."
                )

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

    def _layer_matrices(self) -> int:
        attention = self.hidden_size * self.head_size * (2 * self.num_attention_heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden_size * self.intermediate_size

    def num_parameters(self) -> int:
        """Trained numbers of the causal model; tied embeddings count once."""
        layer = self._layer_matrices() + 2 * self.hidden_size
        tables = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return tables + self.num_hidden_layers * layer + self.hidden_size

    def flops_per_token(self, context_length: int | None = None) -> int:
        """Floating-point operations of a training step (forward and backward) for each token.

        6 for each weight of a matrix product, and 12·L·(H·Q)·T for attention over a context of T tokens
        (default: max_position_embeddings), counted without the causal half as in PaLM (Chowdhery et al. 2022,
        appendix B). A forward alone takes a third.
        """
        context = self.max_position_embeddings if context_length is None else context_length
        products = self.num_hidden_layers * self._layer_matrices() + self.vocab_size * self.hidden_size
        attention = self.num_hidden_layers * self.num_attention_heads * self.head_size * context
        return 6 * products + 12 * attention

    def to_dict(self) -> dict[str, Any]:
        """The content of a Hugging Face `config.json`, without `architectures`.

        `rope_theta` is written twice: at the top, where releases before 5 and other programs look for it, and in
        `rope_parameters`, where transformers 5 does.
        """
        rope = {"rope_theta": self.rope_theta, "rope_type": "default"}
        return {**FIXED, **dataclasses.asdict(self), "rope_parameters": rope}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read a Hugging Face `config.json`; `ModelConfigError` for anything this layer would compute otherwise."""
        for name, value in FIXED.items():
            if content.get(name, value) != value:
                raise ModelConfigError(
                    f"config.json says {name}={content[name]!r}, but only {value!r} is computed here: "
                    "use a plain Llama checkpoint."
                )
        rope = content.get("rope_parameters") or {}
        scaling = content.get("rope_scaling") or {}
        for kind in (rope.get("rope_type"), scaling.get("rope_type"), scaling.get("type")):
            if kind not in (None, "default"):
                raise ModelConfigError(f"config.json asks for {kind!r} rotary scaling: use a checkpoint without it.")
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        values["rope_theta"] = float(rope.get("rope_theta") or content.get("rope_theta") or cls.rope_theta)
        # transformers' own defaults for keys a file leaves out
        values.setdefault("tie_word_embeddings", False)
        values.setdefault("rms_norm_eps", 1e-6)
        values.setdefault("max_position_embeddings", 2048)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            value = values.setdefault(name, None)
            if isinstance(value, list):  # several ids may end a text: the first is the model's own
                values[name] = value[0] if value else None
        required = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
        missing = sorted(required - values.keys())
        if missing:
            raise ModelConfigError(f"config.json lacks {', '.join(missing)}: take the file that came with the weights.")
        return cls(**values)
