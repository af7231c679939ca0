"""`generate`: goes on writing from a prompt, and shows the text as it comes."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from model.command.device import given_device
from model.command.folder import finished_model
from model.decoding import Decoder
from model.errors import InputError
from model.export import load_causal
from model.generation import Sampling, choose
from model.precision import use_threads
from model.tokenizer import Tokenizer
from model.transformer import Transformer

DEFAULT_TOKENS = 200
CUT = "\ufffd"  # the last bytes may be the beginning of a character


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Generates once. The prompt, the text, its number of tokens, and whether it came to an end of its own."""
    use_threads(options.threads)
    model, tokenizer = load_causal(finished_model(options.model), device=given_device(options.device))
    end = tokenizer.endoftext_id
    given = options.prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # bytes from the shell
    prompt = [end, *tokenizer.encode(given)]  # in training <|endoftext|> stands before each document
    room = model.config.max_position_embeddings - len(prompt)
    wanted = min(DEFAULT_TOKENS, room) if options.max_new_tokens is None else options.max_new_tokens
    if room < 1 or wanted > room:
        raise InputError(
            f"the prompt has {len(prompt)} tokens, and the model reads {room + len(prompt)} at once: shorten the "
            f"prompt, or ask for {max(room, 0)} new tokens at most."
        )
    sampling = Sampling(0.0 if options.greedy else options.temperature, options.top_k, options.top_p)
    tokens: list[int] = []
    pieces: list[str] = []
    if not options.json:
        _show(given)
    for piece in pieces_of(stream(model, prompt, wanted, sampling, end, options.seed), tokenizer, tokens):
        pieces.append(piece)
        if not options.json:
            _show(piece)
    if not options.json:
        _show("\n")
    ended = bool(tokens) and tokens[-1] == end
    return {"prompt": given, "text": "".join(pieces), "tokens": len(tokens), "ended": ended}


@torch.inference_mode()
def stream(
    model: Transformer, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling, end: int, seed: int
) -> Iterator[int]:
    """The tokens that `model.generation.generate` gives for this one prompt, each as soon as it is drawn."""
    uniforms = torch.rand(1, max_new_tokens, generator=torch.Generator().manual_seed(seed))
    decoder = Decoder(model)
    device = decoder.embedding.device
    logits = decoder.start(torch.tensor([prompt], device=device), torch.zeros(1, dtype=torch.int64), max_new_tokens)
    for step in range(max_new_tokens):
        token = choose(logits, uniforms[:, step].to(device), sampling)
        yield int(token)
        if int(token) == end or step == max_new_tokens - 1:
            return
        logits = decoder.step(token)


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
