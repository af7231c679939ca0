"""`generate`: goes on writing from a prompt, and shows the text as it comes; or answers many prompts in their order."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from model.boundaries import Boundaries, read_boundaries
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
from model.transformer import Transformer

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
    its own. Of several, and of a file with --json, the same is told here, an object a line, and nothing is returned."""
    if options.greedy:
        without_effect(options, "top_k", "top_p", "seed")
    use_threads(options.threads)
    device = given_device(options.device)
    model, tokenizer = load_causal(finished_model(options.model), device=device)
    if options.chat:
        check_chat(options.model, tokenizer)
    boundaries = read_boundaries(options.model, tokenizer)
    asked = _asked(options, tokenizer, boundaries, model.config.max_position_embeddings)
    temperature = 0.0 if options.greedy else options.temperature
    settings: dict[str, Any] = {
        "sampling": Sampling(temperature, options.top_k, options.top_p, options.repetition_penalty),
        "eos_token_id": stop_ids(tokenizer, options.chat, boundaries),
        "pad_token_id": boundaries.pad,
        "stop": stop_at(tokenizer, options.stop),
        "precision": resolve_precision(options.precision, device),
    }
    writer = Writer(model, tokenizer, settings, options.json, "\n" if options.chat else "")
    if len(asked) == 1 and not (options.json and options.prompts):  # of a file, lines of JSON are wanted always
        return writer.write_one(asked[0])
    for start in range(0, len(asked), AT_ONCE):
        if start and not options.json:
            _show("\n")
        writer.write_several(asked[start : start + AT_ONCE])
    return {}


def _asked(options: argparse.Namespace, tokenizer: Tokenizer, boundaries: Boundaries, most: int) -> list[Asked]:
    """What is to be answered by a model that reads `most` tokens at once."""
    prompts = given_prompts(options)
    asked = []
    for number, (prompt, seed) in enumerate(prompts, start=1):
        ids = prompt_ids(tokenizer, prompt, options.chat, boundaries)
        which = "the prompt" if len(prompts) == 1 else f"prompt {number}"
        asked.append(Asked(prompt, seed, ids, _new_tokens(which, len(ids), most, options.max_new_tokens)))
    return asked


def _new_tokens(which: str, length: int, most: int, asked: int | None) -> int:
    """How many new tokens are wanted after a prompt of `length` tokens. Raises InputError where they have no room."""
    room = most - length
    wanted = min(DEFAULT_TOKENS, room) if asked is None else asked
    if room < 1 or wanted > room:
        fewer = f", or ask for {room} new tokens at most" if room >= 1 else ""
        raise InputError(f"{which} has {length} tokens, and the model reads {most} at once: shorten the prompt{fewer}.")
    return wanted


@dataclass(frozen=True)
class Writer:
    """A model, how it is to write, and how that is shown: as JSON, or as text with something between prompt and
    answer."""

    model: Transformer
    tokenizer: Tokenizer
    settings: dict[str, Any]
    as_json: bool
    after_prompt: str

    def write_one(self, one: Asked) -> dict[str, Any]:
        """Shows the text as it comes, but not as JSON, which is returned."""
        tokens: list[int] = []
        pieces: list[str] = []
        steps = stream(self.model, [one.ids], max_new_tokens=one.new_tokens, seed=[one.seed], **self.settings)
        for piece in pieces_of((step[0] for step in steps), self.tokenizer, tokens, one.ids):
            if not self.as_json:  # the prompt comes with the first piece, after what is told of compiling
                _show(piece if pieces else one.prompt + self.after_prompt + piece)
            pieces.append(piece)
        if not self.as_json:
            _show("\n")
        return self._told(one, tokens, "".join(pieces))

    def write_several(self, some: list[Asked]) -> None:
        """Shows the answers when all are complete, with an empty line between them or as an object of JSON a line."""
        written: dict[int, list[int]] = {}
        for new_tokens in sorted({one.new_tokens for one in some}):  # which the draws depend on
            rows = [row for row, one in enumerate(some) if one.new_tokens == new_tokens]
            prompts, seeds = [some[row].ids for row in rows], [some[row].seed for row in rows]
            answers = generate(self.model, prompts, max_new_tokens=new_tokens, seed=seeds, **self.settings)
            written |= dict(zip(rows, answers, strict=True))
        for row, one in enumerate(some):
            text = text_after(one.ids, written[row], self.tokenizer)
            if self.as_json:
                print(json.dumps(self._told(one, written[row], text)), flush=True)
            else:
                _show(("\n" if row else "") + one.prompt + self.after_prompt + text + "\n")

    def _told(self, one: Asked, tokens: list[int], text: str) -> dict[str, Any]:
        ended = bool(tokens) and (tokens[-1] in self.settings["eos_token_id"] or self.settings["stop"](tokens))
        return {"prompt": one.prompt, "seed": one.seed, "text": text, "tokens": len(tokens), "ended": ended}


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
