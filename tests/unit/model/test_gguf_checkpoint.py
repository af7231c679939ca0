"""GGUF files of small random models, written as llama.cpp's converter writes them, become the models they were."""

import json
from pathlib import Path

import jsonschema
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from model.command import main as command
from model.errors import ModelFormatError
from model.export import load_causal
from model.gguf_checkpoint import import_gguf, load_gguf
from model.tokenizer import Tokenizer, train_tokenizer
from tests.gguf_files import TEMPLATE, theirs, write

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "model-import.json"
TEXT = "a text of words and of more words, 2024 numbers"


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars():
    logging.disable_progress_bar()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([TEXT] * 5, 320)


def ids(vocab_size: int) -> torch.Tensor:
    return torch.randint(4, vocab_size, (2, 40), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"rope_theta": 500.0}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {}),
    ],
)
def test_logits_are_those_of_the_model_that_was_written(tokenizer, tmp_path, family, change):
    made = theirs(family, tokenizer.vocab_size, **change)
    write(tmp_path / "m.gguf", made, tokenizer)
    import_gguf(tmp_path / "m.gguf", tmp_path / "model")
    tokens = ids(tokenizer.vocab_size)
    expected = made(tokens).logits
    torch.testing.assert_close(load_causal(tmp_path / "model")[0](tokens), expected, atol=1e-5, rtol=0)
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(back) is type(made) and back.config.rms_norm_eps == 1e-5
    torch.testing.assert_close(back(tokens).logits, expected, atol=1e-5, rtol=0)


def test_linear_scaling_is_read(tokenizer, tmp_path):
    made = theirs("llama", tokenizer.vocab_size, rope_parameters={"rope_type": "linear", "factor": 2.5})
    scaling = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.5}
    write(tmp_path / "m.gguf", made, tokenizer, **scaling)
    tokens = ids(tokenizer.vocab_size)
    found = load_gguf(tmp_path / "m.gguf").model(tokens)
    torch.testing.assert_close(found, made(tokens).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0])
def test_quantised_weights_are_near_those_that_were_written(tokenizer, tmp_path, kind):
    made = theirs("llama", tokenizer.vocab_size)
    write(tmp_path / "m.gguf", made, tokenizer, kind)
    found = load_gguf(tmp_path / "m.gguf")
    assert found.kinds[kind.name] == 16
    bits = {"Q4_0": 3, "Q4_1": 4, "Q5_0": 4, "Q5_1": 5}.get(kind.name, 7)  # of a block of 32 numbers
    for name, weight in made.named_parameters():
        limit = weight.abs().max() * 2.1 * 2.0**-bits
        assert (found.model.get_parameter(name) - weight).abs().max() < limit, name


def test_the_tokenizer_splits_digits_and_keeps_special_tokens_special(tokenizer, tmp_path):
    write(tmp_path / "m.gguf", theirs("llama", tokenizer.vocab_size), tokenizer)
    import_gguf(tmp_path / "m.gguf", tmp_path / "model")
    ours, opened = Tokenizer.load(tmp_path / "model"), AutoTokenizer.from_pretrained(tmp_path / "model")
    assert len(tokenizer.encode(" 2024")) == 1, "learnt as a whole, so that splitting it shows"
    assert len(ours.encode(" 2024")) == 5
    for text in (TEXT, " two  spaces\n\n", "日本 größer 🙂", ""):
        assert ours.decode(ours.encode(text)) == text and opened(text)["input_ids"] == ours.encode(text)
    assert ours.decode([ours.im_start_id, *ours.encode("words"), ours.im_end_id]) == "words"
    assert len(ours.encode("<|im_end|>")) > 1
    assert (opened.eos_token, opened.pad_token, opened.chat_template) == ("<|im_end|>", "<|pad|>", TEMPLATE)


def test_the_same_file_gives_the_same_bytes(tokenizer, tmp_path):
    write(tmp_path / "m.gguf", theirs("llama", tokenizer.vocab_size), tokenizer, Kind.Q8_0)
    for name in ("a", "b"):
        import_gguf(tmp_path / "m.gguf", tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokenizer.ggml.model": "llama"}, "of the kind 'llama'"),
        ({"tokenizer.ggml.pre": "tekken"}, "in the way 'tekken'"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "merges do not fit"),
        ({"tokenizer.ggml.merges": ["zzz yyy"]}, "merges do not fit"),
        ({"tokenizer.ggml.token_type": [1]}, "names a token twice, or not the kind"),
        ({"tokenizer.ggml.eos_token_id": 9999}, "eos_token_id is 9999, outside the vocabulary"),
        ({"llama.rope.scaling.type": "yarn"}, "'yarn' rotary scaling"),
        ({"llama.expert_count": 8}, "8 experts"),
        ({"llama.rope.dimension_count": 8}, "not of one size"),
        ({"llama.embedding_length": "wide"}, "hidden_size is 'wide'"),
        ({"llama.rope.freq_base": [1, 2]}, r"rope_theta is \[1, 2\]: it must be a finite number"),
        ({"llama.embedding_length": None}, "hidden_size is None"),
        ({"llama.feed_forward_length": 64}, r"stores \d+,\d+ numbers, its settings ask for \d+,\d+"),
        ({"llama.feed_forward_length": 2**31}, r"numbers, its settings ask for [\d,]{15}"),
        ({"llama.block_count": 2**31}, r"numbers, its settings ask for [\d,]{15}"),
        ({"llama.block_count": 1}, "numbers, its settings ask for"),
        ({"llama.context_length": 2**31}, "max_position_embeddings is 2147483648"),
        ({"llama.block_count": 0}, "num_hidden_layers is 0"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(tokenizer, tmp_path, change, words):
    write(tmp_path / "m.gguf", theirs("llama", tokenizer.vocab_size), tokenizer, **change)
    with pytest.raises(ModelFormatError, match=words):
        load_gguf(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([(b"blk.1.ffn_up", b"blk.1.ffn_UP")], r"lacks 1 tensors \['model.layers.1.mlp.up_proj.weight'\] and has 1"),
        (
            [
                (b"blk.1.attn_q", b"blk.1.attn_X"),
                (b"blk.1.attn_k", b"blk.1.attn_q"),
                (b"blk.1.attn_X", b"blk.1.attn_k"),
            ],
            r"q_proj.weight in .* has shape \(32, 64\), its settings say \(64, 64\)",
        ),
    ],
)
def test_tensors_of_other_names_or_shapes_are_refused(tokenizer, tmp_path, changes, words):
    write(tmp_path / "m.gguf", theirs("llama", tokenizer.vocab_size), tokenizer)
    content = (tmp_path / "m.gguf").read_bytes()
    for old, new in changes:
        assert content.count(old) == 1
        content = content.replace(old, new)
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ModelFormatError, match=words):
        load_gguf(tmp_path / "m.gguf")


def test_a_damaged_file_is_refused_wherever_it_ends(tokenizer, tmp_path):
    write(tmp_path / "m.gguf", theirs("llama", tokenizer.vocab_size), tokenizer)
    whole = (tmp_path / "m.gguf").read_bytes()
    for length in (0, 3, 4, 8, 20, 30, 100, 1000, 5000, len(whole) // 2, len(whole) - 100):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        with pytest.raises(ModelFormatError, match="no GGUF file, or damaged"):
            load_gguf(tmp_path / "cut.gguf")
    many = whole[:8] + (2**60).to_bytes(8, "little") * 2 + whole[24:]  # tensors and settings without end
    (tmp_path / "many.gguf").write_bytes(many)
    with pytest.raises(ModelFormatError, match="no GGUF file, or damaged"):
        load_gguf(tmp_path / "many.gguf")


def test_the_command_writes_a_new_folder_and_leaves_others_alone(tokenizer, tmp_path, capsys):
    write(tmp_path / "m.gguf", theirs("llama", tokenizer.vocab_size), tokenizer, Kind.Q4_1)
    arguments = ["import", "--gguf", str(tmp_path / "m.gguf"), "--out", str(tmp_path / "model"), "--json"]
    assert command.main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    jsonschema.validate(answer, json.loads(SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    assert answer["stored_as"] == {"F32": 5, "Q4_1": 16} and answer["vocabulary"] == tokenizer.vocab_size
    assert command.main(["generate", "--model", str(tmp_path / "model"), "--prompt", "a", "--greedy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] > 0
    assert command.main(arguments) == 1
    assert "is there already" in capsys.readouterr().err
    assert command.main([*arguments[:2], str(tmp_path / "none.gguf"), "--out", str(tmp_path / "other")]) == 1
    assert "give a .gguf file" in capsys.readouterr().err and not (tmp_path / "other").exists()
