"""`pedigree lineage`: what an output is made of."""

import argparse
from typing import Any

from flows import questions
from flows.commands.base import command, print_json, say


def add(commands: Any) -> None:
    lineage = command(commands, "lineage", _lineage, "everything that a model is made of",
                      "pedigree lineage pedigree-aligned --json", json_output=True)  # fmt: skip
    lineage.add_argument("target", metavar="MODEL", help="registered model, stage, or the beginning of a digest")
    lineage.add_argument("--documents", action="store_true",
                         help="count its documents by origin and licence; with --json, name every one")  # fmt: skip


def _documents(options: argparse.Namespace) -> None:
    answer = questions.documents(options.target)
    if options.json:
        print_json(answer)
        return
    target = answer["target"]
    say(f"{target['kind']} {target['digest'][:12]} of {target['stage']}: {answer['documents']:,} documents")
    for title, counts in (("licence", answer["licenses"]), ("origin", answer["origins"])):
        say(f"by {title}:")
        for name, count in counts.items():
            say(f"  {count:>9,}  {name}")


def _lineage(options: argparse.Namespace) -> None:
    if options.documents:
        _documents(options)
        return
    graph = questions.lineage(options.target)
    if options.json:
        print_json(graph)
        return
    for node in graph["nodes"]:
        documents = f", {node['documents']['documents_kept']:,} documents" if node["documents"] else ""
        say(f"{node['stage']:<12} {node['kind']} {node['digest'][:12]}{documents}")
        for source in (edge[0] for edge in graph["edges"] if edge[1] == node["id"]):
            name = next((other["stage"] for other in graph["nodes"] if other["id"] == source), "a record that is gone")
            say(f"             from {name} {source[:12]}")
