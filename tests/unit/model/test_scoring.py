import numpy as np
import pytest
import torch

from model.chat import encode_pair
from model.config import ModelConfig
from model.errors import InputError, NotFinite
from model.questions import Choice, Question, Rows
from model.scoring import answer, choice_examples, choose, joined, matches
from model.tokenizer import train_tokenizer
from model.transformer import Transformer

TOKENIZER = train_tokenizer(["the cat sat on the mat and the dog sat on the log"] * 3, 300)
TEXTS = ("cat", "the dog sat", "on", "mat and log", "sat on the mat")


def model(seed: int = 0) -> Transformer:
    config = ModelConfig(
        vocab_size=TOKENIZER.vocab_size, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=40, initializer_range=0.3,
    )  # fmt: skip
    return Transformer(config, generator=torch.Generator().manual_seed(seed)).requires_grad_(False)


def rows(*content) -> Rows:
    return Rows(list(content), list(range(1, len(content) + 1)))


def log_likelihood(built: Transformer, prompt: str, following: str) -> float:
    """Token by token, straight from the definition."""
    ids = [TOKENIZER.endoftext_id, *TOKENIZER.encode(prompt)]
    total = 0.0
    for token in TOKENIZER.encode(following):
        total += float(built(torch.tensor([ids]))[0, -1].log_softmax(-1)[token])
        ids.append(token)
    return total


def test_the_likeliest_choice_is_chosen():
    built = model()
    asked = [Choice(prompt, TEXTS[start : start + 3], 0) for prompt in ("the", "", "dog ") for start in range(3)]
    best, best_normalised = [], []
    for row in asked:
        sums = [log_likelihood(built, row.prompt, joined(row.prompt, choice)) for choice in row.choices]
        best.append(int(np.argmax(sums)))
        best_normalised.append(int(np.argmax([s / len(c) for s, c in zip(sums, row.choices, strict=True)])))
    assert len(set(best)) > 1 and best != best_normalised
    for number in range(3):
        right, normalised = choose(built, TOKENIZER, rows(*(Choice(r.prompt, r.choices, number) for r in asked)))
        assert right.tolist() == [float(one == number) for one in best]
        assert normalised.tolist() == [float(one == number) for one in best_normalised]


def test_a_choice_follows_its_prompt_after_one_space():
    assert (joined("a", "b"), joined("a ", "b"), joined("a", "\nb"), joined("", "b")) == (" b", "b", "\nb", "b")


def test_in_chat_a_choice_is_what_the_assistant_says():
    examples = choice_examples(TOKENIZER, Choice("the cat?", ("dog", "mat"), 0), chat=True)
    for example, choice in zip(examples, ("dog", "mat"), strict=True):
        whole, learnt = encode_pair(TOKENIZER, "the cat?", choice)
        assert whole[: len(example.ids)] == example.ids  # <|im_end|> and a newline follow
        assert learnt[: len(example.ids)] == example.loss_mask
        assert TOKENIZER.decode([i for i, own in zip(example.ids, example.loss_mask, strict=True) if own]) == choice


def test_what_the_model_cannot_read_at_once_is_left_out():
    found = rows(Choice("the", ("cat", "dog"), 0), Choice("the " * 60, ("cat", "dog"), 0))
    assert len(choose(model(), TOKENIZER, found)[0]) == 1 == len(found.rows)
    assert found.left_out.total() == 1 and found.first == {"it has more tokens than the model reads at once": 2}
    asked = rows(Question("the", ("cat",)), Question("the " * 30, ("cat",)))
    assert len(answer(model(), TOKENIZER, asked, max_new_tokens=20)) == 1 == len(asked.rows)
    with pytest.raises(InputError, match="no row can be used: 2 × it has more tokens"):
        answer(model(), TOKENIZER, asked, max_new_tokens=39)


def test_a_model_that_computes_no_numbers_is_not_measured():
    built = model()
    built.model.norm.weight[3] = float("nan")
    with pytest.raises(NotFinite):
        choose(built, TOKENIZER, rows(Choice("the", ("cat", "dog"), 0)))
    with pytest.raises(NotFinite):
        answer(built, TOKENIZER, rows(Question("the", ("cat",))), max_new_tokens=4)


def test_an_answer_is_the_greedy_text_up_to_a_stop_string():
    built = model()
    asked = [Question(prompt, ("x",)) for prompt in ("the", "dog", "a mat")]
    free = answer(built, TOKENIZER, rows(*asked), max_new_tokens=16)
    for row, text in zip(asked, free, strict=True):
        ids = [TOKENIZER.endoftext_id, *TOKENIZER.encode(row.prompt)]
        start = len(ids)
        while len(ids) < start + 16 and ids[-1] not in (TOKENIZER.endoftext_id, TOKENIZER.im_end_id):
            ids.append(int(built(torch.tensor([ids]))[0, -1].argmax()))
        assert text == TOKENIZER.decode(ids[start:]).strip()
    mark = next(character for character in free[0][2:] if character.isascii() and character.isalnum())
    cut = answer(built, TOKENIZER, rows(*asked), max_new_tokens=16, stop=[mark, "never written"])
    assert cut == [text.split(mark)[0].strip() for text in free] and cut != free


def test_matches_are_of_the_whole_text_or_within_it():
    asked = [Question("", ("Paris",)), Question("", ("Austen", "Jane Austen")), Question("", ("4",))]
    exact, contains = matches(asked, ["Paris", "It was Austen.", "5"])
    assert exact.tolist() == [1, 0, 0] and contains.tolist() == [1, 1, 0]
