"""`pedigree lineage`: what an output is made of, and what was made from it."""

import argparse
from typing import Any

from flows import questions
from flows.commands.base import command, print_json, printable, say

WIDE = 160  # characters, where nobody measures the window


def add(commands: Any) -> None:
    lineage = command(commands, "lineage", _lineage, "everything that something is made of, or was made into", (
        "pedigree lineage pedigree-aligned                  what the latest aligned model is made of\n"
        "  pedigree lineage pedigree-aligned@current --documents\n"
        "  pedigree lineage collect --down --json             what the latest corpus went into"
    ), json_output=True)  # fmt: skip
    lineage.add_argument("target", metavar="TARGET",
                         help="registered model (also NAME@ALIAS, NAME/VERSION), stage, beginning of a digest or key, "
                         "or the id of a run in MLflow or Prefect")  # fmt: skip
    lineage.add_argument("--up", action="store_true", help="what it was made from (the default without --down)")
    lineage.add_argument("--down", action="store_true", help="what was made from it")
    lineage.add_argument("--documents", action="store_true",
                         help="count its documents by origin and licence; with --json, name every one")  # fmt: skip


def _documents(options: argparse.Namespace) -> None:
    answer = questions.documents(options.target)
    if options.json:
        print_json(answer)
        return
    target = answer["target"]
    named = f"{target['kind']} {target['digest'][:12]} of {target['stage']}"
    unknown = [f"{made['kind']} {made['digest'][:12]}" for made in answer["unknown"]]
    if unknown and not answer["documents"]:
        say(f"{named}: documents unknown")
    elif unknown:
        say(f"{named}: {answer['documents']:,} documents that are known; those of {', '.join(unknown)} are not")
    else:
        say(f"{named}: {answer['documents']:,} documents")
    for made in answer["unknown"]:
        say(f"  {made['kind']} {made['digest'][:12]} {_declared(made)}")
    for title, counts in (("licence", answer["licenses"]), ("origin", answer["origins"])):
        if counts:
            say(f"by {title}:")
        for name, count in counts.items():
            say(f"  {count:>9,}  {printable(name)}")


def _declared(made: dict[str, Any]) -> str:
    from tasks.lineage.declaration import Declaration, declared_sentence

    return declared_sentence(Declaration.model_validate({name: made[name] for name in Declaration.model_fields}))


def _lineage(options: argparse.Namespace) -> None:
    if options.documents:
        _documents(options)
        return
    up = options.up or not options.down
    graph = questions.lineage(options.target, up=up, down=options.down, brief=not options.json)
    if options.json:
        print_json(graph)
        return
    from rich.console import Console

    from flows import tree
    from tasks.lineage.cause import Acceptance, accepted_sentence

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    for relation, title, wanted in (
        ("ancestor", "Made from", up),
        ("descendant", "Made into", options.down),
    ):
        if wanted:
            console.print(f"{title} {tree.summary(graph['nodes'], relation)}")
            for drawn in tree.trees(graph, relation):
                console.print(drawn)
    for taken in graph["accepted"]:
        acceptance = Acceptance.model_validate({name: taken[name] for name in Acceptance.model_fields})
        console.print(f"{taken['stage']} was {accepted_sentence(acceptance)}", style="yellow", markup=False)
    for made in graph["declared"]:
        console.print(f"{made['kind']} {made['digest'][:12]} {_declared(made)}", style="yellow", markup=False)
