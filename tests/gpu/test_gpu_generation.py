"""On a GPU a model gives transformers' logits and writes what transformers writes."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from model.generation import generate, stream
from model.precision import autocast
from model.sampling import GREEDY, Sampling
from model.transformer import Transformer
from tests.on_gpu import DEVICE, SIZES, batch, needs_gpu

pytestmark = needs_gpu
NEW = 24


@pytest.fixture(scope="module")
def both() -> tuple[Transformer, LlamaForCausalLM]:
    """Ours, with weights large enough to be sure of its tokens, and transformers' of the same."""
    logging.set_verbosity_error()
    ours = Transformer(SIZES).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4)
    theirs = LlamaForCausalLM(LlamaConfig(**SIZES.to_dict())).eval()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    theirs.tie_weights()
    return ours.to(DEVICE), theirs.to(DEVICE)


@torch.no_grad()
def test_logits_are_those_of_transformers(both):
    ours, theirs = both
    ids = batch(0)["input_ids"].to(DEVICE)
    exact, expected = ours(ids), theirs(ids).logits
    scale = float(expected.abs().max())
    assert float((exact - expected).abs().max()) < 1e-4 * max(1.0, scale)
    with autocast("bf16", DEVICE):
        rounded, also = ours(ids).float(), theirs(ids).logits.float()
    ours_off, theirs_off = (float((logits - expected).square().mean().sqrt()) for logits in (rounded, also))
    assert 0 < ours_off < 1.5 * theirs_off, "rounding to bf16 costs no more than it costs them"


@torch.no_grad()
def test_documents_in_one_row_do_not_see_each_other(both):
    ours, _ = both
    ids = batch(1, rows=2)["input_ids"].to(DEVICE)
    segments = (torch.arange(ids.shape[1], device=DEVICE) >= 100).long().expand_as(ids)
    together = ours(ids, segment_ids=segments)
    apart = torch.cat((ours(ids[:, :100]), ours(ids[:, 100:])), dim=1)
    torch.testing.assert_close(together, apart, atol=1e-4 * max(1.0, float(apart.abs().max())), rtol=0)


@torch.no_grad()
def test_greedy_answers_are_those_of_transformers(both):
    ours, theirs = both
    ids = batch(2, rows=6)["input_ids"]
    prompts = [row[: 5 + 11 * number].tolist() for number, row in enumerate(ids)]
    written = generate(
        ours, prompts, max_new_tokens=NEW, sampling=GREEDY, eos_token_id=[], pad_token_id=3, seed=0, batch_size=4
    )
    theirs.generation_config.eos_token_id = None
    longest = max(map(len, prompts))
    padded = torch.tensor([[3] * (longest - len(prompt)) + prompt for prompt in prompts], device=DEVICE)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=DEVICE)
    expected = theirs.generate(padded, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=3)
    assert written == expected[:, longest:].tolist()


def test_what_is_streamed_is_what_is_generated(both):
    ours, _ = both
    prompts = [[5, 6, 7], [8], [5, 6, 7]]
    settings = {"max_new_tokens": NEW, "eos_token_id": [2], "pad_token_id": 3, "seed": 5}
    for sampling in (GREEDY, Sampling(temperature=0.8, top_p=0.9, repetition_penalty=1.2)):
        for precision in ("fp32", "bf16"):
            answers: list[list[int]] = [[], [], []]
            for step in stream(ours, prompts, sampling=sampling, precision=precision, **settings):
                for number, token in step.items():
                    answers[number].append(token)
            assert answers == generate(ours, prompts, sampling=sampling, precision=precision, **settings)
            assert all(0 < len(answer) <= NEW for answer in answers)
