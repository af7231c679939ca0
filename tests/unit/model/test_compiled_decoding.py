"""The decoder that is machine code, held against that of torch's operations and against the model's forward pass."""

import pytest
import torch
from numba import njit

from model import compiled_kernels as kernels
from model import generation, machine_code
from model.config import ModelConfig
from model.decoding import Decoder
from model.generation import decoder_for, generate
from model.sampling import GREEDY, Sampling
from model.transformer import Transformer
from tests.kernels import PRECISIONS, needs_bf16, needs_kernels, torch_threads

pytestmark = needs_kernels
V = 70  # not a whole number of vectors
VARIANTS = {
    "llama": {},
    "one group": {"num_key_value_heads": 1},
    "no groups": {"num_key_value_heads": 8},
    "three heads a group": {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16},
    "qwen2, tied": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "head_dim": 48},
    "mistral, window": {"model_type": "mistral", "sliding_window": 20},
    "biases": {"attention_bias": True},
}  # fmt: skip


def model(**change) -> Transformer:
    """A random model of which every weight matters."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2, **change}
    config = ModelConfig(V, 128, 96, max_position_embeddings=96, initializer_range=0.1, **sizes)
    built = Transformer(config, generator=torch.Generator().manual_seed(0)).eval()
    for parameter in built.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5, generator=torch.Generator().manual_seed(1))
    return built


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(4, V, shape, generator=torch.Generator().manual_seed(seed))


def logits(decoder: Decoder, threads: int = 1) -> torch.Tensor:
    """Of 45 steps after padded prompts of 21, with rows dropped, repeated and moved on the way: (4, 46, V)."""
    kept = torch.tensor([1, 4, 1, 0])
    with torch_threads(threads), torch.inference_mode():
        found = [decoder.start(tokens(5, 21), torch.tensor([0, 3, 20, 7, 0]), 45)]
        for number in range(45):
            if number == 12:
                decoder.take(kept)
                found = [given[kept] for given in found]
            chosen = tokens(5, seed=1 + number)
            found.append(decoder.step(chosen[kept] if number >= 12 else chosen))
    return torch.stack(found, dim=1)


def compiled(built: Transformer, precision: str = "fp32") -> Decoder:
    """As it is chosen where much is asked for."""
    found = decoder_for(built, precision, 1 << 31)
    assert type(found) is not Decoder
    return found


@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS.keys())
def test_fp32_logits_are_those_of_torchs_operations(change):
    built = model(**change)
    torch.testing.assert_close(logits(compiled(built)), logits(Decoder(built)), atol=2e-5, rtol=1e-4)


@needs_bf16
@pytest.mark.parametrize("change", VARIANTS.values(), ids=VARIANTS.keys())
def test_bf16_logits_are_no_further_from_exact_ones_than_those_of_torchs_operations(change):
    built = model(**change)
    exact = logits(Decoder(built))
    found, usual = ((logits(kind) - exact).norm() for kind in (compiled(built, "bf16"), Decoder(built, "bf16")))
    assert 1e-3 * exact.norm() < found < 1.1 * usual


@pytest.mark.parametrize("precision", PRECISIONS)
def test_logits_depend_neither_on_the_number_of_threads_nor_on_the_other_rows(precision, monkeypatch):
    built = model()
    whole = logits(compiled(built, precision))
    assert torch.equal(logits(compiled(built, precision), threads=2), whole)
    with monkeypatch.context() as patch:
        patch.setattr(machine_code, "openmp", lambda: None)  # as where torch has another library of threads
        assert torch.equal(logits(compiled(built, precision), threads=2), whole)
    prompts, padding = tokens(37, 21), torch.zeros(37, dtype=torch.int64)
    with torch.inference_mode():
        many = compiled(built, precision)
        many.start(prompts, padding, 8)
        steps = [many.step(tokens(37, seed=number)) for number in range(8)]
        for rows in (1, 3, 18):
            few = compiled(built, precision)
            few.start(prompts[:rows], padding[:rows], 8)
            for number, expected in enumerate(steps):
                assert torch.equal(few.step(tokens(37, seed=number)[:rows]), expected[:rows])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_heads_may_be_wider_than_the_cache_is_long(precision):
    built = model(num_attention_heads=2, head_dim=64)
    with torch.inference_mode():
        found, expected = compiled(built, precision), Decoder(built, precision)
        for decoder in (found, expected):
            decoder.start(tokens(2, 1), torch.tensor([0, 0]), 9)
        for number in range(8):
            chosen = tokens(2, seed=number)
            close = {"atol": 2e-5, "rtol": 1e-4} if precision == "fp32" else {"atol": 0.05, "rtol": 0.02}
            torch.testing.assert_close(found.step(chosen), expected.step(chosen), **close)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_not_a_number_stays_so_in_its_row(precision):
    built = model(tie_word_embeddings=False)
    with torch.no_grad():
        built.model.embed_tokens.weight[5] = torch.nan
        built.model.embed_tokens.weight[6] *= 1e6
    with torch.inference_mode():
        decoder = compiled(built, precision)
        decoder.start(tokens(3, 7) % 60 + 10, torch.zeros(3, dtype=torch.int64), 4)
        found = decoder.step(torch.tensor([5, 6, 7]))
        assert found[0].isnan().all() and found[1:].isfinite().all()
        again = decoder.step(torch.tensor([8, 8, 8]))
        assert again[0].isnan().all() and again[1:].isfinite().all()


def answers(built: Transformer, sampling: Sampling) -> list[list[int]]:
    prompts = [row.tolist() for row in tokens(9, 12)] + [[5], [6, 7, 8]]
    return generate(
        built, prompts, max_new_tokens=40, sampling=sampling, eos_token_id=[4], pad_token_id=3, seed=0, batch_size=8
    )  # fmt: skip


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(0.9)])
def test_answers_are_those_of_torchs_operations(monkeypatch, sampling):
    built = model()
    expected = answers(built, sampling)
    monkeypatch.setattr(generation, "WORTH_COMPILING", 0)
    assert answers(built, sampling) == expected
    assert len({len(answer) for answer in expected}) > 2


def test_the_way_is_chosen_by_what_is_asked_for_and_by_the_sizes(monkeypatch):
    built = model()
    enough = -(-generation.WORTH_COMPILING // built.config.num_parameters())
    assert type(decoder_for(built, "fp32", enough - 1)) is Decoder
    assert type(decoder_for(built, "fp32", enough)) is not Decoder
    assert type(decoder_for(model(head_dim=24), "fp32", 1 << 40)) is Decoder
    monkeypatch.setattr(generation, "has_kernels", lambda format: False)
    assert type(decoder_for(built, "fp32", enough)) is Decoder


def test_compiling_is_told_and_loading_is_not(caplog):
    caplog.set_level("INFO", "model")
    written = {"inner": njit(lambda: None)}
    exec("def outer(plan):\n    inner()", written)  # in no file, so that numba cannot keep it
    machine_code._tell.cache_clear()
    machine_code.machine_code(written["outer"])
    assert caplog.text.count("compiling for this processor") == 1
    machine_code.machine_code(kernels.product_fp32)
    machine_code._tell.cache_clear()
    caplog.clear()
    machine_code.machine_code.__wrapped__(kernels.product_fp32)
    assert not caplog.text
