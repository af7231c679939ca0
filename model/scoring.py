"""How well a model answers questions: the likelihood it gives to each choice, and what it writes when asked.

A prompt is read as in training: as the beginning of a document, after <|endoftext|> or what the model has instead, or
with `chat` as a user's turn. `boundaries`: of the model's folder; None: those of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model.boundaries import Boundaries, tokenizer_boundaries
from model.chat import render_prompt
from model.data import Example
from model.errors import NotFinite
from model.evaluation import Floats, example_losses
from model.generation import generate, stop_at
from model.precision import Precision
from model.questions import Choice, Question, Rows
from model.sampling import GREEDY
from model.tokenizer import Tokenizer
from model.transformer import Transformer

TOO_LONG = "it has more tokens than the model reads at once"


def prompt_ids(tokenizer: Tokenizer, prompt: str, chat: bool, boundaries: Boundaries | None = None) -> list[int]:
    """The tokens that a prompt is read as."""
    if chat:
        return render_prompt(tokenizer, prompt)
    start = (boundaries or tokenizer_boundaries(tokenizer)).start
    return [*([] if start is None else [start]), *tokenizer.encode(prompt)]


def stop_ids(tokenizer: Tokenizer, chat: bool, boundaries: Boundaries | None = None) -> list[int]:
    """The tokens that end an answer."""
    found = (boundaries or tokenizer_boundaries(tokenizer)).stops
    return list(dict.fromkeys([*found, *([tokenizer.im_end_id] if chat else [])]))


def joined(prompt: str, choice: str) -> str:
    """A choice as it follows its prompt in a document: after a space, unless there is white space or no prompt."""
    return choice if not prompt or prompt[-1].isspace() or choice[0].isspace() else f" {choice}"


def choice_examples(
    tokenizer: Tokenizer, row: Choice, chat: bool, boundaries: Boundaries | None = None
) -> list[Example]:
    """For each choice the prompt and the choice, with the mask on the tokens of the choice."""
    prompt = prompt_ids(tokenizer, row.prompt, chat, boundaries)
    bodies = [tokenizer.encode(choice if chat else joined(row.prompt, choice)) for choice in row.choices]
    return [Example(prompt + body, [False] * len(prompt) + [True] * len(body)) for body in bodies]


def choose(
    model: Transformer,
    tokenizer: Tokenizer,
    rows: Rows[Choice],
    *,
    chat: bool = False,
    boundaries: Boundaries | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
) -> tuple[Floats, Floats]:
    """1 where the likeliest choice is the right one, else 0, for each row: (N,); and the same by the log-likelihood
    for each character, so that short choices are not favoured. Of equally likely choices the first counts as chosen.

    These are `acc` and `acc_norm` of the lm-evaluation-harness (Gao et al. 2021). Rows that the model cannot read at
    once are left out of `rows` and counted there. Raises `NotFinite`.
    """
    examples = [choice_examples(tokenizer, row, chat, boundaries) for row in rows.rows]
    fits = [max(len(one.ids) for one in each) <= model.config.max_position_embeddings for each in examples]
    rows.keep(fits, TOO_LONG)
    flat = [example for each, fit in zip(examples, fits, strict=True) if fit for example in each]
    losses, _ = example_losses(model, flat, device=device, precision=precision)
    if not np.isfinite(losses).all():
        raise NotFinite
    ends = np.cumsum([len(row.choices) for row in rows.rows])
    right, right_normalised = [], []
    for row, own in zip(rows.rows, np.split(-losses, ends[:-1]), strict=True):
        right.append(own.argmax() == row.answer)
        right_normalised.append((own / [len(choice) for choice in row.choices]).argmax() == row.answer)
    return np.array(right, dtype=np.float64), np.array(right_normalised, dtype=np.float64)


def answer(
    model: Transformer,
    tokenizer: Tokenizer,
    rows: Rows[Question],
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    chat: bool = False,
    boundaries: Boundaries | None = None,
    precision: Precision = "fp32",
) -> list[str]:
    """What the model writes after each prompt, without surrounding white space: always the likeliest token, up to the
    end of the turn or document, or to the first of the strings `stop`, which is not part of the answer.

    Rows whose prompt leaves no room for `max_new_tokens` are left out of `rows` and counted there. Raises `NotFinite`.
    """
    boundaries = boundaries or tokenizer_boundaries(tokenizer)
    prompts = [prompt_ids(tokenizer, row.prompt, chat, boundaries) for row in rows.rows]
    fits = [len(prompt) + max_new_tokens <= model.config.max_position_embeddings for prompt in prompts]
    rows.keep(fits, TOO_LONG)
    written = generate(
        model,
        [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit],
        max_new_tokens=max_new_tokens,
        sampling=GREEDY,
        eos_token_id=stop_ids(tokenizer, chat, boundaries),
        pad_token_id=boundaries.pad,
        seed=0,
        stop=stop_at(tokenizer, stop),
        precision=precision,
    )
    return [_until(tokenizer.decode(ids), stop).strip() for ids in written]


def _until(text: str, stop: Sequence[str]) -> str:
    places = [text.find(string) for string in stop]
    return text[: min((place for place in places if place >= 0), default=len(text))]


def matches(rows: Sequence[Question], written: Sequence[str]) -> tuple[Floats, Floats]:
    """1 where a text equals one of the right answers, else 0, for each row: (N,); and 1 where it contains one."""
    pairs = list(zip(rows, written, strict=True))
    exact = [text in row.answers for row, text in pairs]
    contains = [any(right in text for right in row.answers) for row, text in pairs]
    return np.array(exact, dtype=np.float64), np.array(contains, dtype=np.float64)
