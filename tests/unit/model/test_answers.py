import pytest
import torch

from model.answers import EncodedAnswer, answer_states, answer_text, encode_answer, is_finished, score_answers
from model.chat import encode_pair, render_prompt
from model.config import ModelConfig
from model.scalar import ScalarModel
from model.tokenizer import Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["What does it do? It returns a path."] * 3, 300)


def test_an_answer_is_encoded_as_fine_tuning_encodes_it(tokenizer: Tokenizer):
    ids, start = encode_answer(tokenizer, "What?", " A path. ", finished=True, max_tokens=100)
    pair, mask = encode_pair(tokenizer, "What?", "A path.")
    assert ids == pair[: len(mask) - mask[::-1].index(True)] and ids[-1] == tokenizer.im_end_id
    assert encode_answer(tokenizer, "What?", "A path.", finished=False, max_tokens=100) == (ids[:-1], start)
    assert start == mask.index(True)


def test_an_answer_that_does_not_fit_is_cut_and_not_finished(tokenizer: Tokenizer):
    prompt = render_prompt(tokenizer, "What?")
    ids, _ = encode_answer(tokenizer, "What?", "path " * 50, finished=True, max_tokens=len(prompt) + 5)
    assert len(ids) == len(prompt) + 4 and ids[-1] != tokenizer.im_end_id
    with pytest.raises(ValueError, match="leaves no room"):
        encode_answer(tokenizer, "What?", "path", finished=True, max_tokens=len(prompt))


def test_text_and_ending_of_generated_ids(tokenizer: Tokenizer):
    ids = [*tokenizer.encode(" A path."), tokenizer.im_end_id]
    assert answer_text(tokenizer, ids) == "A path." and is_finished(tokenizer, ids)
    assert not is_finished(tokenizer, ids[:-1]) and not is_finished(tokenizer, [])


def test_a_score_is_read_half_from_the_last_token_and_half_from_all_of_the_answer():
    config = ModelConfig(vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                         num_attention_heads=2, max_position_embeddings=16)  # fmt: skip
    model = ScalarModel(config)
    rows = [
        EncodedAnswer([5, 6, 7, 8, 9], 2),
        EncodedAnswer([5], 1),  # an empty answer: the state before it
        EncodedAnswer([9, 8, 7], 2),
        EncodedAnswer([6, 6, 6, 6], 1),
    ]
    scores = score_answers(model, rows, pad_token_id=3, batch_size=2)
    for row, score in zip(rows, scores, strict=True):
        with torch.no_grad():
            numbers = model(torch.tensor([row.ids]))[0]
        mean = numbers[min(row.start, len(row.ids) - 1) :].mean()
        torch.testing.assert_close(score, (mean + numbers[-1]) / 2)
    states = answer_states(model, rows, pad_token_id=3, batch_size=3)
    torch.testing.assert_close((states @ model.head.weight.T).squeeze(1), scores)
