import pytest
import torch

from model.config import ModelConfig
from model.rollout import collate, log_distribution, of_tokens, on_response_axis, state_values
from model.scalar import ScalarModel
from model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=17, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=32,
)  # fmt: skip
PROMPTS = [[4, 5, 6], [7], [8, 9]]
RESPONSES = [[10, 2], [11, 12, 13, 14], [2]]


def rollout():
    return collate(PROMPTS, RESPONSES, eos_token_id=2, pad_token_id=3)


def test_layout_by_hand():
    batch = rollout()
    assert batch.input_ids.tolist() == [[4, 5, 6, 10, 2], [7, 11, 12, 13, 14], [8, 9, 2, 3, 3]]
    assert batch.attention_mask.sum(1).tolist() == [5, 5, 3]
    # the token at place p is chosen in the state at p − 1
    assert batch.positions.tolist() == [[2, 3, 0, 0], [0, 1, 2, 3], [1, 0, 0, 0]]
    assert batch.mask.sum(1).tolist() == [2, 4, 1]
    assert batch.finished.tolist() == [True, False, True]


def test_logprobs_are_those_of_each_row_alone_through_the_whole_model():
    model = Transformer(CONFIG)
    batch = rollout()
    with torch.no_grad():
        logprobs = on_response_axis(of_tokens(log_distribution(model, batch), batch), batch.mask)
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            alone = torch.log_softmax(model(torch.tensor([prompt + response]))[0], dim=-1)
            for j, token in enumerate(response):
                expected = alone[len(prompt) - 1 + j, token].item()
                assert logprobs[row, j].item() == pytest.approx(expected, abs=1e-5)
    assert (logprobs[~batch.mask] == 0).all()


def test_temperature_divides_the_logits():
    model = Transformer(CONFIG)
    with torch.no_grad():
        plain, cold = log_distribution(model, rollout()), log_distribution(model, rollout(), temperature=0.5)
    torch.testing.assert_close(torch.log_softmax(2 * plain, dim=-1), cold)


def test_values_are_read_in_the_state_before_the_token():
    model = ScalarModel(CONFIG)
    batch = rollout()
    with torch.no_grad():
        values = state_values(model, batch)
        alone = model(torch.tensor([PROMPTS[0] + RESPONSES[0]]))[0]
    torch.testing.assert_close(values[0], torch.tensor([alone[2], alone[3], 0.0, 0.0]))


def test_rows_are_trimmed_to_the_longest_and_change_no_number():
    model = Transformer(CONFIG)
    batch = rollout()
    part = batch.rows(torch.tensor([2, 0]))
    assert part.input_ids.shape == (2, 5) and part.mask.shape == (2, 2)
    assert batch.rows(torch.tensor([2])).input_ids.tolist() == [[8, 9, 2]]
    with torch.no_grad():
        whole = on_response_axis(of_tokens(log_distribution(model, batch), batch), batch.mask)
        some = on_response_axis(of_tokens(log_distribution(model, part), part), part.mask)
    torch.testing.assert_close(some, whole[[2, 0], :2])


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="no empty prompt"):
        collate([[]], [[1]], eos_token_id=2, pad_token_id=3)
