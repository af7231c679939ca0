"""`import`: a GGUF file becomes a model directory that everything here reads, and transformers too."""

import argparse
import shutil
import sys
from typing import Any

from model.command.errors import CommandError
from model.gguf_checkpoint import import_gguf


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Converts. The folder, the model's size, and how many tensors were stored in which quantisation."""
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise CommandError(f"{options.out} is there already: name a new folder with --out.")
    print(f"reading {options.gguf}", file=sys.stderr)
    unfinished = options.out.with_name(f".writing-{options.out.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    checkpoint = import_gguf(options.gguf, unfinished)
    unfinished.rename(options.out)
    config = checkpoint.model.config
    return {
        "model": str(options.out),
        "model_type": config.model_type,
        "parameters": config.num_parameters(),
        "vocabulary": config.vocab_size,
        "context_length": config.max_position_embeddings,
        "stored_as": checkpoint.kinds,
    }
