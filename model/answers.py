"""Answers as text and as tokens: one way for rating, for training the reward model and for scoring in PPO."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.chat import render_prompt
from model.precision import Precision, autocast
from model.scalar import ScalarModel
from model.tokenizer import Tokenizer


def answer_text(tokenizer: Tokenizer, response: Sequence[int]) -> str:
    """What a person would read of generated ids: no special tokens, no surrounding white space."""
    return tokenizer.decode(response).strip()


def is_finished(tokenizer: Tokenizer, response: Sequence[int]) -> bool:
    """Whether generated ids end the turn by themselves, and were not cut off at the length limit."""
    return bool(response) and response[-1] == tokenizer.im_end_id


def encode_answer(tokenizer: Tokenizer, prompt: str, answer: str, *, finished: bool, max_tokens: int) -> list[int]:
    """Ids the reward model reads: prompt, answer, and `<|im_end|>` if it is finished; the answer is cut to fit
    `max_tokens`.

    Always from the text, so that the reward depends on what is read and not on how it was split into tokens."""
    prompt_ids = render_prompt(tokenizer, prompt)
    body = tokenizer.encode(answer.strip())
    room = max_tokens - len(prompt_ids) - 1
    if room < 0:
        raise ValueError(
            f"the prompt has {len(prompt_ids)} tokens and leaves no room for an answer within {max_tokens}; "
            "leave such prompts out"
        )
    cut = len(body) > room
    return [*prompt_ids, *body[:room], *([tokenizer.im_end_id] if finished and not cut else [])]


def pad_rows(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """(input_ids (B, T), lengths (B,)) of rows of ids, padded on the right."""
    lengths = torch.tensor([len(row) for row in rows])
    input_ids = torch.full((len(rows), int(lengths.max())), pad_token_id, dtype=torch.long)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.tensor(list(row))
    return input_ids, lengths


def last_states(model: ScalarModel, input_ids: Tensor, lengths: Tensor) -> Tensor:
    """Hidden states (B, D) at the last real token of rows padded on the right.

    Equal to the states under an attention mask, and faster: causal attention never looks right, where padding is."""
    hidden = model.model(input_ids)  # (B, T, D)
    return hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1]


def scores_at_end(model: ScalarModel, input_ids: Tensor, lengths: Tensor) -> Tensor:
    """Scores (B,), fp32, of rows padded on the right."""
    return model.head(last_states(model, input_ids, lengths)).squeeze(-1).float()


@torch.no_grad()
def score_answers(
    model: ScalarModel,
    rows: Sequence[Sequence[int]],
    *,
    pad_token_id: int,
    batch_size: int = 64,
    precision: Precision = "fp32",
) -> Tensor:
    """Scores (N,), on the CPU, of rows of ids as `encode_answer` makes them. Rows of like length share a batch."""
    return _in_batches(model, rows, pad_token_id, batch_size, precision, head=True)


@torch.no_grad()
def answer_states(
    model: ScalarModel,
    rows: Sequence[Sequence[int]],
    *,
    pad_token_id: int,
    batch_size: int = 64,
    precision: Precision = "fp32",
) -> Tensor:
    """Hidden states (N, D), on the CPU, from which `score_answers` computes its scores."""
    return _in_batches(model, rows, pad_token_id, batch_size, precision, head=False)


def _in_batches(
    model: ScalarModel,
    rows: Sequence[Sequence[int]],
    pad_token_id: int,
    batch_size: int,
    precision: Precision,
    *,
    head: bool,
) -> Tensor:
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda index: (len(rows[index]), index))
    parts = []
    for start in range(0, len(order), batch_size):
        input_ids, lengths = pad_rows([rows[index] for index in order[start : start + batch_size]], pad_token_id)
        with autocast(precision, device):
            compute = scores_at_end if head else last_states
            parts.append(compute(model, input_ids.to(device), lengths.to(device)).float().cpu())
    in_order = torch.cat(parts)
    result = torch.empty_like(in_order)
    result[torch.tensor(order)] = in_order
    return result
