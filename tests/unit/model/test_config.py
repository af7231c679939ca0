import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.errors import ModelConfigError
from model.scalar import ScalarModel
from model.transformer import Transformer

SMALL = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"num_hidden_layers": 1.5}, "num_hidden_layers is 1.5"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"hidden_size": 18}, "not a multiple of num_attention_heads"),
        ({"num_key_value_heads": 3}, "not a multiple of num_key_value_heads"),
        ({"hidden_size": 12}, "head_dim 3 is odd"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings is 1000000000000"),
        ({"rope_theta": 0.0}, "rope_theta"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"eos_token_id": 50}, "eos_token_id is 50, outside the vocabulary of 50"),
        ({"pad_token_id": -1}, "pad_token_id is -1"),
    ],
)
def test_sizes_that_do_not_fit_are_named(change, words):
    with pytest.raises(ModelConfigError, match=words):
        ModelConfig(**{**SMALL, **change})


def test_heads_are_numbers_after_construction():
    config = ModelConfig(**SMALL)
    assert (config.num_key_value_heads, config.head_dim) == (4, 4)


@settings(max_examples=20, deadline=None)
@given(
    layers=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 4]),
    head_dim=st.sampled_from([None, 2, 6]),
    tied=st.booleans(),
    family=st.sampled_from([("llama", False), ("llama", True), ("mistral", False), ("qwen2", False), ("qwen3", True)]),
)
def test_num_parameters_counts_what_is_built(layers, groups, head_dim, tied, family):
    config = ModelConfig(
        **{**SMALL, "num_hidden_layers": layers},
        num_key_value_heads=groups,
        head_dim=head_dim,
        tie_word_embeddings=tied,
        model_type=family[0],
        attention_bias=family[1],
    )
    model = Transformer(config)
    assert config.num_parameters() == sum(parameter.numel() for parameter in model.parameters())
    scalar = ScalarModel(config)
    assert scalar.num_parameters() == config.num_parameters() + config.hidden_size * (1 if tied else 1 - 50)


def test_flops_of_a_config_worked_by_hand():
    config = ModelConfig(
        vocab_size=10,
        hidden_size=4,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=5,
    )
    # a layer: q 16, k 8, v 8, o 16, feed-forward 3·32 = 96 → 144; head 40
    assert config.flops_per_token(context_length=3) == 6 * (2 * 144 + 40) + 12 * 2 * 4 * 3
    assert config.flops_per_token() == config.flops_per_token(5)
    narrow = dataclasses.replace(config, model_type="qwen2", sliding_window=2, max_window_layers=1)
    assert narrow.flops_per_token(3) == 6 * (2 * 144 + 40) + 12 * 4 * (3 + 2)


def test_config_survives_its_json():
    config = ModelConfig(**SMALL, num_key_value_heads=2, rope_theta=50_000.0, pad_token_id=None)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_config_of_older_transformers_is_read():
    content = {
        **SMALL,
        "model_type": "llama",
        "rope_theta": 500_000.0,
        "rope_scaling": None,
        "eos_token_id": [7, 8],
        "torch_dtype": "bfloat16",
    }
    config = ModelConfig.from_dict(content)
    assert (config.rope_theta, config.eos_token_id, config.pad_token_id) == (500_000.0, 7, None)
    assert (config.tie_word_embeddings, config.rms_norm_eps, config.max_position_embeddings) == (False, 1e-6, 2048)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, "model_type='gpt2'"),
        ({"mlp_bias": True}, "mlp_bias=True"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ({"rope_theta": "abc", "rope_parameters": None}, "rope_theta is 'abc'"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings is 'false': it must be true or false"),
        ({"eos_token_id": "2"}, "eos_token_id is '2': it must be a whole number"),
        ({"eos_token_id": -2}, "eos_token_id is -2, outside the vocabulary"),
        ({"model_type": "qwen2", "use_sliding_window": "no"}, "use_sliding_window is 'no'"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(change, words):
    with pytest.raises(ModelConfigError, match=words):
        ModelConfig.from_dict({**ModelConfig(**SMALL).to_dict(), **change})


def test_a_token_of_minus_one_is_none():
    content = {**ModelConfig(**SMALL).to_dict(), "pad_token_id": -1, "bos_token_id": -1, "eos_token_id": [-1]}
    config = ModelConfig.from_dict(content)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (None, None, None)


def test_the_file_of_a_plain_llama_has_the_keys_it_always_had():
    assert sorted(ModelConfig(**SMALL).to_dict()) == [
        "attention_bias", "bos_token_id", "eos_token_id", "head_dim", "hidden_act", "hidden_size", "initializer_range",
        "intermediate_size", "max_position_embeddings", "mlp_bias", "model_type", "num_attention_heads",
        "num_hidden_layers", "num_key_value_heads", "pad_token_id", "rms_norm_eps", "rope_parameters", "rope_theta",
        "tie_word_embeddings", "vocab_size",
    ]  # fmt: skip


def test_a_missing_size_is_named():
    content = ModelConfig(**SMALL).to_dict()
    del content["hidden_size"]
    with pytest.raises(ModelConfigError, match="lacks hidden_size"):
        ModelConfig.from_dict(content)


def test_config_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig(**SMALL).vocab_size = 3
