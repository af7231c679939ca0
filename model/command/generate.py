"""`generate`: goes on writing from a prompt, and shows the text as it comes."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from model.command.device import given_device
from model.command.folder import finished_model
from model.command.text import meant
from model.errors import InputError
from model.export import load_causal
from model.generation import stop_at, stream
from model.precision import resolve_precision, use_threads
from model.sampling import Sampling
from model.tokenizer import Tokenizer

DEFAULT_TOKENS = 200
CUT = "\ufffd"  # the last bytes may be the beginning of a character


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Generates once. The prompt, the text, its number of tokens, and whether it came to an end of its own."""
    use_threads(options.threads)
    device = given_device(options.device)
    model, tokenizer = load_causal(finished_model(options.model), device=device)
    end = tokenizer.endoftext_id
    given = meant(options.prompt)
    prompt = [end, *tokenizer.encode(given)]  # in training <|endoftext|> stands before each document
    room = model.config.max_position_embeddings - len(prompt)
    wanted = min(DEFAULT_TOKENS, room) if options.max_new_tokens is None else options.max_new_tokens
    if room < 1 or wanted > room:
        raise InputError(
            f"the prompt has {len(prompt)} tokens, and the model reads {room + len(prompt)} at once: shorten the "
            f"prompt, or ask for {max(room, 0)} new tokens at most."
        )
    temperature = 0.0 if options.greedy else options.temperature
    sampling = Sampling(temperature, options.top_k, options.top_p, options.repetition_penalty)
    stop = stop_at(tokenizer, options.stop)
    tokens: list[int] = []
    pieces: list[str] = []
    if not options.json:
        _show(given)
    steps = stream(
        model, [prompt], max_new_tokens=wanted, sampling=sampling, eos_token_id=end, pad_token_id=tokenizer.pad_id,
        seed=options.seed, stop=stop, precision=resolve_precision(options.precision, device),
    )  # fmt: skip
    for piece in pieces_of((step[0] for step in steps), tokenizer, tokens):
        pieces.append(piece)
        if not options.json:
            _show(piece)
    if not options.json:
        _show("\n")
    ended = bool(tokens) and (tokens[-1] == end or stop(tokens))
    return {"prompt": given, "text": "".join(pieces), "tokens": len(tokens), "ended": ended}


def pieces_of(tokens: Iterator[int], tokenizer: Tokenizer, written: list[int]) -> Iterator[str]:
    """The text of the tokens in pieces that end between characters; the tokens are added to `written`."""
    shown = ""
    for token in tokens:
        written.append(token)
        text = tokenizer.decode(written)
        if not text.endswith(CUT):
            yield text[len(shown) :]
            shown = text
    if len(rest := tokenizer.decode(written)) > len(shown):
        yield rest[len(shown) :]


def _show(text: str) -> None:
    """Prints text. On a terminal, characters that would command it are made visible instead."""
    if sys.stdout.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
    sys.stdout.write(text)
    sys.stdout.flush()
