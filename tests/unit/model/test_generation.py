import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from model.config import ModelConfig
from model.decoding import Decoder
from model.errors import InputError, NotFinite
from model.generation import generate, left_pad, stop_at, stream
from model.matrices import Bf16Matrix
from model.processor import has_bf16_products
from model.sampling import GREEDY, Sampling, choose
from model.tokenizer import train_tokenizer
from model.transformer import Transformer

EOS, PAD, V = 2, 3, 40
LENGTHS = (3, 7, 7, 12, 1, 5)
CALL = {"max_new_tokens": 20, "sampling": Sampling(), "eos_token_id": EOS, "pad_token_id": PAD, "seed": 0}


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
    return generate(built, rows, **{**CALL, **change})


def in_transformers(ours: Transformer) -> LlamaForCausalLM:
    theirs = LlamaForCausalLM(LlamaConfig(**ours.config.to_dict())).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    theirs.tie_weights()
    return theirs


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
    theirs = in_transformers(ours)
    block, padding = left_pad(prompts(seed), PAD)
    mask = (torch.arange(block.shape[1]) >= padding[:, None]).long()
    expected = theirs.generate(
        block, attention_mask=mask, max_new_tokens=20, do_sample=False, eos_token_id=EOS, pad_token_id=PAD
    )[:, block.shape[1] :].tolist()
    until_end = [row[: row.index(EOS) + 1] if EOS in row else row for row in expected]
    assert call(ours, prompts(seed), sampling=GREEDY) == until_end
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
    for batch_size in (1, 3, 64):
        assert call(built, rows, batch_size=batch_size, sampling=sampling, seed=7) == expected


def test_an_answer_does_not_depend_on_the_other_prompts():
    built, rows = model(), prompts()
    together = call(built, rows)
    assert call(built, rows[:2]) == together[:2]
    assert call(built, [*rows[:3], [9, 9, 9, 9], *rows[4:]])[5] == together[5]


def test_a_part_of_the_prompts_is_answered_as_it_is_among_all():
    built, rows = model(), prompts()
    sampling = Sampling(1.0)
    assert call(built, rows[2:], sampling=sampling, seed=7, first=2) == call(built, rows, sampling=sampling, seed=7)[2:]


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


@pytest.mark.parametrize(
    "change", [{}, {"model_type": "qwen2"}, {"model_type": "qwen3"}, {"model_type": "mistral", "sliding_window": 20}]
)
def test_bf16_products_change_logits_no_more_than_autocast_does(change):
    built = model(num_hidden_layers=4, **change)
    block, padding = left_pad(prompts(), PAD)
    further = torch.randint(4, V, (len(block), 36), generator=torch.Generator().manual_seed(2))
    longer = torch.cat((block, further), dim=1)  # past the first block of the cache
    mask = torch.arange(longer.shape[1]) >= padding[:, None]
    decoder = Decoder(built, "bf16")
    with torch.inference_mode():
        exact = built(longer, attention_mask=mask)[:, block.shape[1] - 1 :]
        with torch.autocast("cpu", torch.bfloat16):
            usual = built(longer, attention_mask=mask)[:, block.shape[1] - 1 :].float()
        found = torch.stack([decoder.start(block, padding, 36), *map(decoder.step, further.T)], dim=1)
    errors = [(logits - exact).norm(dim=(0, 2)) / exact.norm(dim=(0, 2)) for logits in (found, usual)]  # by position
    assert errors[0].mean() < 1.2 * errors[1].mean()
    assert errors[0].min() > 1e-3 and errors[0].max() < 2 * errors[1].max()


def test_bf16_answers_do_not_depend_on_the_batch():
    built, rows = model(), prompts()
    settings = {"precision": "bf16", "max_new_tokens": 36, "sampling": Sampling(0.8)}
    answers = call(built, rows, **settings)
    assert answers == call(built, rows, **settings, batch_size=4)
    assert answers[:1] == call(built, rows[:1], **settings)
    assert max(map(len, answers)) > 32


@pytest.mark.skipif(not has_bf16_products(), reason="emulated bf16 products promise nothing of the kind")
def test_a_row_of_a_bf16_product_does_not_depend_on_how_many_rows_there_are():
    source = torch.Generator().manual_seed(0)
    weight, x = torch.randn(72, 200, generator=source), torch.randn(64, 200, generator=source)
    matrix = Bf16Matrix(weight)
    whole = matrix.product(x)
    torch.testing.assert_close(
        whole.float(), x.bfloat16().float() @ weight.bfloat16().float().t(), rtol=2**-8, atol=1e-4
    )
    for rows in (1, 2, 3, 16, 33):
        assert torch.equal(matrix.product(x[:rows]), whole[:rows])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(), Sampling(top_k=5, top_p=0.5)])
def test_logits_that_are_not_finite_choose_nothing(number, sampling):
    built = model()
    built.output_weight.data[7] = number  # of 40 tokens
    with pytest.raises(NotFinite, match="its weights are damaged"):
        call(built, [[5, 6]], sampling=sampling)


@pytest.mark.parametrize("change", [{"top_p": 1e-20}, {"repetition_penalty": 1e-3}, {"repetition_penalty": 1e3}])
def test_the_outermost_samplings_choose_tokens(change):
    for temperature in (1e-20, 1e-300, 1.0, 1e300):
        (answer,) = call(model(), [[5, 6]], sampling=Sampling(temperature, **change))
        assert answer and all(0 <= token < V for token in answer)


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
        ({"sampling": [GREEDY]}, "sampling has 1 values for 6 prompts"),
        ({"seed": [1, 2]}, "seed has 2 values for 6 prompts"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"seed": 2**64}, "the seed is 18446744073709551616: use a number of at most 64 bits"),
        ({"seed": [-(2**63) - 1] * 6}, "at most 64 bits"),
        ({"max_new_tokens": 40}, "prompt 3 has 12 tokens, and 40 more exceed max_position_embeddings 48"),
    ],
)
def test_settings_out_of_bounds_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        call(model(), prompts(), **change)


def test_an_empty_prompt_is_refused():
    with pytest.raises(InputError, match="prompt 1 is empty"):
        call(model(), [[5], []])


@pytest.mark.parametrize("penalty", [1.3, 2.0, 0.7])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_repetition_penalty_equals_that_of_transformers(seed, penalty):
    ours = model(seed)
    theirs = in_transformers(ours)
    expected = []
    for row in prompts(seed):  # one by one: transformers counts padding as a token that was seen
        written = theirs.generate(
            torch.tensor([row]), attention_mask=torch.ones(1, len(row)), max_new_tokens=20, do_sample=False,
            repetition_penalty=penalty, eos_token_id=EOS, pad_token_id=PAD,
        )  # fmt: skip
        expected.append(written[0, len(row) :].tolist())
    assert call(ours, prompts(seed), sampling=Sampling(0, repetition_penalty=penalty)) == expected
    assert call(ours, prompts(seed), sampling=GREEDY) != expected


def test_each_prompt_may_have_its_own_sampling_and_seed():
    built = model(tie_word_embeddings=False)
    with torch.no_grad():
        built.lm_head.weight[EOS] *= 3  # rows leave the batch at different steps
    rows = [row for seed in range(3) for row in prompts(seed)]
    kinds = [Sampling(), GREEDY, Sampling(0.8, top_k=5, repetition_penalty=1.5), Sampling(1.2, top_p=0.7)]
    samplings = [kinds[number % 4] for number in range(len(rows))]
    seeds = [100 + number for number in range(len(rows))]
    together = call(built, rows, sampling=samplings, seed=seeds)
    alone = [
        call(built, [row], sampling=sampling, seed=seed)[0]
        for row, sampling, seed in zip(rows, samplings, seeds, strict=True)
    ]
    assert together == alone
    assert len({len(answer) for answer in together}) > 3
    assert call(built, rows, sampling=samplings, seed=[seed + 1 for seed in seeds]) != together


def test_any_of_several_tokens_ends_an_answer():
    built, rows = model(), prompts()
    free = call(built, rows, eos_token_id=[])
    ends = {free[0][4], free[1][9]}
    expected = [row[: next((i for i, token in enumerate(row) if token in ends), 20) + 1] for row in free]
    assert call(built, rows, eos_token_id=sorted(ends)) == expected
    assert {len(row) for row in expected} != {20}


def test_a_stop_string_ends_an_answer_where_its_text_first_holds_it():
    tokenizer = train_tokenizer(["abc"], 300)
    built, rows = model(vocab_size=tokenizer.vocab_size), prompts()
    free = call(built, rows)
    text = tokenizer.decode(free[0])
    wanted = next(text[i : i + 3] for i in range(4, 15) if "\ufffd" not in text[i : i + 3])
    answers = call(built, rows, stop=stop_at(tokenizer, ["never written", wanted]))
    for answer, whole in zip(answers, free, strict=True):
        assert answer == whole[: len(answer)]
        assert len(answer) == len(whole) or wanted in tokenizer.decode(answer)
        assert wanted not in tokenizer.decode(answer[:-1])
    assert len(answers[0]) < len(free[0])
    assert call(built, rows, stop=stop_at(tokenizer, [])) == free
    with pytest.raises(InputError, match="a stop string is empty"):
        stop_at(tokenizer, ["a", ""])


def test_a_stream_gives_each_token_when_it_is_drawn():
    built, rows = model(), prompts()
    steps = stream(built, rows, **CALL)
    first = next(steps)
    assert sorted(first) == list(range(len(rows)))
    answers = [[first[number]] for number in range(len(rows))]
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()  # between tokens the caller is free
    for step in steps:
        for number, token in step.items():
            answers[number].append(token)
    assert answers == call(built, rows)
