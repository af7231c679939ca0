"""`pedigree lineage`, `verify`: what an output is made of, and whether the store is whole."""

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
    command(commands, "verify", _verify, "hash every stored byte; exit 1 when one differs", "pedigree verify --json",
            json_output=True)  # fmt: skip


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


def _verify(options: argparse.Namespace) -> int:
    found = questions.verify()
    if options.json:
        print_json(found)
    else:
        say(f"{found['objects']} objects, {len(found['damaged'])} damaged, {len(found['missing'])} missing.")
        for entry in (*found["damaged"], *found["missing"]):
            problems = "; ".join(entry["problems"])
            say(f"  {entry['stage']} {entry['digest'][:12]}: {problems}. The next run makes it again.")
    return 1 if found["damaged"] or found["missing"] else 0
