"""`generate`: goes on writing from a prompt, and shows the text as it comes; or answers many prompts in their order."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from model.boundaries import read_boundaries
from model.command.chat import check_chat
from model.command.device import given_device
from model.command.folder import finished_model
from model.command.prompts import given_prompts
from model.command.questions import without_effect
from model.command.step_documents import printable
from model.errors import InputError
from model.export import load_causal
from model.generation import generate, stop_at, stream
from model.precision import resolve_precision, use_threads
from model.sampling import Sampling
from model.scoring import prompt_ids, stop_ids
from model.tokenizer import Tokenizer

DEFAULT_TOKENS = 200
AT_ONCE = 64  # prompts that are answered before any of them is shown
CUT = "\ufffd"  # the last bytes may be the beginning of a character


class Asked(NamedTuple):
    """A prompt, the seed of its draws, its tokens, and how many new ones are wanted."""

    prompt: str
    seed: int
    ids: list[int]
    new_tokens: int


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Generates. Of one prompt: the prompt, its seed, the text, its number of tokens, and whether it came to an end of
    its own. Of several the same is told here, with --json an object a line, and nothing is returned."""
    if options.greedy:
        without_effect(options, "top_k", "top_p", "seed")
    use_threads(options.threads)
    device = given_device(options.device)
    model, tokenizer = load_causal(finished_model(options.model), device=device)
    if options.chat:
        check_chat(options.model, tokenizer)
    boundaries = read_boundaries(options.model, tokenizer)
    prompts = given_prompts(options)
    asked = []
    for number, (prompt, seed) in enumerate(prompts, start=1):
        ids = prompt_ids(tokenizer, prompt, options.chat, boundaries)
        which = "the prompt" if len(prompts) == 1 else f"prompt {number}"
        new_tokens = _new_tokens(which, len(ids), model.config.max_position_embeddings, options.max_new_tokens)
        asked.append(Asked(prompt, seed, ids, new_tokens))
    ends, stop = stop_ids(tokenizer, options.chat, boundaries), stop_at(tokenizer, options.stop)
    settings: dict[str, Any] = {
        "sampling": Sampling(
            0.0 if options.greedy else options.temperature, options.top_k, options.top_p, options.repetition_penalty
        ),
        "eos_token_id": ends,
        "pad_token_id": boundaries.pad,
        "stop": stop,
        "precision": resolve_precision(options.precision, device),
    }

    def told(one: Asked, tokens: list[int], text: str) -> dict[str, Any]:
        ended = bool(tokens) and (tokens[-1] in ends or stop(tokens))
        return {
            "prompt": one.prompt,
            "seed": one.seed,
            "text": text,
            "tokens": len(tokens),
            "ended": ended,
        }

    after_prompt = "\n" if options.chat else ""
    if len(asked) == 1:
        (one,) = asked
        steps = stream(model, [one.ids], max_new_tokens=one.new_tokens, seed=[one.seed], **settings)
        tokens: list[int] = []
        pieces: list[str] = []
        if not options.json:
            _show(one.prompt + after_prompt)
        for piece in pieces_of((step[0] for step in steps), tokenizer, tokens, one.ids):
            pieces.append(piece)
            if not options.json:
                _show(piece)
        if not options.json:
            _show("\n")
        return told(one, tokens, "".join(pieces))
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        written: dict[int, list[int]] = {}
        for new_tokens in sorted({one.new_tokens for one in some}):  # which the draws depend on
            rows = [row for row, one in enumerate(some) if one.new_tokens == new_tokens]
            seeds = [some[row].seed for row in rows]
            answers = generate(
                model, [some[row].ids for row in rows], max_new_tokens=new_tokens, seed=seeds, **settings
            )
            written |= dict(zip(rows, answers, strict=True))
        for row, one in enumerate(some):
            text = text_after(one.ids, written[row], tokenizer)
            if options.json:
                print(json.dumps(told(one, written[row], text)), flush=True)
            else:
                _show(("\n" if start or row else "") + one.prompt + after_prompt + text + "\n")
    return {}


def _new_tokens(which: str, length: int, most: int, asked: int | None) -> int:
    """How many new tokens are wanted after a prompt of `length` tokens. Raises InputError where they have no room."""
    room = most - length
    wanted = min(DEFAULT_TOKENS, room) if asked is None else asked
    if room < 1 or wanted > room:
        fewer = f", or ask for {room} new tokens at most" if room >= 1 else ""
        raise InputError(f"{which} has {length} tokens, and the model reads {most} at once: shorten the prompt{fewer}.")
    return wanted


def text_after(prompt: Sequence[int], tokens: Sequence[int], tokenizer: Tokenizer) -> str:
    """The text of the tokens where they follow the prompt: some tokenizers drop a space at the beginning of a text."""
    before, whole = tokenizer.decode(prompt), tokenizer.decode([*prompt, *tokens])
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(tokens)


def pieces_of(
    tokens: Iterator[int], tokenizer: Tokenizer, written: list[int], prompt: Sequence[int] = ()
) -> Iterator[str]:
    """The text of the tokens, as it follows the prompt, in pieces that end between characters; the tokens are added to
    `written`."""
    shown = ""
    for token in tokens:
        written.append(token)
        text = text_after(prompt, written, tokenizer)
        if not text.endswith(CUT):
            yield text[len(shown) :]
            shown = text
    if len(rest := text_after(prompt, written, tokenizer)) > len(shown):
        yield rest[len(shown) :]


def _show(text: str) -> None:
    """Prints text. On a terminal, characters that would command it are made visible instead."""
    if sys.stdout.isatty():
        text = "".join(c if c in "\n\t" else printable(c) for c in text)
    sys.stdout.write(text)
    sys.stdout.flush()
