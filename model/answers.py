"""Answers as text and as tokens: one way for rating, for training the reward model and for scoring in PPO."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.chat import render_prompt
from model.precision import Precision, autocast
from model.scalar import ScalarModel
from model.tokenizer import Tokenizer


class EncodedAnswer(NamedTuple):
    """A prompt and its answer as the reward model reads them: the answer's tokens are ids[start:]."""

    ids: list[int]
    start: int


def answer_text(tokenizer: Tokenizer, response: Sequence[int]) -> str:
    """What a person would read of generated ids: no special tokens, no surrounding white space."""
    return tokenizer.decode(response).strip()


def is_finished(tokenizer: Tokenizer, response: Sequence[int]) -> bool:
    """Whether generated ids end the turn by themselves, and were not cut off at the length limit."""
    return bool(response) and response[-1] == tokenizer.im_end_id


def encode_answer(tokenizer: Tokenizer, prompt: str, answer: str, *, finished: bool, max_tokens: int) -> EncodedAnswer:
    """What the reward model reads: prompt, answer, and `<|im_end|>` if it is finished; the answer is cut to fit
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
    ids = [*prompt_ids, *body[:room], *([tokenizer.im_end_id] if finished and not cut else [])]
    return EncodedAnswer(ids, len(prompt_ids))


def pad_rows(rows: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """(input_ids (B, T), lengths (B,)) of rows of ids, padded on the right."""
    lengths = torch.tensor([len(row) for row in rows])
    input_ids = torch.full((len(rows), int(lengths.max())), pad_token_id, dtype=torch.long)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.tensor(list(row))
    return input_ids, lengths


def pad_answers(rows: Sequence[EncodedAnswer], pad_token_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """(input_ids (B, T), starts (B,), lengths (B,)) of answers, padded on the right."""
    input_ids, lengths = pad_rows([row.ids for row in rows], pad_token_id)
    return input_ids, torch.tensor([row.start for row in rows]), lengths


def read_states(model: ScalarModel, input_ids: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """What the head reads of each answer, (B, D), of rows padded on the right: half the hidden state at its last token,
    half the mean over its tokens. An empty answer is read at the token before it.

    Equal to the states under an attention mask, and faster: causal attention never looks right, where padding is."""
    hidden = model.model(input_ids)  # (B, T, D)
    place = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = lengths[:, None] - 1
    inside = (place >= torch.minimum(starts[:, None], last)) & (place <= last)  # (B, T)
    weight = (inside / inside.sum(dim=1, keepdim=True) + (place == last)) / 2
    return torch.einsum("bt,btd->bd", weight.to(hidden.dtype), hidden)


def answer_scores(model: ScalarModel, input_ids: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Scores (B,), fp32, of answers padded on the right.

    Usual is to read the last token alone (Ouyang et al. 2022). A model this small learns faster when nothing has to be
    gathered at one place first: after 150 steps on the default rankings the mean had 0.80 of model–model and 0.64 of
    human–model pairs right, the last token 0.72 and 0.53."""
    return model.head(read_states(model, input_ids, starts, lengths)).squeeze(-1).float()


@torch.no_grad()
def score_answers(
    model: ScalarModel,
    rows: Sequence[EncodedAnswer],
    *,
    pad_token_id: int,
    batch_size: int = 64,
    precision: Precision = "fp32",
) -> Tensor:
    """Scores (N,), on the CPU, of answers as `encode_answer` makes them. Rows of like length share a batch."""
    return _in_batches(model, rows, pad_token_id, batch_size, precision, head=True)


@torch.no_grad()
def answer_states(
    model: ScalarModel,
    rows: Sequence[EncodedAnswer],
    *,
    pad_token_id: int,
    batch_size: int = 64,
    precision: Precision = "fp32",
) -> Tensor:
    """Hidden states (N, D), on the CPU, from which `score_answers` computes its scores."""
    return _in_batches(model, rows, pad_token_id, batch_size, precision, head=False)


def _in_batches(
    model: ScalarModel,
    rows: Sequence[EncodedAnswer],
    pad_token_id: int,
    batch_size: int,
    precision: Precision,
    *,
    head: bool,
) -> Tensor:
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda index: (len(rows[index].ids), index))
    parts = []
    for start in range(0, len(order), batch_size):
        batch = pad_answers([rows[index] for index in order[start : start + batch_size]], pad_token_id)
        with autocast(precision, device):
            compute = answer_scores if head else read_states
            parts.append(compute(model, *(tensor.to(device) for tensor in batch)).float().cpu())
    in_order = torch.cat(parts)
    result = torch.empty_like(in_order)
    result[torch.tensor(order)] = in_order
    return result
