"""`pedigree verify`: whether the store is whole, and whether anything lies in it that does not belong there."""

import argparse
from typing import Any

from flows.commands.base import command, print_json, printable, say
from tasks.lineage.store import Store


def add(commands: Any) -> None:
    verify = command(commands, "verify", _verify, "hash every stored byte; exit 1 when something is wrong",
                     "pedigree verify --json\n  pedigree verify --deep", json_output=True)  # fmt: skip
    verify.description = (
        "Hash every byte of every output, check every record against its own checksum, and find files that nothing "
        "explains. What `pedigree gc` or `pedigree forget --purge` deleted is not missing."
    )
    verify.add_argument("--deep", action="store_true",
                        help="also what no output depends on: metrics files against the digest in their record, and "
                        "the tombstones of deleted outputs")  # fmt: skip


def _verify(options: argparse.Namespace) -> int:
    store = Store()
    if not store.root.is_dir():
        say(f"There is no store at {printable(str(store.root))}. Does PEDIGREE_HOME name the right folder?", True)
    found = store.verify(deep=options.deep)
    wrong = (*found["damaged"], *found["missing"], *found["foreign"])
    if options.json:
        print_json(found)
        return 1 if wrong else 0
    counts = ", ".join(f"{len(found[name])} {name}" for name in ("damaged", "missing", "foreign"))
    say(f"{found['objects']} objects, {counts}.")
    for entry in (*found["damaged"], *found["missing"]):
        name = f"{entry['stage'] or 'an output'} {(entry['digest'] or entry['key'])[:12]}"
        say(f"  {name}: {'; '.join(entry['problems'])}. The next run makes it again.")
    for entry in found["foreign"]:
        say(f"  {entry['path']}: {entry['problem']}. Move it elsewhere, or delete it.")
    return 1 if wrong else 0
