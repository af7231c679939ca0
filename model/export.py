"""Model directories that transformers, vLLM and llama.cpp read: safetensors, JSON, tokenizer and chat template.

Equal models give equal bytes: keys are sorted, and no time, path or library version is written. Nothing is pickled.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.chat import CHAT_TEMPLATE
from model.config import FAMILIES, ModelConfig
from model.errors import ModelConfigError, ModelFormatError
from model.scalar import ScalarModel
from model.tokenizer import END_OF_TEXT, PADDING, TURN_END, Tokenizer
from model.transformer import Transformer

CAUSAL, SCALAR = "ForCausalLM", "ForSequenceClassification"  # after the family's name, as transformers names them
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
# Not parameters: tables some checkpoints carry along, computed here from the configuration.
COMPUTED = ".rotary_emb.inv_freq"


def save_pretrained(
    model: Transformer | ScalarModel,
    tokenizer: Tokenizer,
    directory: str | Path,
    *,
    chat_template: str = CHAT_TEMPLATE,
) -> None:
    """Write config.json, model.safetensors, tokenizer.json, tokenizer_config.json and, for a causal model,
    generation_config.json into `directory`, which is made where it does not exist.

    Raises `ModelFormatError` where the tokenizer has ids that the model has no embedding for.
    """
    config = model.config
    if tokenizer.vocab_size > config.vocab_size:
        raise ModelFormatError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the model embeds {config.vocab_size}: "
            "save the model with the tokenizer it was trained with."
        )
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(model.state_dict().items())}
    save_file(tensors, target / WEIGHTS, metadata={"format": "pt"})
    dtype = str(model.model.embed_tokens.weight.dtype).removeprefix("torch.")
    family = FAMILIES[config.model_type].architecture
    content = {**config.to_dict(), "dtype": dtype, "torch_dtype": dtype}
    if isinstance(model, ScalarModel):
        labels = {"id2label": {"0": "score"}, "label2id": {"score": 0}}
        _write_json(target / "config.json", {**content, **labels, "architectures": [family + SCALAR]})
    else:
        _write_json(target / "config.json", {**content, "architectures": [family + CAUSAL]})
        _write_json(target / "generation_config.json", generation_settings(tokenizer, config))
    shutil.copymode(target / "config.json", target / WEIGHTS)  # safetensors lets nobody else read what it writes
    tokenizer.save(target / "tokenizer.json")
    _write_json(target / "tokenizer_config.json", tokenizer_settings(tokenizer, config, chat_template))


def generation_settings(tokenizer: Tokenizer, config: ModelConfig) -> dict[str, Any]:
    """Content of generation_config.json: sample, and stop at the end of a turn or of a document."""
    document_end = tokenizer.backend.token_to_id(END_OF_TEXT)
    ends = [i for i in dict.fromkeys((config.eos_token_id, document_end)) if i is not None]
    return {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": ends,
        "pad_token_id": config.pad_token_id,
        "do_sample": True,
    }


def tokenizer_settings(tokenizer: Tokenizer, config: ModelConfig, chat_template: str) -> dict[str, Any]:
    """Content of tokenizer_config.json. A tokenizer without our special tokens has those that the model's ids name."""
    roles: dict[str, str | None] = {"bos_token": END_OF_TEXT, "eos_token": TURN_END, "pad_token": PADDING}
    for role, token in roles.items():
        number = getattr(config, f"{role}_id")
        if token is not None and tokenizer.backend.token_to_id(token) is None:
            roles[role] = None if number is None else tokenizer.backend.id_to_token(number)
    return {
        **{role: token for role, token in roles.items() if token is not None},
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": chat_template,
        "model_max_length": config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "add_eos_token": False,
    }


def load_causal(directory: str | Path, *, device: str | torch.device = "cpu") -> tuple[Transformer, Tokenizer]:
    """Read a causal model and its tokenizer. Weights become fp32, whatever they were stored as.

    Raises `ModelFormatError` for a directory that is incomplete, damaged or holds another architecture, weights that
    fp32 cannot compute with, or a tokenizer of more ids than the model embeds.
    """
    source = Path(directory)
    config, tensors = _read(source, CAUSAL)
    model = Transformer(config, fresh=False)
    _load_weights(model, tensors, source)
    return model.to(device), _load_tokenizer(source, model.config)


def load_scalar(directory: str | Path, *, device: str | torch.device = "cpu") -> tuple[ScalarModel, Tokenizer]:
    """Read a scalar model and its tokenizer; otherwise as `load_causal`."""
    source = Path(directory)
    config, tensors = _read(source, SCALAR)
    model = ScalarModel(config, fresh=False)
    _load_weights(model, tensors, source)
    return model.to(device), _load_tokenizer(source, model.config)


def _load_tokenizer(source: Path, config: ModelConfig) -> Tokenizer:
    tokenizer = Tokenizer.load(source)
    largest = max(tokenizer.backend.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= config.vocab_size:
        raise ModelFormatError(
            f"the tokenizer in {source} has an id {largest:,}, the model embeds {config.vocab_size:,}: take both from "
            "the same model."
        )
    return tokenizer


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(
        json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n"
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelFormatError(
            f"{path} does not exist: give a model directory (config.json, {WEIGHTS}, tokenizer.json)."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is not JSON ({error}): copy or export the model again.") from error
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path} does not hold a JSON object: copy or export the model again.")
    return content


def _read(source: Path, head: str) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration and the stored tensors, which lie in the files until they are used.

    A configuration that asks for far more is refused here, before memory is taken for it; what exactly is missing is
    told by `_load_weights`.
    """
    config = _read_config(source, head)
    tensors: dict[str, Tensor] = {}
    for path in _weight_files(source):
        tensors.update(_read_tensors(path))
    stored = sum(tensor.numel() for tensor in tensors.values())
    if config.num_parameters() > 2 * stored:  # twice: a scalar model has no matrix of a head, which is counted there
        raise ModelFormatError(
            f"config.json in {source} asks for more than twice the {stored:,} numbers that the weights hold: take both "
            "from the same model."
        )
    return config, tensors


def _read_config(source: Path, head: str) -> ModelConfig:
    content = _read_json(source / "config.json")
    named = content.get("architectures") or "none"
    found = named if isinstance(named, list) else [named]
    known = {kind: [family.architecture + kind for family in FAMILIES.values()] for kind in (CAUSAL, SCALAR)}
    if not set(known[head]).intersection(map(str, found)):
        loaders = {CAUSAL: "load_causal", SCALAR: "load_scalar"}
        other = next((loaders[kind] for kind in known if found[0] in known[kind]), None)
        remedy = f"read it with {other}" if other else f"give a directory of one of {', '.join(known[head])}"
        raise ModelFormatError(
            f"{source} holds {', '.join(map(str, found))}, not a {known[head][0]} or its kin: {remedy}."
        )
    try:
        return ModelConfig.from_dict(content)
    except ModelConfigError as error:
        raise ModelFormatError(f"{source / 'config.json'}: {error}") from error
    except (TypeError, OverflowError) as error:  # a number where a list belongs, or one beyond all bounds
        raise ModelFormatError(
            f"the settings in {source / 'config.json'} make no sense ({error}): copy or export the model again."
        ) from error


def _weight_files(source: Path) -> list[Path]:
    if not (source / WEIGHTS_INDEX).is_file():
        return [source / WEIGHTS]
    weight_map = _read_json(source / WEIGHTS_INDEX).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ModelFormatError(f"{source / WEIGHTS_INDEX} names no file of weights: copy or export the model again.")
    return [source / Path(name).name for name in sorted(set(names))]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelFormatError(
            f"{path} does not exist: weights are read from safetensors only, so convert other formats first."
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ModelFormatError(f"{path} is damaged or cut short ({error}): copy or export the model again.") from error


def _load_weights(model: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    expected = model.state_dict()
    found = {name for name in tensors if not name.endswith(COMPUTED)}
    spare = {"lm_head.weight"} - expected.keys()  # a tied head stored twice
    missing, unexpected = sorted(expected.keys() - found), sorted(found - expected.keys() - spare)
    if missing or unexpected:
        raise ModelFormatError(
            f"the weights in {source} do not fit its config.json (missing: {_some(missing)}; "
            f"unexpected: {_some(unexpected)}): take both from the same model."
        )
    for name, parameter in expected.items():
        tensor = tensors[name]
        if tensor.shape != parameter.shape:
            raise ModelFormatError(
                f"{name} in {source} has shape {tuple(tensor.shape)}, config.json says {tuple(parameter.shape)}: take "
                "both from the same model."
            )
        if not tensor.is_floating_point():
            raise ModelFormatError(
                f"{name} in {source} holds {str(tensor.dtype).removeprefix('torch.')}, not floating-point numbers: "
                "convert the weights first."
            )
        parameter.copy_(tensor)
        if not math.isfinite(torch.linalg.vector_norm(parameter)):  # nor then are the sums of a matrix product
            raise ModelFormatError(
                f"{name} in {source} holds numbers that are not finite, or too large to compute with in fp32: copy the "
                "model again, or train it at a lower rate."
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
