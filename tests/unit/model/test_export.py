import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from model.config import ModelConfig
from model.errors import ModelFormatError, TokenizerError
from model.export import load_causal, load_scalar, save_pretrained
from model.scalar import ScalarModel
from model.tokenizer import Tokenizer, train_tokenizer
from model.transformer import Transformer


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars():
    logging.disable_progress_bar()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a text of words and of more words, 日本"] * 5, 290)


def config(tokenizer: Tokenizer, **change) -> ModelConfig:
    return ModelConfig(
        **{
            "vocab_size": tokenizer.vocab_size,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "initializer_range": 0.2,
            "rope_theta": 700.0,
            **change,
        }
    )


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(4, 250, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_opens_a_causal_model(tokenizer, tmp_path, tied):
    ours = Transformer(config(tokenizer, tie_word_embeddings=tied))
    save_pretrained(ours, tokenizer, tmp_path / "made" / "model")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "made" / "model")
    assert type(theirs).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(ours(ids(2, 9)), theirs(ids(2, 9)).logits, atol=1e-5, rtol=0)
    assert theirs.generation_config.eos_token_id == [2, 0]
    assert theirs.num_parameters() == ours.config.num_parameters()


def test_transformers_opens_a_scalar_model(tokenizer, tmp_path):
    ours = ScalarModel(config(tokenizer))
    save_pretrained(ours, tokenizer, tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert theirs.config.num_labels == 1
    rows = ids(3, 9)
    rows[1, 4:] = 3
    mask = rows != 3
    torch.testing.assert_close(
        ours.score(rows, mask), theirs(rows, attention_mask=mask.long()).logits[:, 0], atol=1e-5, rtol=0
    )
    assert not (tmp_path / "generation_config.json").exists()


def test_transformers_opens_the_tokenizer(tokenizer, tmp_path):
    save_pretrained(Transformer(config(tokenizer)), tokenizer, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("a text, of words.", "  two  spaces \n\n", "日本 größer 🙂", ""):
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text)) == text
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (0, 2, 3)
    assert theirs.decode([1, *tokenizer.encode("words"), 2], skip_special_tokens=True) == "words"


@pytest.mark.parametrize("tied", [True, False])
def test_a_causal_model_comes_back(tokenizer, tmp_path, tied):
    ours = Transformer(config(tokenizer, tie_word_embeddings=tied))
    save_pretrained(ours, tokenizer, tmp_path)
    model, loaded = load_causal(tmp_path)
    assert model.config == ours.config
    assert torch.equal(model(ids(1, 5)), ours(ids(1, 5)))
    assert loaded.encode("a text <|im_end|>") == tokenizer.encode("a text <|im_end|>")


def test_a_scalar_model_comes_back(tokenizer, tmp_path):
    ours = ScalarModel(config(tokenizer))
    save_pretrained(ours, tokenizer, tmp_path)
    model, _ = load_scalar(tmp_path)
    assert torch.equal(model.score(ids(2, 5)), ours.score(ids(2, 5)))


@pytest.mark.parametrize("tied", [True, False])
def test_what_transformers_saves_is_read(tokenizer, tmp_path, tied):
    ours = Transformer(config(tokenizer, tie_word_embeddings=tied))
    save_pretrained(ours, tokenizer, tmp_path / "ours")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")  # several files and their index
    AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    assert (tmp_path / "theirs" / "model.safetensors.index.json").is_file()
    model, _ = load_causal(tmp_path / "theirs")
    assert torch.equal(model(ids(1, 5)), ours(ids(1, 5)))


def test_whoever_may_read_the_settings_may_read_the_weights(tokenizer, tmp_path):
    save_pretrained(Transformer(config(tokenizer)), tokenizer, tmp_path)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_equal_models_give_equal_bytes(tokenizer, tmp_path):
    for name in ("a", "b"):
        save_pretrained(Transformer(config(tokenizer)), tokenizer, tmp_path / name)
    names = sorted(os.listdir(tmp_path / "a"))
    assert names == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    save_pretrained(load_causal(tmp_path / "a")[0], Tokenizer.load(tmp_path / "a"), tmp_path / "c")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "c" / "model.safetensors").read_bytes()


def test_half_precision_weights_are_read_as_fp32(tokenizer, tmp_path):
    ours = Transformer(config(tokenizer)).bfloat16()
    save_pretrained(ours, tokenizer, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    model, _ = load_causal(tmp_path)
    assert model.output_weight.dtype == torch.float32
    assert torch.equal(model.output_weight, ours.output_weight.float())


def test_a_tied_head_and_tables_stored_along_are_accepted(tokenizer, tmp_path):
    ours = Transformer(config(tokenizer))
    save_pretrained(ours, tokenizer, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(tensors, tmp_path / "model.safetensors")
    assert torch.equal(load_causal(tmp_path)[0](ids(1, 5)), ours(ids(1, 5)))


def _without(name):
    return lambda directory: (directory / name).unlink()


def _cut(directory):
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _cut_in_the_header(directory):
    (directory / "model.safetensors").write_bytes((directory / "model.safetensors").read_bytes()[:20])


def _write(name, content):
    return lambda directory: (directory / name).write_text(content)


def _change_config(**change):
    def damage(directory):
        file = directory / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))

    return damage


def _rename_weight(directory):
    tensors = load_file(directory / "model.safetensors")
    tensors["model.surplus.weight"] = tensors.pop("model.norm.weight")
    save_file(tensors, directory / "model.safetensors")


def _change_norm(change):
    def damage(directory):
        tensors = load_file(directory / "model.safetensors")
        tensors["model.norm.weight"] = change(tensors["model.norm.weight"])
        save_file(tensors, directory / "model.safetensors")

    return damage


def _more_tokens(directory):
    tokenizer = Tokenizer.load(directory)
    tokenizer.backend.add_tokens(["one more"])
    tokenizer.save(directory / "tokenizer.json")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_without("config.json"), "config.json does not exist"),
        (_without("model.safetensors"), "safetensors does not exist: weights are read from safetensors only"),
        (_cut, "damaged or cut short"),
        (_cut_in_the_header, "damaged or cut short"),
        (_write("model.safetensors", ""), "damaged or cut short"),
        (_write("config.json", "{"), "is not JSON"),
        (_write("config.json", "[]"), "does not hold a JSON object"),
        (_write("model.safetensors.index.json", "{}"), "names no file"),
        (_change_config(architectures=["GPT2LMHeadModel"]), "holds GPT2LMHeadModel, not a LlamaForCausalLM or its kin"),
        (_change_config(architectures=None), "holds none"),
        (_change_config(architectures=5), "holds 5, not a"),
        (_change_config(architectures={"a": 1}), "holds {'a': 1}, not a"),
        (_change_config(architectures="GPT2LMHeadModel"), "holds GPT2LMHeadModel, not a"),
        (_write("config.json", "[" * 100_000), "is not JSON"),
        (_write("model.safetensors.index.json", '{"weight_map": {"a": ["x"]}}'), "names no file"),
        (_write("model.safetensors.index.json", '{"weight_map": {"a": "x", "b": 1}}'), "names no file"),
        (_change_config(rope_parameters={"rope_theta": 10**400}), "settings in .*config.json make no sense"),
        (_change_config(rms_norm_eps=10**400), "settings in .*config.json make no sense"),
        (_change_config(model_type="qwen2", layer_types=5), "layer_types is 5: it must be a list"),
        (_change_config(vocab_size=10**13), "asks for more than twice the [0-9,]+ numbers"),
        (_change_config(hidden_size=10**4000, intermediate_size=10**4000), "asks for more than twice"),
        (_change_config(num_hidden_layers=10**9), "asks for more than twice"),
        (_change_config(hidden_size="wide"), "config.json: hidden_size is 'wide'"),
        (_change_config(intermediate_size=32), "config.json says"),
        (_change_config(num_hidden_layers=3), r"missing: model.layers.2.input_layernorm.weight, .* and 6 more"),
        (_rename_weight, "missing: model.norm.weight; unexpected: model.surplus.weight"),
        (_change_norm(lambda norm: norm * float("nan")), "model.norm.weight in .* holds numbers that are not finite"),
        (_change_norm(lambda norm: norm.index_fill(0, torch.tensor([3]), -float("inf"))), "not finite"),
        (_change_norm(lambda norm: norm.double() * 1e300), "not finite"),
        (_change_norm(lambda norm: norm * 1e30), "too large to compute with in fp32"),
        (_change_norm(lambda norm: norm.to(torch.int8)), "model.norm.weight in .* holds int8, not floating-point"),
        (_change_norm(lambda norm: norm.bool()), "holds bool, not"),
        (_change_norm(lambda norm: norm.to(torch.complex64)), "holds complex64, not"),
        (_more_tokens, "the tokenizer in .* has an id [0-9]+, the model embeds"),
    ],
)
def test_damaged_directories_are_refused_with_the_reason(tokenizer, tmp_path, damage, words):
    save_pretrained(Transformer(config(tokenizer)), tokenizer, tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelFormatError, match=words):
        load_causal(tmp_path)


def test_a_missing_tokenizer_is_named(tokenizer, tmp_path):
    save_pretrained(Transformer(config(tokenizer)), tokenizer, tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match="does not exist: give the path"):
        load_causal(tmp_path)


def test_the_other_kind_of_model_is_named_with_its_loader(tokenizer, tmp_path):
    save_pretrained(ScalarModel(config(tokenizer)), tokenizer, tmp_path)
    with pytest.raises(ModelFormatError, match="read it with load_scalar"):
        load_causal(tmp_path)
    save_pretrained(Transformer(config(tokenizer)), tokenizer, tmp_path)
    with pytest.raises(ModelFormatError, match="read it with load_causal"):
        load_scalar(tmp_path)


def test_a_tokenizer_larger_than_the_model_is_refused(tokenizer, tmp_path):
    with pytest.raises(ModelFormatError, match="the model embeds 100"):
        save_pretrained(Transformer(config(tokenizer, vocab_size=100)), tokenizer, tmp_path)
