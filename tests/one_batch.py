"""Models of a few thousand parameters for the tests of the trainers."""

from typing import Any

from model.config import ModelConfig
from model.transformer import Transformer


def language_model(vocab_size: int = 40, context: int = 32, **sizes: Any) -> Transformer:
    """Two layers of 16, with grouped heads."""
    shape = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    return Transformer(ModelConfig(vocab_size=vocab_size, max_position_embeddings=context, **{**shape, **sizes}))
