import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from model.config import ModelConfig
from model.decoding import Decoder
from model.errors import InputError
from model.generation import Sampling, choose, generate, invert, left_pad
from model.transformer import Transformer

EOS, PAD, V = 2, 3, 40
LENGTHS = (3, 7, 7, 12, 1, 5)


def model(seed: int = 0, **change) -> Transformer:
    """A random model whose choices depend on what it reads."""
    config = ModelConfig(
        **{
            "vocab_size": V,
            "hidden_size": 32,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 48,
            "initializer_range": 0.3,
            **change,
        }
    )
    built = Transformer(config, generator=torch.Generator().manual_seed(seed))
    for name, parameter in built.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5, generator=torch.Generator().manual_seed(seed))
    return built


def prompts(seed: int = 1) -> list[list[int]]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randint(4, V, (length,), generator=source).tolist() for length in LENGTHS]


def call(built: Transformer, rows: list[list[int]], **change) -> list[list[int]]:
    return generate(
        built, rows, **{"max_new_tokens": 20, "eos_token_id": EOS, "pad_token_id": PAD, "seed": 0, **change}
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"num_key_value_heads": 1, "tie_word_embeddings": False},
        {"num_key_value_heads": 4, "rope_theta": 300.0},
        {"head_dim": 6},
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_greedy_equals_transformers_token_for_token(change, seed):
    ours = model(seed, **change)
    theirs = LlamaForCausalLM(LlamaConfig(**ours.config.to_dict())).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    theirs.tie_weights()
    block, padding = left_pad(prompts(seed), PAD)
    mask = (torch.arange(block.shape[1]) >= padding[:, None]).long()
    expected = theirs.generate(
        block, attention_mask=mask, max_new_tokens=20, do_sample=False, eos_token_id=EOS, pad_token_id=PAD
    )[:, block.shape[1] :].tolist()
    until_end = [row[: row.index(EOS) + 1] if EOS in row else row for row in expected]
    assert call(ours, prompts(seed), temperature=0) == until_end
    assert len({tuple(row) for row in until_end}) > 3


def by_reading_everything_again(built: Transformer, rows: list[list[int]], seed: int, sampling: Sampling) -> list:
    """The same answers, one prompt at a time, without cache, batch or fused weights."""
    uniforms = torch.rand(len(rows), 20, generator=torch.Generator().manual_seed(seed))
    answers = []
    for i, row in enumerate(rows):
        answer: list[int] = []
        while len(answer) < 20 and EOS not in answer:
            logits = built(torch.tensor([row + answer]))[:, -1]
            answer.append(int(choose(logits, uniforms[i, len(answer) : len(answer) + 1], sampling)))
        answers.append(answer)
    return answers


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(0.7),
        Sampling(1.3, top_k=9),
        Sampling(0.9, top_p=0.8),
        Sampling(1.0, top_k=20, top_p=0.9),
        Sampling(0.0),
    ],
)
def test_sampling_equals_the_plain_loop_for_every_batch_size(sampling):
    built, rows = model(), [*prompts(), prompts()[1], prompts()[1]]
    expected = by_reading_everything_again(built, rows, 7, sampling)
    settings = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p, "seed": 7}
    for batch_size in (1, 3, 64):
        assert call(built, rows, batch_size=batch_size, **settings) == expected


def test_an_answer_does_not_depend_on_the_other_prompts():
    built, rows = model(), prompts()
    together = call(built, rows)
    assert call(built, rows[:2]) == together[:2]
    assert call(built, [*rows[:3], [9, 9, 9, 9], *rows[4:]])[5] == together[5]


def test_equal_prompts_are_answered_differently_and_the_same_again():
    built, rows = model(), [prompts()[0]] * 6
    first = call(built, rows)
    assert len({tuple(answer) for answer in first}) == 6
    assert call(built, rows) == first
    assert call(built, rows, seed=1) != first


def test_rows_that_end_early_leave_and_the_rest_go_on_unchanged():
    built = model(tie_word_embeddings=False)
    with torch.no_grad():
        built.lm_head.weight[EOS] *= 3  # so that answers end at many different steps
    rows = [row for seed in range(6) for row in prompts(seed)]
    answers = call(built, rows, batch_size=64)
    assert answers == by_reading_everything_again(built, rows, 0, Sampling())
    lengths = {len(answer) for answer in answers}
    assert 1 in lengths and 20 in lengths and len(lengths) > 5
    assert all(EOS not in answer[:-1] for answer in answers)
    assert all(answer[-1] == EOS for answer in answers if len(answer) < 20)


def test_decoder_gives_the_logits_of_the_model_at_each_step():
    built = model(num_key_value_heads=1)
    decoder = Decoder(built)
    rows = prompts()
    block, padding = left_pad(rows, PAD)
    with torch.inference_mode():
        logits = decoder.start(block, padding, 4)
        for step in range(5):
            expected = torch.cat([built(torch.tensor([row]))[:, -1] for row in rows])
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-5)
            if step == 4:
                break
            tokens = logits.argmax(-1)
            rows = [[*row, int(token)] for row, token in zip(rows, tokens, strict=True)]
            if step == 1:
                kept = torch.tensor([5, 0, 3, 0])
                decoder.take(kept)
                rows, tokens = [rows[i] for i in kept], tokens[kept]
            logits = decoder.step(tokens)


def test_frequencies_follow_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0, 0.5]])
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.5):
        drawn = choose(logits.expand(len(uniform), -1), uniform, Sampling(temperature))
        shares = drawn.bincount(minlength=5) / len(uniform)
        expected = (logits[0] / temperature).softmax(-1)
        assert (shares - expected).abs().max() < 4 * (0.25 / len(uniform)) ** 0.5  # four standard errors


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.one_of(st.none(), st.integers(1, 60)),
    top_p=st.one_of(st.none(), st.floats(0.05, 1.0)),
)
def test_the_same_tokens_are_possible_as_in_transformers(seed, temperature, top_k, top_p):
    logits = 3 * torch.randn(1, V, generator=torch.Generator().manual_seed(seed))
    warped = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k is not None:
        warped = TopKLogitsWarper(top_k)(None, warped)
    if top_p is not None and top_p < 1:
        warped = TopPLogitsWarper(top_p)(None, warped)
    expected = warped.softmax(-1)[0]
    uniform = torch.arange(0.5, 5000) / 5000  # the distribution, inverted at even distances
    drawn = choose(logits.expand(5000, -1), uniform, Sampling(temperature, top_k, top_p))
    shares = drawn.bincount(minlength=V) / 5000
    assert (shares - expected).abs().max() <= 1.01 / 5000
    assert (expected[drawn] > 0).all()


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 0.0, 1e-6, 0.3, 1.0, 7.0]), min_size=1, max_size=30).filter(any),
    uniform=st.floats(0, 1, exclude_max=True, width=32),
)
def test_inversion_never_takes_a_column_without_weight(weights, uniform):
    column = invert(torch.tensor([weights]), torch.tensor([uniform]))
    assert 0 <= int(column) < len(weights)
    assert weights[int(column)] > 0


def test_no_prompts_no_answers():
    assert call(model(), []) == []


def test_generation_leaves_the_model_as_it_was():
    built = model()
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    state = torch.get_rng_state()
    call(built, prompts())
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    built(torch.tensor([[5, 6]])).sum().backward()  # and its parameters can still be trained


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"max_new_tokens": 40}, "prompt 3 has 12 tokens, and 40 more exceed max_position_embeddings 48"),
    ],
)
def test_settings_out_of_bounds_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        call(model(), prompts(), **change)


def test_an_empty_prompt_is_refused():
    with pytest.raises(InputError, match="prompt 1 is empty"):
        call(model(), [[5], []])
