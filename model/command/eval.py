"""`eval`: the bits that a model needs for each byte of a text; questions are in model/command/questions.py."""

import argparse
from typing import Any

import numpy as np

from model.boundaries import read_boundaries
from model.command import questions
from model.command.corpus import encode
from model.command.device import given_device
from model.command.errors import CommandError, TextError
from model.command.folder import finished_model
from model.command.progress import Progress
from model.command.text import batches, given_text
from model.errors import NotFinite
from model.evaluation import bits_per_byte, document_bits
from model.export import load_causal
from model.precision import resolve_precision, use_threads


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures. Bits per byte with its 95% interval over documents, and what was read; or what `questions` gives."""
    if questions.given(options):
        return questions.run(options)
    questions.without_effect(options, "chat", "max_new_tokens", "stop")
    use_threads(options.threads)
    device = given_device(options.device)
    text, progress = given_text(options), Progress(options.quiet)
    model, tokenizer = load_causal(finished_model(options.model), device=device)
    most = model.config.max_position_embeddings
    context = options.context_length or most
    if context > most:
        raise CommandError(
            f"--context-length is {context:,}, but the model reads {most:,} tokens at once: ask for no more than that."
        )
    boundaries = read_boundaries(options.model, tokenizer)
    total = text.num_bytes
    bits: list[float] = []
    sizes: list[int] = []
    tokens = 0
    for batch in batches(text.documents(), characters=100_000):
        documents = encode(tokenizer, batch, boundaries.end)
        found = document_bits(
            model,
            documents,
            start_token=boundaries.before_document,
            context=context,
            device=device,
            precision=resolve_precision(options.precision or "auto", device),
        )
        if not np.isfinite(found).all():
            raise NotFinite
        bits += found.tolist()
        sizes += [len(document.encode()) for document in batch]
        tokens += sum(map(len, documents))
        progress.report(sum(sizes), max(total, sum(sizes)), "byte", f"{sum(bits) / sum(sizes):.3f} bits/byte")
    progress.close()
    for remark in text.remarks():
        progress.say(remark)
    if not bits:
        raise TextError(f"{', '.join(map(str, text.paths[:3]))}: there is no text to measure on.")
    if len(bits) == 1:
        progress.say("there is one document only, so the interval, which is over documents, says nothing")
    return {
        **bits_per_byte(np.array(bits), np.array(sizes)).metrics("bits_per_byte"),
        "documents": len(sizes),
        "bytes": sum(sizes),
        "tokens": tokens,
        "invalid_bytes": text.invalid.total(),
    }
