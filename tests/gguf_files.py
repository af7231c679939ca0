"""Small random models of transformers, written as the GGUF files that llama.cpp's converter would write."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from model.tokenizer import Tokenizer

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
HEADS, GROUPS, D = 4, 2, 16


def tokens(tokenizer: Tokenizer) -> list[str]:
    """The tokens by their ids."""
    vocabulary = json.loads(tokenizer.to_json())["model"]["vocab"]
    return sorted(vocabulary, key=vocabulary.get)


def theirs(family: str, vocab_size: int, **change: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            family,
            **{
                "vocab_size": vocab_size, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
                "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "head_dim": D, "initializer_range": 0.2,
                "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
                "pad_token_id": 2, **change,
            },
        )
    )  # fmt: skip
    for parameter in made.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return made.eval()


def side_by_side(weight: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to q and k of a Llama: row i of a head's half h becomes row 2·i + h."""
    moved = np.empty_like(weight)
    for head in range(heads):
        for half in range(2):
            for i in range(D // 2):
                moved[head * D + 2 * i + half] = weight[head * D + half * D // 2 + i]
    return moved


def write(path: Path, model: PreTrainedModel, tokenizer: Tokenizer, kind: Kind = Kind.F32, **change: Any) -> None:
    """The file, matrices stored as `kind`. change: key-value pairs to add, replace or (None) leave out."""
    config, family = model.config, model.config.model_type
    merges, names = json.loads(tokenizer.to_json())["model"]["merges"], tokens(tokenizer)
    pairs: dict[str, Any] = {
        f"{family}.block_count": config.num_hidden_layers, f"{family}.context_length": config.max_position_embeddings,
        f"{family}.embedding_length": config.hidden_size, f"{family}.feed_forward_length": config.intermediate_size,
        f"{family}.attention.head_count": HEADS, f"{family}.attention.head_count_kv": GROUPS,
        f"{family}.attention.key_length": D, f"{family}.attention.value_length": D,
        f"{family}.rope.freq_base": float(config.rope_parameters["rope_theta"]),
        f"{family}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": [3] * 4 + [1] * (len(names) - 4),
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.chat_template": TEMPLATE, **change,
    }  # fmt: skip
    writer = gguf.GGUFWriter(path, family)
    for name, value in pairs.items():
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif value is not None:
            writer.add_uint32(name, value)
    tensors = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, family.upper()), config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy()
        if family == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            values = side_by_side(values, HEADS if "q_proj" in name else GROUPS)
        stored = kind if values.ndim == 2 else Kind.F32
        writer.add_tensor(
            tensors.get_name(name, try_suffixes=(".weight", ".bias")),
            values if stored == Kind.F32 else gguf.quantize(values, stored),
            raw_dtype=None if stored == Kind.F32 else stored,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
