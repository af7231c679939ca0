"""`pedigree trace`: which spans of a text stand word for word in a model's training data."""

import argparse
import os
import sys
from typing import Any

from flows.commands.base import command, print_json, printable, say
from flows.errors import SettingsError

LATEST = "aligned"
SHOWN = 3  # documents of a span, in a terminal


def add(commands: Any) -> None:
    about = "the spans of a text that stand word for word in a model's training data"
    trace = command(commands, "trace", _trace, about,
                    'pedigree trace "Return the number of elements in the list."\n'
                    '  pedigree trace --prompt "What does json.dumps do?" --model pedigree-aligned --json',
                    json_output=True)  # fmt: skip
    trace.add_argument("text", nargs="?", metavar="TEXT", help="the text; - reads it from standard input")
    trace.add_argument("--prompt", metavar="P", help="trace the model's answer to this instead")
    trace.add_argument("--model", default=LATEST, metavar="MODEL",
                       help="whose training data are searched: a model, or tokens (default: aligned)")  # fmt: skip
    trace.add_argument("--min-words", type=int, default=5, metavar="N", help="shortest span (default: 5)")
    trace.add_argument("--spans", type=int, metavar="N", help="most spans (default: 10, or one for 20 tokens of text)")
    trace.add_argument("--documents", type=int, default=10, metavar="N", help="most places of a span (default: 10)")


def _trace(options: argparse.Namespace) -> None:
    from flows.targets import resolve
    from tasks.lineage.store import Store
    from tasks.trace.trace import trace

    if (options.text is None) == (options.prompt is None):
        raise SettingsError("Give either a TEXT to trace, or --prompt and trace the model's answer to it.")
    record = resolve(options.model)
    text = _decoded(sys.stdin.buffer.read() if options.text == "-" else os.fsencode(options.text or ""))
    if options.prompt is not None:
        from tasks.trace.answer import answer

        text = answer(record.artifact.path, _decoded(os.fsencode(options.prompt)))
    found = trace(Store(), record, text, _report, options.min_words, options.spans, options.documents)
    if options.json:
        print_json(found)
        return
    _print(found, asked=options.prompt is not None)


def _decoded(content: bytes) -> str:
    """What is no UTF-8 in it stands in no training data, and so becomes U+FFFD, as it does when text is read."""
    return content.decode("utf-8", "replace")


def _report(what: str, done: int, total: int) -> None:
    """The first question after a training builds the index, which takes seconds or minutes."""
    end = "\n" if done == total else "\r"
    print(f"indexing {what}: {done:,} of {total:,} tokens", end=end, file=sys.stderr, flush=True)


def _print(found: dict[str, Any], asked: bool) -> None:
    if asked:
        say("The model says: " + "\n".join(printable(line) for line in found["text"].splitlines()) + "\n")
    if not found["spans"]:
        say("No span of it stands in the training data.")
    for made in found["unknown"]:
        say(f"Not searched, since it is unknown: what {made} learnt from.")
    for span in found["spans"]:
        say(f"“{printable(span['text'])}”  {span['words']} words, {span['occurrences']:,} times")
        for place in span["documents"][:SHOWN]:
            where = "" if place["field"] == "text" else f", {place['field']}"
            say(f"    {place['doc_id'][:12]} at character {place['offset']}{where}: {printable(place['source'])} "
                f"({printable(place['license'] or 'licence unknown')})")  # fmt: skip
        if span["occurrences"] > SHOWN:
            say(f"    and {span['occurrences'] - SHOWN:,} more; --json names {len(span['documents'])}")
