"""Answers to many prompts at once, as they come (`stream`) or when they are complete (`generate`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from model.config import ModelConfig
from model.decoding import Decoder
from model.errors import InputError
from model.precision import Precision
from model.processor import has_kernels
from model.sampling import Chooser, Sampling
from model.tokenizer import Tokenizer
from model.transformer import Transformer

WORTH_COMPILING = 1 << 28  # parameters times tokens asked for; see `decoder_for`
COMPACT_BELOW = 0.75  # finished rows leave the batch when no more than this share of it still runs

T = TypeVar("T")
Stop = Callable[[Sequence[int]], bool]  # whether an answer, given by its tokens so far, is complete


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: Sampling | Sequence[Sampling],
    eos_token_id: int | Sequence[int],
    pad_token_id: int,
    seed: int | Sequence[int],
    stop: Stop | None = None,
    batch_size: int = 64,
    first: int = 0,
    precision: Precision = "fp32",
) -> list[list[int]]:
    """Continue each prompt; the new tokens only, in the order of the prompts, with the token that ended each answer.

    An answer ends at `max_new_tokens`, at `eos_token_id` (or any of several), or where `stop` says so.
    sampling: for all prompts, or one for each. seed: one for all, and prompt i draws by (seed, i); or one for each
    prompt, which then draws by its own alone. first: what i counts from, where the prompts are a part of a longer list.
    The draws depend on max_new_tokens too, but not on batch_size, nor on the other prompts. The logits do not either,
    but for rounding: of matrix products of other shapes, and of the way that is chosen (`decoder_for`).
    precision: of the matrix products (`model.precision`). In bf16 the model is another one by its rounding.

    Prompts of like length share a batch. Equal prompts of a batch are read once, and rows that end leave it.

    Raises `InputError` for settings out of bounds and for prompts that are empty or leave no room for the answer.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    for step in stream(
        model, prompts, max_new_tokens=max_new_tokens, sampling=sampling, eos_token_id=eos_token_id,
        pad_token_id=pad_token_id, seed=seed, stop=stop, batch_size=batch_size, first=first, precision=precision,
    ):  # fmt: skip
        for i, token in step.items():
            answers[i].append(token)
    return answers


@torch.inference_mode()
def stream(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: Sampling | Sequence[Sampling],
    eos_token_id: int | Sequence[int],
    pad_token_id: int,
    seed: int | Sequence[int],
    stop: Stop | None = None,
    batch_size: int = 64,
    first: int = 0,
    precision: Precision = "fp32",
) -> Iterator[dict[int, int]]:
    """What `generate` gives, as it comes: after each step the new tokens, by the number of their prompt."""
    _check(model.config, prompts, max_new_tokens, batch_size)
    samplings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else _each("sampling", sampling, prompts)
    uniforms = _uniforms(seed, prompts, max_new_tokens, first)
    ends = {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id)
    decoder = decoder_for(model, precision, len(prompts) * max_new_tokens)
    by_length = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i]))
    for start in range(0, len(prompts), batch_size):
        numbers = by_length[start : start + batch_size]
        batch = [prompts[i] for i in numbers]
        chooser = Chooser(batch, [samplings[i] for i in numbers], model.config.vocab_size, decoder.embedding.device)
        for step in _decode(decoder, batch, uniforms[numbers], chooser, ends, stop, pad_token_id):
            yield {numbers[row]: token for row, token in step.items()}


def decoder_for(model: Transformer, precision: Precision, num_tokens: int) -> Decoder:
    """What decodes so many tokens: machine code where that can be and is worth it, else the operations of torch.

    Both give the same logits but for rounding. Machine code takes half a second to load, and some seconds to compile
    where it has not been before. Whether it has been does not count, nor what was asked for earlier: the same call
    gives the same answers whatever came before it, which exact resume needs.
    """
    if num_tokens * model.config.num_parameters() < WORTH_COMPILING or not _is_compilable(model, precision):
        return Decoder(model, precision)
    from model.compiled_decoding import CompiledDecoder  # numba need not be installed

    return CompiledDecoder(model, precision)


def _is_compilable(model: Transformer, precision: Precision) -> bool:
    """Whether the compiled decoder was made for this processor and these sizes, and numba is installed."""
    config = model.config
    sizes = (config.hidden_size, config.intermediate_size, config.head_size)
    return (
        model.model.embed_tokens.weight.device.type == "cpu"
        and all(size % 16 == 0 for size in sizes)
        and has_kernels(precision)
    )


def _decode(
    decoder: Decoder,
    prompts: list[Sequence[int]],
    uniforms: Tensor,
    chooser: Chooser,
    ends: set[int],
    stop: Stop | None,
    pad_token_id: int,
) -> Iterator[dict[int, int]]:
    """One batch. uniforms: (B, max_new_tokens) in [0, 1), a draw for each token."""
    num_steps = uniforms.shape[1]
    uniforms = uniforms.to(decoder.embedding.device)
    logits = _read(decoder, prompts, pad_token_id, num_steps)
    rows = list(range(len(prompts)))  # which prompt each row of the batch continues
    answers: list[list[int]] = [[] for _ in prompts]
    running = set(rows)
    for step in range(num_steps):
        tokens = chooser.choose(logits, uniforms[:, step])
        new = {row: token for row, token in zip(rows, tokens.tolist(), strict=True) if row in running}
        for row, token in new.items():
            answers[row].append(token)
            if token in ends or (stop is not None and stop(answers[row])):
                running.discard(row)
        yield new
        if not running or step == num_steps - 1:
            return
        if len(running) <= COMPACT_BELOW * len(rows):
            kept = [place for place, row in enumerate(rows) if row in running]
            decoder.take(torch.tensor(kept, device=tokens.device))
            chooser.take(kept)
            rows, tokens, uniforms = [rows[place] for place in kept], tokens[kept], uniforms[kept]
        logits = decoder.step(tokens)


def _read(decoder: Decoder, prompts: list[Sequence[int]], pad_token_id: int, num_steps: int) -> Tensor:
    """Logits (B, V) after each prompt; equal prompts are read once."""
    device = decoder.embedding.device
    distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    input_ids, padding = left_pad(distinct, pad_token_id)
    logits = decoder.start(input_ids.to(device), padding.to(device), num_steps)
    if len(distinct) == len(prompts):
        return logits
    place = {prompt: row for row, prompt in enumerate(distinct)}
    source = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=device)
    decoder.take(source)
    return logits[source]


def left_pad(prompts: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Prompts as one block (B, T) that ends where they end, and the padding before each, (B,)."""
    longest = max(len(prompt) for prompt in prompts)
    block = [[pad_token_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    return torch.tensor(block), torch.tensor([longest - len(prompt) for prompt in prompts])


def stop_at(tokenizer: Tokenizer, strings: Sequence[str]) -> Stop:
    """Ends an answer as soon as its text, special tokens left out, holds one of `strings`.

    The token that completes the string is the last one; it may hold more text.
    """
    if not all(strings):
        raise InputError("a stop string is empty: every answer holds it, so leave it out.")
    longest = max((len(string.encode()) for string in strings), default=0)
    special = {number for number, token in tokenizer.backend.get_added_tokens_decoder().items() if token.special}

    def complete(answer: Sequence[int]) -> bool:
        # A token that is not special writes a byte or more, and earlier ends were looked at before.
        last = [token for token in answer if token not in special][-longest:]
        text = tokenizer.decode(last) if longest else ""
        return any(string in text for string in strings)

    return complete


def _check(config: ModelConfig, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int) -> None:
    if max_new_tokens < 1 or batch_size < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens} and batch_size {batch_size}: both must be at least 1.")
    for i, prompt in enumerate(prompts):
        if not prompt:
            raise InputError(f"prompt {i} is empty: give at least one token, such as the id of <|endoftext|>.")
        if len(prompt) + max_new_tokens > config.max_position_embeddings:
            raise InputError(
                f"prompt {i} has {len(prompt)} tokens, and {max_new_tokens} more exceed "
                f"max_position_embeddings {config.max_position_embeddings}: shorten it or ask for fewer."
            )


def _each(name: str, values: Sequence[T], prompts: Sequence[object]) -> list[T]:
    if len(values) != len(prompts):
        raise InputError(f"{name} has {len(values)} values for {len(prompts)} prompts: give one, or one for each.")
    return list(values)


def _uniforms(seed: int | Sequence[int], prompts: Sequence[Sequence[int]], max_new_tokens: int, first: int) -> Tensor:
    """(N, max_new_tokens) in [0, 1)."""
    if isinstance(seed, int):
        return torch.rand(first + len(prompts), max_new_tokens, generator=_generator(seed))[first:]
    own = _each("seed", seed, prompts)
    rows = [torch.rand(max_new_tokens, generator=_generator(one)) for one in own]
    return torch.stack(rows) if rows else torch.empty(0, max_new_tokens)


def _generator(seed: int) -> torch.Generator:
    if not -(2**63) <= seed < 2**64:
        raise InputError(f"the seed is {seed}: use a number of at most 64 bits.")
    return torch.Generator().manual_seed(seed)
