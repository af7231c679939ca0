"""Every family and variant against transformers: the same weights, made there and back, give the same numbers."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging

from model.config import FAMILIES, ModelConfig
from model.decoding import Decoder
from model.errors import ModelConfigError
from model.export import load_causal, load_scalar, save_pretrained
from model.generation import generate, left_pad
from model.sampling import Sampling
from model.scalar import ScalarModel
from model.tokenizer import Tokenizer, train_tokenizer
from model.transformer import Transformer

V, P, EOS, PAD = 280, 48, 2, 3
SIZES = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": P,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 24,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12}
SLOPE = {**YARN, "rope_theta": 100.0, "beta_fast": 2, "beta_slow": 0.5}  # up to dimension 3.5 of 12
VARIANTS = {
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama with biases": ("llama", {"attention_bias": True}),
    "llama, one key head, own head size": ("llama", {"num_key_value_heads": 1, "head_dim": 10}),
    "llama, linear": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.3}}),
    "llama, dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.3}}),
    "llama, llama3": ("llama", {"rope_parameters": LLAMA3, "head_dim": 16}),
    "mistral, window": ("mistral", {"sliding_window": 5}),
    "mistral, no window": ("mistral", {"sliding_window": None, "num_key_value_heads": 4}),
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2, window in some layers": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    ),
    "qwen2, yarn": ("qwen2", {"rope_parameters": YARN, "hidden_size": 64}),
    "qwen2, yarn told in full": (
        "qwen2",
        {
            "rope_parameters": {**SLOPE, "mscale": 0.7, "mscale_all_dim": 0.9},
            "head_dim": 24,
        },
    ),
    "qwen2, yarn, slope not rounded": (
        "qwen2",
        {"rope_parameters": {**SLOPE, "truncate": False, "attention_factor": 1.3}, "head_dim": 24},
    ),
    "qwen3, tied": ("qwen3", {"head_dim": 10, "tie_word_embeddings": True}),
    "qwen3 with biases, window": (
        "qwen3",
        {
            "head_dim": 8,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 2,
        },
    ),
}


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars():
    logging.disable_progress_bar()


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def theirs(request) -> PreTrainedModel:
    family, change = request.param
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SIZES, **change})).eval()
    for parameter in made.parameters():
        if parameter.dim() == 1:  # norms start at one and biases at zero, which would hide a forgotten one
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return made


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a text of words and of more words"] * 5, V)


def taken_over(theirs: PreTrainedModel) -> Transformer:
    """The same model here, from the JSON of its configuration."""
    ours = Transformer(ModelConfig.from_dict(json.loads(theirs.config.to_json_string(use_diff=False))))
    ours.load_state_dict(theirs.state_dict())
    return ours


def ids(*shape: int, seed: int = 5) -> torch.Tensor:
    return torch.randint(4, V, shape, generator=torch.Generator().manual_seed(seed))


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A mask of three rows of 14, and positions that count from each row's first real token."""
    mask = torch.ones(3, 14, dtype=torch.bool)
    mask[1, :5] = mask[2, :11] = False
    mask = mask if side == "left" else mask.flip(1)
    return mask, (mask.long().cumsum(1) - 1).clamp(min=0)


@pytest.mark.parametrize("method", ["sdpa", "matmul"])
def test_logits_equal_transformers(theirs, method):
    ours = taken_over(theirs)
    ours.model.attention = method
    torch.testing.assert_close(ours(ids(2, P)), theirs(ids(2, P)).logits, atol=1e-5, rtol=0)


def test_loss_and_its_gradients_equal_transformers(theirs):
    ours, tokens = taken_over(theirs), ids(2, 30)
    expected = theirs(tokens, labels=tokens).loss
    loss = F.cross_entropy(ours(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    expected.backward()
    loss.backward()
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, named[name].grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_logits_equal_transformers(theirs, side):
    mask, positions = padded(side)
    expected = theirs(ids(3, 14), attention_mask=mask.long(), position_ids=positions).logits
    found = taken_over(theirs)(ids(3, 14), attention_mask=mask)
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=0)


def test_packed_documents_equal_documents_alone(theirs):
    ours, documents = taken_over(theirs), [ids(1, n, seed=n) for n in (9, 1, 14)]
    segments = torch.tensor([[number for number, d in enumerate(documents) for _ in range(d.shape[1])]])
    alone = torch.cat([ours(document) for document in documents], dim=1)
    torch.testing.assert_close(ours(torch.cat(documents, dim=1), segment_ids=segments), alone, atol=1e-5, rtol=0)


def test_bf16_is_as_near_to_fp32_as_that_of_transformers(theirs):
    ours, tokens = taken_over(theirs), ids(2, 16)
    exact = ours(tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = (theirs(tokens).logits - exact).abs().mean()
        for method in ("auto", "sdpa", "matmul"):
            ours.model.attention = method
            assert 0 < (ours(tokens) - exact).abs().mean() < 1.5 * expected


def test_greedy_answers_equal_transformers_token_for_token(theirs):
    rows = [ids(n, seed=n).tolist() for n in (3, 9, 20, 20, 1)]
    block, padding = left_pad(rows, PAD)
    mask = (torch.arange(block.shape[1]) >= padding[:, None]).long()
    expected = theirs.generate(
        block, attention_mask=mask, max_new_tokens=20, do_sample=False, eos_token_id=EOS, pad_token_id=PAD
    )[:, block.shape[1] :].tolist()
    until_end = [row[: row.index(EOS) + 1] if EOS in row else row for row in expected]
    answers = generate(
        taken_over(theirs), rows, max_new_tokens=20, sampling=Sampling(0.0), eos_token_id=EOS, pad_token_id=PAD, seed=0
    )
    assert answers == until_end


def test_each_decoding_step_gives_the_logits_of_reading_it_all(theirs):
    ours, tokens = taken_over(theirs), ids(2, 30)
    decoder, padding = Decoder(ours), torch.zeros(2, dtype=torch.int64)
    with torch.inference_mode():
        expected = ours(tokens)
        found = [decoder.start(tokens[:, :7], padding, 23), *(decoder.step(tokens[:, t]) for t in range(7, 30))]
    torch.testing.assert_close(torch.stack(found, dim=1), expected[:, 6:], atol=3e-5, rtol=0)


def test_a_checkpoint_of_transformers_loads_in_parts_and_goes_back(theirs, tokenizer, tmp_path):
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    tokenizer.save(tmp_path / "theirs" / "tokenizer.json")
    assert len(list((tmp_path / "theirs").glob("model-*-of-*.safetensors"))) > 2
    ours, loaded = load_causal(tmp_path / "theirs")
    expected = theirs(ids(2, P)).logits
    torch.testing.assert_close(ours(ids(2, P)), expected, atol=1e-5, rtol=0)

    save_pretrained(ours, loaded, tmp_path / "back")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert type(back) is type(theirs)
    assert back.num_parameters() == ours.config.num_parameters() == theirs.num_parameters()
    torch.testing.assert_close(back(ids(2, P)).logits, expected, atol=1e-5, rtol=0)
    again, _ = load_causal(tmp_path / "back")
    assert again.config == ours.config
    assert again.state_dict().keys() == load_file(tmp_path / "back" / "model.safetensors").keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_scalar_models_of_a_family_open_in_transformers(family, tokenizer, tmp_path):
    config = ModelConfig(**SIZES, model_type=family)
    ours = ScalarModel.from_causal(Transformer(config), 2)
    save_pretrained(ours, tokenizer, tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    rows, (mask, _) = ids(3, 14), padded("right")
    rows[~mask] = PAD
    expected = theirs(rows, attention_mask=mask.long()).logits[:, 0]
    torch.testing.assert_close(load_scalar(tmp_path)[0].score(rows, mask), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_a_file_leaves_out_mean_what_transformers_takes_them_for(family, tmp_path: Path):
    sizes = {
        "vocab_size": 50, "hidden_size": 256, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 32, "model_type": family,
    }  # fmt: skip
    ours = ModelConfig.from_dict(sizes)
    theirs = AutoConfig.for_model(**sizes)
    for name in ("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.head_dim == getattr(theirs, "head_dim", 8)
    assert ours.sliding_window == getattr(theirs, "sliding_window", None)
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]


def test_windows_are_those_of_transformers_layer_for_layer():
    for layers, first in ((3, 1), (3, 0), (2, 5)):
        asked = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": first}
        theirs = transformers.Qwen2Config(**{**SIZES, "num_hidden_layers": layers}, **asked)
        expected = tuple(7 if kind == "sliding_attention" else None for kind in theirs.layer_types)
        assert ModelConfig.from_dict(theirs.to_dict()).windows == expected


def test_fresh_biases_are_zero_and_fresh_norms_one():
    model = Transformer(ModelConfig(**SIZES, model_type="qwen3", attention_bias=True))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert parameter.unique().tolist() == [0.0 if name.endswith("bias") else 1.0], name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, "model_type='gpt2' is not computed here"),
        ({"model_type": "mistral", "attention_bias": True}, "attention_bias=True, which no mistral has"),
        ({"model_type": "llama", "sliding_window": 5}, "sliding_window=5, which no llama has"),
        ({"model_type": "mistral", "sliding_window": 0}, "sliding_window is 0"),
        ({"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": -1}, "max_window_layers is -1"),
        (
            {
                "model_type": "qwen3",
                "use_sliding_window": True,
                "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            },
            "layer_types mix",
        ),
        ({"model_type": "qwen3", "layer_types": ["sliding_attention"] * 3}, "no window"),
        ({"model_type": "qwen3", "layer_types": ["full_attention"]}, "layer_types names 1 of 3 layers"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "'longrope' rotary scaling"),
        ({"rope_scaling": {"type": "linear"}}, "linear rotary scaling lacks factor"),
        ({"rope_scaling": {"type": "linear", "factor": "two"}}, "factor of the rotary scaling is 'two'"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "factor of the rotary scaling is 0"),
        ({"rope_scaling": {"type": "linear", "factor": float("nan")}}, "factor of the rotary scaling is nan"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 3}}, "linear rotary scaling has no beta_fast"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0, "mrope_section": [1]}},
            "mrope_section, which is not known",
        ),
        ({"rope_parameters": {**YARN, "truncate": 1}}, "truncate of the rotary scaling is 1"),
        ({"rope_parameters": {**LLAMA3, "low_freq_factor": 4.0}}, "must be below high_freq_factor"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "full_attention, which is not known"),
        ({"rope_scaling": ["yarn"]}, "rope_scaling is \\['yarn'\\], which is of the wrong kind"),
        ({"rope_scaling": {"type": ["yarn"]}}, "rotary scaling"),
        ({"model_type": ["llama"]}, "is not computed here"),
        ({"attention_bias": "yes"}, "attention_bias is 'yes'"),
        ({"partial_rotary_factor": 0.5}, "turns 0.5 of each head"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "turns 0.5 of each head"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(change, words):
    with pytest.raises(ModelConfigError, match=words):
        ModelConfig.from_dict({**SIZES, **change})
