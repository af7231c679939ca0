"""A GGUF file, llama.cpp's one-file form of a model, as a model directory: weights as fp32, tokenizer, chat template.

The package `gguf`, kept by llama.cpp's makers, reads the file and knows its quantisations. Here is what it leaves open:
which numbers are which setting, how the tokenizer splits text, and that llama.cpp keeps rotated pairs side by side.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from gguf import GGUFReader, TokenType, get_tensor_name_map
from gguf.constants import MODEL_ARCH
from gguf.quants import dequantize
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from model.chat import CHAT_TEMPLATE
from model.config import ModelConfig
from model.errors import ModelConfigError, ModelFormatError, TokenizerError
from model.export import save_pretrained
from model.tokenizer import Tokenizer
from model.transformer import Transformer

ARCHITECTURES = {"llama": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2, "qwen3": MODEL_ARCH.QWEN3}
"""`general.architecture` → the names of its tensors. The name is our `model_type` too; Mistral's files say llama."""

QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class GGUFCheckpoint:
    """What a file holds. kinds: how many tensors are stored in which quantisation."""

    model: Transformer
    tokenizer: Tokenizer
    chat_template: str
    kinds: dict[str, int]


def import_gguf(file: str | Path, directory: str | Path) -> GGUFCheckpoint:
    """Write the model directory of a GGUF file (see `save_pretrained`); weights become fp32, so nothing is rounded.

    Raises `ModelFormatError` for a file that is damaged or of a model that is not computed here.
    """
    checkpoint = load_gguf(file)
    save_pretrained(checkpoint.model, checkpoint.tokenizer, directory, chat_template=checkpoint.chat_template)
    return checkpoint


def load_gguf(path: str | Path) -> GGUFCheckpoint:
    """Read a GGUF file whole; errors as in `import_gguf`."""
    if not Path(path).is_file():
        raise ModelFormatError(f"{path} is no file: give a .gguf file.")
    try:
        reader = GGUFReader(path)
        content = {name: field.contents() for name, field in reader.fields.items()}
    except Exception as error:  # the reader raises whatever it stumbles over
        raise ModelFormatError(f"{path} is no GGUF file, or damaged ({str(error)!r}): download it again.") from error
    try:
        tokenizer = read_tokenizer(content)
        config = read_config(content, {tensor.name for tensor in reader.tensors})
    except (ModelConfigError, TokenizerError) as error:
        raise ModelFormatError(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:  # a name where a number belongs, or the like
        raise ModelFormatError(f"the settings in {path} make no sense ({str(error)!r}): download it again.") from error
    numbers = sum(int(tensor.n_elements) for tensor in reader.tensors)
    if numbers != config.num_parameters():  # before memory is taken for what the settings ask for
        raise ModelFormatError(
            f"{path} stores {numbers:,} numbers, its settings ask for {config.num_parameters():,}: the model is none "
            "that is computed here, or the file is damaged. Use another file."
        )
    model = Transformer(config, fresh=False)
    _load_tensors(model, reader, Path(path))
    kinds = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    template = content.get("tokenizer.chat_template", CHAT_TEMPLATE)
    return GGUFCheckpoint(model, tokenizer, str(template), dict(sorted(kinds.items())))


def read_config(content: dict[str, Any], tensors: set[str]) -> ModelConfig:
    """The configuration that the file's key-value pairs describe."""
    kind = content.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise ModelConfigError(
            f"general.architecture is {kind!r}, but only {', '.join(ARCHITECTURES)} are computed: use another file."
        )

    def get(name: str, default: Any = None) -> Any:
        return content.get(f"{kind}.{name}", default)

    scaling = get("rope.scaling.type", "none")
    experts = get("expert_count", 0)
    if scaling not in ("none", "linear") or "rope_freqs.weight" in tensors or experts:
        raise ModelConfigError(
            f"the file holds {experts} experts and {scaling!r} rotary scaling, which are not read from GGUF here: use "
            "the safetensors of the model."
        )
    heads, width = get("attention.head_count"), get("embedding_length")
    head_dim = get("attention.key_length") or (width // heads if heads and width else None)
    if get("attention.value_length", head_dim) != head_dim or get("rope.dimension_count", head_dim) != head_dim:
        raise ModelConfigError("keys, values and rotation are not of one size: use another file.")
    sizes = {
        "model_type": kind,
        "vocab_size": len(content.get("tokenizer.ggml.tokens", ())),
        "hidden_size": width,
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": get("context_length"),
        "rope_theta": shortest(get("rope.freq_base", 10_000.0)),
        "rms_norm_eps": shortest(get("attention.layer_norm_rms_epsilon", 1e-5)),
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": kind != "qwen2" and "blk.0.attn_q.bias" in tensors,
        **{f"{role}_token_id": content.get(f"tokenizer.ggml.{name}_token_id")
           for role, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))},
    }  # fmt: skip
    if scaling == "linear":
        sizes["rope_scaling"] = {"rope_type": "linear", "factor": shortest(get("rope.scaling.factor"))}
    return ModelConfig.from_dict(sizes)


def shortest(value: Any) -> Any:
    """A number stored as float32 as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, int | float) else value


def read_tokenizer(content: dict[str, Any]) -> Tokenizer:
    """The byte-level BPE tokenizer of the file. Raises `TokenizerError` for another kind, or a way of splitting text
    that is not known here."""
    kind, splitting = content.get("tokenizer.ggml.model"), content.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2":
        raise TokenizerError(f"its tokenizer is of the kind {kind!r}, but only byte-level BPE ('gpt2') is read here.")
    known: dict[str, list[Any]] = {
        "gpt-2": [pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)],
        "qwen2": [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ],
    }
    if splitting not in known:
        raise TokenizerError(
            f"its tokenizer splits text in the way {splitting!r}, but only {', '.join(known)} are known here: use the "
            "safetensors and tokenizer.json of the model."
        )
    tokens, merges = content.get("tokenizer.ggml.tokens", []), content.get("tokenizer.ggml.merges", [])
    kinds = content.get("tokenizer.ggml.token_type", [TokenType.NORMAL] * len(tokens))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens) or len(kinds) != len(tokens):
        raise TokenizerError("its tokenizer names a token twice, or not the kind of each: download it again.")
    try:
        pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(
            f"its tokenizer's merges do not fit its tokens ({str(error)!r}): download it again."
        ) from error
    backend.pre_tokenizer = pre_tokenizers.Sequence(known[splitting])
    backend.decoder = decoders.ByteLevel()
    if splitting == "qwen2":
        backend.normalizer = normalizers.NFC()
    added = [
        AddedToken(token, special=kind == TokenType.CONTROL, normalized=False)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)
    ]
    backend.add_tokens(added)
    return Tokenizer(backend)


def _load_tensors(model: Transformer, reader: GGUFReader, path: Path) -> None:
    config = model.config
    names = get_tensor_name_map(ARCHITECTURES[config.model_type], config.num_hidden_layers)
    stored = {tensor.name: tensor for tensor in reader.tensors}
    state = model.state_dict()
    wanted = {name: names.get_name(name, try_suffixes=(".weight", ".bias")) for name in state}
    missing = sorted(name for name, other in wanted.items() if other not in stored)
    spare = sorted(stored.keys() - set(wanted.values()))
    if missing or spare:
        raise ModelFormatError(
            f"{path} lacks {len(missing)} tensors {missing[:3]} and has {len(spare)} that are not computed here "
            f"{spare[:3]}: use another file."
        )
    for name, parameter in state.items():
        tensor = stored[str(wanted[name])]
        try:
            values = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))
        except NotImplementedError as error:
            raise ModelFormatError(f"{path}: {error}; use another quantisation of the model.") from error
        if values.shape != parameter.shape:
            raise ModelFormatError(
                f"{name} in {path} has shape {tuple(values.shape)}, its settings say {tuple(parameter.shape)}: "
                "download it again."
            )
        if config.model_type == "llama" and name.endswith(
            ("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")
        ):
            values = half_split(values, config.head_size)
        parameter.copy_(values)


def half_split(weight: Tensor, head_dim: int) -> Tensor:
    """Reorder the rows of each head from rotated pairs side by side, as llama.cpp keeps them for Llama, to (i, i + D/2)
    apart: (n·D, …) → (n·D, …)."""
    return weight.view(-1, head_dim // 2, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)
