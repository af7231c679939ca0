"""The prompts of `generate`: from the command line, or from a file."""

import argparse
import logging
from pathlib import Path

from model.command.errors import TextError
from model.command.text import TextFiles, meant
from model.questions import Request, parse_request, read_rows

FORMS = """prompts of --prompts, answered in their order:
  FILE.jsonl   {"prompt": "The capital of France is"} a line, and, if wanted, "seed": 7; other lines are left out
  other files  a prompt a line; empty lines are left out"""
log = logging.getLogger(__name__)


def given_prompts(options: argparse.Namespace) -> list[tuple[str, int]]:
    """What to answer, and the seed of each: its own, or --seed counted up, so that the first has --seed itself.

    Raises TextError or InputError for a file that cannot be used."""
    found = [Request(meant(prompt)) for prompt in options.prompt]
    if options.prompts is not None:
        found += _in_file(options.prompts)
    found = found or [Request("")]
    return [
        (one.prompt, ((options.seed or 0) + number) % 2**63 if one.seed is None else one.seed)
        for number, one in enumerate(found)
    ]


def _in_file(path: Path) -> list[Request]:
    if path.suffix == ".jsonl":
        rows = read_rows(path, parse_request)
        if rows.left_out:
            log.warning("lines left out: %s", rows.reasons())
        return rows.rows
    if not path.exists() or path.is_dir():  # a pipe is read too
        raise TextError(f"{path} does not exist, or is a folder: name a file with a prompt a line.")
    file = TextFiles([path], whole_files=True)
    lines = [line for text in file.documents() for line in text.split("\n")]
    for remark in file.remarks():
        log.warning("%s", remark)
    found = [Request(line.removesuffix("\r")) for line in lines if line.strip()]
    if not found:
        raise TextError(f"{path} holds no prompt.")
    return found
