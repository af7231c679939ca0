"""`pedigree diff`: what differs between two models or runs, from their documents to their figures."""

import argparse
import json
import sys
from collections.abc import Iterator, Sized
from itertools import islice
from typing import Any

from flows.commands.base import command, printable, say, short

SHOWN = 8  # lines of a section on a terminal; --json has all
EXAMPLES = 3  # documents named for a reason, of the first so many that are read:
LOOKED_AT = 10_000

Examples = dict[tuple[str, str, str, str], list[dict[str, Any]]]


def add(commands: Any) -> None:
    about = "what differs between two models or runs: data, settings, code, libraries, figures"
    diff = command(commands, "diff", _diff, about, (
        "pedigree diff pedigree-aligned/1 pedigree-aligned/2\n"
        "  pedigree diff 3fa9c1d2 aligned                     an earlier output, by its digest, and the latest\n"
        "  pedigree diff RUN RUN --json                       two runs in Prefect or MLflow; names every document"
    ), json_output=True)  # fmt: skip
    for name in ("a", "b"):
        diff.add_argument(name, metavar=name.upper(), help="as `pedigree lineage` takes it")


def _diff(options: argparse.Namespace) -> None:
    from flows.targets import resolve_all
    from tasks.diff.diff import diff
    from tasks.lineage.store import Store

    def report(line: str) -> None:
        print(f"{line} …", file=sys.stderr, flush=True)

    found = diff(Store(), resolve_all(options.a), resolve_all(options.b), report)
    if options.json:
        _write_json(found.answer, found.documents)
    else:
        _print(found.answer, found.documents)


def _write_json(answer: dict[str, Any], documents: Iterator[dict[str, Any]]) -> None:
    """One JSON object; the documents, which may be millions, are written as they are read, a line each."""
    head = json.dumps(answer, indent=2).removesuffix("\n}")
    sys.stdout.write(f'{head},\n  "documents": [')
    separator = "\n    "
    for entry in documents:
        sys.stdout.write(separator + json.dumps(entry))
        separator = ",\n    "
    sys.stdout.write("\n  ]\n}\n" if separator[0] == "," else "]\n}\n")


def _print(answer: dict[str, Any], documents: Iterator[dict[str, Any]]) -> None:
    for side in ("a", "b"):
        say(f"{side.upper()}: " + ", ".join(f"{one['stage']} {one['digest'][:12]}" for one in answer[side]))
    if answer["identical"]:
        say("They are the same bytes.")
    say(f"First cause: {_cause(answer['first_cause'])}" if answer["first_cause"] else "Nothing in them differs.")
    _print_stages(answer["stages"])
    _print_data(answer["data"], documents)
    for title, name in (("Settings", "config"), ("Libraries", "dependencies")):
        lines = [f"{entry['stage']}: "
                 + printable(entry.get("note") or f"{entry['name']} {_value(entry['old'])} → {_value(entry['new'])}")
                 for entry in answer[name]]  # fmt: skip
        _section(title, lines)
    _print_code(answer["code"])
    told = {f"{entry['name']} {_value(entry['old'])} → {_value(entry['new'])}": None for entry in answer["numerics"]}
    _section("Machine (may change bytes, not meaning)", list(told))
    _print_metrics(answer["metrics"])


def _cause(cause: dict[str, Any]) -> str:
    from tasks.lineage.cause import Cause, sentence

    if cause["kind"] == "stage":
        return f"{cause['stage']}: only {'A' if cause['new'] is None else 'B'} has it"
    return printable(sentence(Cause.model_validate(cause)))


def _print_stages(stages: list[dict[str, Any]]) -> None:
    lines = []
    for stage in stages:
        if stage["verdict"] != "same":
            why = ", ".join([*stage["changed"], *(f"({name})" for name in stage["inputs"])])
            lines.append(f"{stage['stage']:<12} {stage['verdict']}" + (f": {why}" if why else ""))
        for side in ("a", "b"):
            if stage[side] and stage[side]["missing"] and (side == "b" or stage["verdict"] != "same"):
                lines.append(
                    f"{stage['stage']:<12} the output of {side.upper()} is not whole: {stage[side]['missing']}"
                )
    same = sum(stage["verdict"] == "same" for stage in stages)
    _section(f"Stages ({same} of {len(stages)} the same)", lines, limit=None)


def _print_data(data: dict[str, Any], documents: Iterator[dict[str, Any]]) -> None:
    if data["sources"] is None:
        _section("Sources", ["which files changed cannot be told: a snapshot is no longer stored"])
    else:
        _section("Sources", [f"{what}: {printable(uri)}" for what, uris in data["sources"].items() for uri in uris])
    examples = _examples(documents)
    for found in data["collections"]:
        lines = [f"{side.upper()}: {_counts(found[side])}" for side in ("a", "b")]
        if found["same"] is not None:
            lines.append(f"{found['same']:,} the same")
        for change in ("added", "removed", "changed", "moved"):
            lines += _changes(found["kind"], change, found[change], examples)
        _section(f"Documents of {found['stage']}", lines + found["notes"], limit=None)


def _changes(kind: str, change: str, summary: dict[str, Any] | None, examples: Examples) -> Iterator[str]:
    """How many documents changed in one way, why, with a few by name, and of which origins."""
    if not summary or not summary["documents"]:
        return
    tokens = f", {summary['tokens']:,} tokens" if summary["tokens"] is not None else ""
    yield f"{summary['documents']:,} {change}{tokens}"
    for why in summary["by_reason"][:SHOWN]:
        yield f"  {why['documents']:>9,}  {why['stage']}: {printable(why['reason'])}"
        for entry in examples.get((kind, change, why["stage"], why["reason"]), []):
            yield f"             {entry['doc_id'][:16]} {printable(entry['source'] or '')}"
    yield from _more(summary["by_reason"])
    if len(summary["by_origin"]) > 1:
        for origin, count in list(summary["by_origin"].items())[:SHOWN]:
            yield f"  {count:>9,}  of {printable(origin)}"
        yield from _more(summary["by_origin"])


def _more(entries: Sized) -> Iterator[str]:
    if len(entries) > SHOWN:
        yield f"             and {len(entries) - SHOWN:,} more; --json has all"


def _examples(documents: Iterator[dict[str, Any]]) -> Examples:
    """A few documents by collection, change, stage and reason, of the first LOOKED_AT."""
    found: Examples = {}
    for entry in islice(documents, LOOKED_AT):
        held = found.setdefault((entry["kind"], entry["change"], entry["stage"], entry["reason"]), [])
        if len(held) < EXAMPLES:
            held.append(entry)
    return found


def _counts(side: dict[str, Any] | None) -> str:
    if side is None:
        return "none"
    told = "an unknown number of documents" if side["documents"] is None else f"{side['documents']:,} documents"
    tokens = f", {side['tokens']:,} tokens" if side["tokens"] is not None else ""
    splits = [f"{name} {split['documents']:,}" for name, split in (side["splits"] or {}).items() if name != "none"]
    return told + tokens + (f" ({', '.join(splits)})" if splits else "")


def _print_code(code: list[dict[str, Any]]) -> None:
    """Each changed definition once, with the stages that reach it."""
    stages: dict[tuple[str, str | None, str | None], list[str]] = {}
    diffs: dict[tuple[str, str | None, str | None], str] = {}
    for entry in code:
        change = entry["name"], entry["old"], entry["new"]
        stages.setdefault(change, []).append(entry["stage"])
        diffs[change] = entry.get("diff") or entry.get("note") or ""
    lines = []
    for change, reached in stages.items():
        fate = "new" if change[1] is None else "gone" if change[2] is None else "changed"
        lines.append(f"{change[0]} {fate} ({', '.join(reached)})")
        lines += [f"  {line}" for line in diffs[change].splitlines()[2:]]
    _section("Code", lines, limit=40)


def _print_metrics(metrics: list[dict[str, Any]]) -> None:
    """Of figures with intervals those that differ, intervals that are apart first; else what changed most."""
    differing = [row for row in metrics if row["a"] and row["b"] and row["change"]]
    measured = [row for row in differing if row["apart"] is not None]
    lines = [
        f"{row['stage']}: {row['name']} {_estimate(row['a'])} → {_estimate(row['b'])}, "
        f"{'intervals apart' if row['apart'] else 'intervals overlap'}"
        for row in sorted(measured, key=lambda row: not row["apart"])
    ]
    _section("Figures with 95% intervals", lines, limit=20)
    if len(differing) > len(measured):
        say(f"\n{len(differing) - len(measured):,} figures without an interval differ too; --json has them.")


def _estimate(side: dict[str, Any]) -> str:
    from tasks.report.figures import interval

    return "not a number" if side["value"] is None else interval(side["value"], side["low"], side["high"])


def _value(value: Any) -> str:
    return short("none" if value is None else value)


def _section(title: str, lines: list[str], limit: int | None = SHOWN) -> None:
    if not lines:
        return
    say(f"\n{title}:")
    for line in lines[:limit]:
        say(f"  {line}")
    if limit is not None and len(lines) > limit:
        say(f"  and {len(lines) - limit:,} more; --json has all")
