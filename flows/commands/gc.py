"""`pedigree gc`: deletes what no model, pin or recent run needs, after showing it."""

import argparse
from typing import Any

from flows.commands.base import agreed, command, print_json, say, size
from tasks.lineage.gc import Sweep

SHOWN = 20


def add(commands: Any) -> None:
    gc = command(commands, "gc", _gc, "delete what no model, pin or recent run needs", (
        "pedigree gc --dry-run                    what would go\n"
        "  pedigree gc --keep-days 7 --keep-runs 2\n"
        "  pedigree gc --pin pedigree-aligned       keep a model and all it was made from"
    ), json_output=True)  # fmt: skip
    gc.description = (
        "Delete outputs that nothing needs, unfinished work that was left, damaged outputs set aside, and old locks. "
        "Kept is what models with an alias or the tag pedigree.keep in MLflow, pins, recent flow runs and stages at "
        "work were made from. Shows what would go, and asks. Records stay: lineage still answers."
    )
    gc.add_argument("--keep-days", type=float, default=30, metavar="N", help="what ran within N days (default: 30)")
    gc.add_argument("--keep-runs", type=int, default=10, metavar="N", help="the last N runs of each flow (default: 10)")
    gc.add_argument("--pin", action="append", default=[], metavar="TARGET",
                    help="keep this model, stage or digest with all it was made from; deletes nothing")  # fmt: skip
    gc.add_argument("--unpin", action="append", default=[], metavar="TARGET", help="take a pin away; deletes nothing")
    gc.add_argument("--without-mlflow", action="store_true", help="don't ask MLflow which models it holds on to")
    gc.add_argument("--dry-run", action="store_true", help="show what would go, and delete nothing")
    gc.add_argument("--yes", action="store_true", help="delete without asking")


def _gc(options: argparse.Namespace) -> int:
    from flows import housekeeping

    if options.pin or options.unpin:
        pins = housekeeping.pin(options.pin, options.unpin)
        if options.json:
            print_json({"pins": pins})
        else:
            say("\n".join(f"{pinned['digest'][:12]} {pinned['target']}" for pinned in pins) or "Nothing is pinned.")
        return 0
    keep = housekeeping.Keep(options.keep_days, options.keep_runs, not options.without_mlflow)
    doomed = housekeeping.survey_store(keep)
    asked = not (options.dry_run or options.yes)
    if not options.json or asked:
        _show(doomed, to_stderr=options.json)
    if doomed.empty or options.dry_run or (asked and not agreed("Delete all this?")):
        if options.json:
            print_json({"deleted": False, **doomed.answer()})
        return 0
    gone = housekeeping.sweep_store(keep, doomed)
    if options.json:
        print_json({"deleted": True, **gone.answer()})
    else:
        say(f"Deleted {len(gone.objects)} outputs and more, {size(gone.bytes)} in all.")
    return 0


def _show(doomed: Sweep, to_stderr: bool) -> None:
    kept = ", ".join(f"{count} for {reason}" for reason, count in doomed.kept.items()) or "none"
    say(f"Outputs kept: {kept}.", to_stderr)
    if doomed.empty:
        say("Nothing to delete.", to_stderr)
        return
    for title, entries in (("outputs", doomed.objects), ("unfinished work", doomed.work), ("leftovers", doomed.files)):
        if entries:
            say(f"{len(entries)} {title}:", to_stderr)
        for entry in entries[:SHOWN]:
            about = " ".join(part for part in (entry.stage, entry.kind, entry.created) if part)
            say(f"  {entry.name[:40]:<40} {size(entry.bytes):>10}  {about}", to_stderr)
        if len(entries) > SHOWN:
            say(f"  and {len(entries) - SHOWN} more", to_stderr)
    say(f"{len(doomed.locks)} old locks; {size(doomed.bytes)} in all.", to_stderr)
