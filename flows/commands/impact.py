"""`pedigree impact`: what falls with a document, text, source, licence, annotator or piece of code."""

import argparse
import gc
import sys
from pathlib import Path
from typing import Any

from flows.commands.base import command, print_json_lines, printable, say
from flows.errors import SettingsError
from tasks.lineage.errors import NotFound
from tasks.lineage.store import Store

SHOWN = 20  # lines of a table on a terminal; --json has all


def add(commands: Any) -> None:
    impact = command(commands, "impact", _impact, "what holds, learnt from or inherits from some documents or code", (
        "pedigree impact --doc 3f2a91c0\n"
        "  pedigree impact --text letter.txt                   a text and its near copies\n"
        "  pedigree impact --source 'pypi://numpy/*' --license BSD-3-Clause\n"
        "  pedigree impact --module tasks/text/rules.py        what its code made"
    ), json_output=True)  # fmt: skip
    add_selectors(impact)
    impact.add_argument("--module", action="append", default=[], metavar="PATH",
                        help="a module, or PATH:DEFINITION: what any version of it made")  # fmt: skip
    near = impact.add_mutually_exclusive_group()
    near.add_argument("--near", action="store_const", const="all", default="sorted",
                      help="look for near-duplicates also where many texts have to be sorted first")  # fmt: skip
    near.add_argument("--no-near", action="store_const", const="none", dest="near", help="don't look for them")
    steps = impact.add_mutually_exclusive_group()
    steps.add_argument("--all-steps", action="store_true",
                       help="compute which steps saw them for every training, not only for the newest")  # fmt: skip
    steps.add_argument("--no-steps", action="store_true", help="compute no steps")


def add_selectors(parser: argparse.ArgumentParser) -> None:
    """The options that say which documents are meant; each may be given several times."""
    group = parser.add_argument_group(
        "documents", "--doc and --text name documents; --source, --license and --annotator narrow them, or all"
    )
    for name, metavar, about in (
        ("doc", "ID", "doc_id or pair_id, or its first digits"),
        ("text", "FILE", "documents that say what this file says, exactly or nearly, or are passages of it"),
        ("source", "GLOB", "of this source URI, origin or file"),
        ("license", "SPDX", "under this licence; 'unknown' for none"),
        ("annotator", "ID", "rankings by this annotator"),
    ):
        group.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=about)


def selector(options: argparse.Namespace) -> "Any":
    """The Selector that the options of `add_selectors` describe. SettingsError for a file that cannot be read."""
    from tasks.impact.selector import Selector

    return Selector(
        docs=tuple(options.doc),
        texts=tuple(_content(Path(name)) for name in options.text),
        sources=tuple(options.source),
        licenses=tuple(options.license),
        annotators=tuple(options.annotator),
    )


def _content(path: Path) -> str:
    """The file's text, in whichever encoding, as `collect` reads it."""
    from tasks.text.decoding import NotText, decode

    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"--text {path}: {error.strerror}. Give a file that holds the text.") from error
    except NotText as error:
        raise SettingsError(f"--text {path}: {error}. Give a file that holds the text.") from error


def _impact(options: argparse.Namespace) -> None:
    from flows import servers  # finds the MLflow server that `pedigree up` started
    from tasks.impact.impact import MOST_TRAININGS, impact

    wanted = selector(options)
    if wanted.empty and not options.module:
        raise SettingsError("say what falls: --doc, --text, --source, --license, --annotator or --module")
    servers.name_mlflow()
    gc.disable()  # thousands of records are much that lasts, without cycles; looking for some takes a quarter longer
    try:
        answer = impact(
            Store(), wanted, options.module,
            near=options.near, steps=0 if options.no_steps else None if options.all_steps else MOST_TRAININGS,
            report=lambda line: print(line, file=sys.stderr),
        )  # fmt: skip
    finally:
        gc.enable()
    if wanted.texts and not answer["documents"]:
        raise NotFound("No stored document answers to that: none says what the text says, exactly, nearly or in part.")
    if options.json:
        print_json_lines(answer)
    else:
        _show(answer)


def _show(answer: dict[str, Any]) -> None:
    documents = answer["documents"]
    if documents:
        say(f"{len(documents):,} documents")
    for document in documents[:SHOWN]:
        say(f"  {_named(document)}")
    _more(documents)
    say(f"{len(answer['artifacts']):,} outputs")
    for entry in answer["artifacts"][:SHOWN]:
        gone = "" if entry["stored"] else ", no longer stored"
        say(f"  {entry['relation']:<9} {entry['stage']:<12} {entry['kind']} {entry['digest'][:12]}{gone}")
    _more(answer["artifacts"])
    say(f"{len(answer['models']):,} models (registry {answer['registry']})")
    for model in answer["models"][:SHOWN]:
        version = f" version {model['version']}" if model["version"] else ""
        aliases = f" ({', '.join(model['aliases'])})" if model["aliases"] else ""
        say(f"  {model['name']}{version}{aliases} {model['digest'][:12]}, {model['relation']}")
        through = f" (through {' and '.join(model['paths'])})" if len(model["paths"]) > 1 else ""
        say(f"    {' → '.join(step['stage'] or step['kind'] for step in model['path'])}{through}")
    _more(answer["models"])
    for classifier in answer["classifiers"][:SHOWN]:
        through = "and through it:" if classifier["models"] else "no model through it"
        say(f"  the classifier {classifier['digest'][:12]}, {classifier['relation']}; {through}")
        for model in classifier["models"][:SHOWN]:
            say(f"    {model['digest'][:12]} {' → '.join(step['stage'] for step in model['path'])}")
        _more(classifier["models"])
    for stage, trainings in answer["steps"].items():
        for training in trainings[:SHOWN]:
            say(f"  {stage} {training['artifact'][:12]}: {_steps(training)}")
        _more(trainings)
    near = answer["near_duplicates"]
    if near:
        say(f"{len(near):,} near-duplicates would remain")
    for document in near[:SHOWN]:
        instead = ", in place of the document it was dropped for" if document["replaces"] else ""
        say(f"  {_named(document)}, similarity {document['similarity']:.2f}{instead}")
    _more(near)
    for note in answer["notes"]:
        say(f"Note: {note}.")


def _named(document: dict[str, Any]) -> str:
    named = f"{document['doc_id']} {document['kind']} {document['source'] or ''} {document['license'] or 'unknown'}"
    return printable(named)


def _steps(training: dict[str, Any]) -> str:
    if training["unknown"]:
        return f"which steps saw them cannot be told: {training['unknown']}"
    runs = [f"{first}" if first == last else f"{first}–{last}" for first, last in training["ranges"][:8]]
    shown = f": {', '.join(runs)}{' …' if len(training['ranges']) > 8 else ''}" if runs else ""
    doubt = f" (in doubt: {training['doubts'][0]})" if training["doubts"] else ""
    return f"seen in {training['count']:,} of {training['of']:,} steps{shown}{doubt}"


def _more(entries: list[Any]) -> None:
    if len(entries) > SHOWN:
        say(f"  and {len(entries) - SHOWN:,} more; --json has all")
