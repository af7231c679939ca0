"""`pedigree adopt`: take in what was made elsewhere, with a declared origin."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import servers
from flows.commands.base import Progress, command, print_json, say, size
from flows.errors import SettingsError

if TYPE_CHECKING:
    from tasks.adopt.adopt import Adopted

KINDS = ("model", "text", "pairs", "tokenizer")
USES = {
    "model": "pedigree run align --set start.pretrained={digest}",
    "text": "pedigree run train --set adopted.text={digest}",
    "pairs": "pedigree run train --set adopted.pairs={digest}",
    "tokenizer": "pedigree run train --set adopted.tokenizer={digest}",
}
"""Kind → the command that takes it up."""


def add(commands: Any) -> None:
    adopt = command(commands, "adopt", _adopt, "take in a model or data made elsewhere, with a declared origin", (
        "pedigree adopt model SmolLM2-135M/ --origin hf://HuggingFaceTB/SmolLM2-135M --license Apache-2.0 \\\n"
        '      --because "a better start than a model of our own"\n'
        "  pedigree adopt text interviews/ --origin urn:our-lab:interviews-2024 --license CC-BY-4.0 \\\n"
        '      --because "transcribed by hand" --made-from "recordings of 12 people, May 2024"'
    ), json_output=True)  # fmt: skip
    adopt.add_argument("kind", choices=KINDS, help="what it is")
    adopt.add_argument("path", type=Path, metavar="PATH", help=(
        "model: a Hugging Face folder (config.json, safetensors, tokenizer.json) or a .gguf file. text, pairs: a file "
        "or folder of JSONL or Parquet, text also .txt .md .rst .html. tokenizer: a tokenizer.json"
    ))  # fmt: skip
    adopt.add_argument("--origin", required=True, metavar="URI", help="where it is from; of what has no address urn:…")
    adopt.add_argument("--because", required=True, metavar="TEXT", help="why it is taken in; shown with it ever after")
    adopt.add_argument("--license", metavar="SPDX", help="its licence, such as CC-BY-4.0; left out: not declared")
    adopt.add_argument("--made-from", action="append", default=[], metavar="TEXT",
                       help="what it was made from, as an address or in words; may be repeated")  # fmt: skip
    adopt.add_argument("--by", metavar="NAME", help="who declares it (default: this user)")
    adopt.add_argument("--correct", action="store_true", help="the earlier declaration of these files was wrong")
    adopt.add_argument("--text-field", metavar="F", help="text: the field of a row that holds it (default: text)")
    adopt.add_argument("--origin-field", metavar="F", help="text: the field that names where a row came from")
    adopt.add_argument("--max-bad-share", type=float, metavar="S",
                       help="text, pairs: share of rows that may be malformed (default: 0.2)")  # fmt: skip


SETTINGS = {"text": ("text_field", "origin_field", "max_bad_share"), "pairs": ("max_bad_share",)}


def _adopt(options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in SETTINGS["text"] if getattr(options, name) is not None}
    for name in given:
        if name not in SETTINGS.get(options.kind, ()):
            raise SettingsError(f"--{name.replace('_', '-')} says nothing of a {options.kind}: leave it out.")
    servers.name_mlflow()
    from pydantic import ValidationError

    from tasks.adopt.adopt import Asked, adopt  # brings torch
    from tasks.lineage.store import Store

    asked = Asked(
        options.kind, options.path, options.origin, options.because, options.license, tuple(options.made_from),
        options.by, options.correct, given,
    )  # fmt: skip
    try:
        found = adopt(Store(), asked, Progress())
    except ValidationError as error:
        raise SettingsError(f"--{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}.".replace("_", "-")) from None
    if options.json:
        print_json(answer(options.kind, found))
    else:
        _print(options.kind, found)


def answer(kind: str, found: "Adopted") -> dict[str, Any]:
    """As docs/schemas/adopt.json describes it."""
    record = found.record
    assert record.declared is not None
    return {
        "kind": kind,
        "stage": record.stage,
        "artifact": record.artifact.model_dump(),
        "declared": record.declared.model_dump(mode="json"),
        "known": found.cached,
        "bytes": record.output.size,
        "files": len(record.output.files),
        "documents": record.documents,
        "metrics": record.metrics,
        "left_out": list(found.left_out),
        "other_declarations": [
            {"key": other.key, "digest": other.output.digest, **other.declared.model_dump(mode="json")}
            for other in found.others
            if other.declared is not None
        ],
        "mlflow_run_id": found.mlflow_run_id,
        "use": _use(kind, record.output.digest),
    }


def _use(kind: str, digest: str) -> str:
    return USES[kind].format(digest=digest[:16])


def _print(kind: str, found: "Adopted") -> None:
    from tasks.lineage.declaration import declared_sentence

    record = found.record
    assert record.declared is not None
    stored = "is in the store already" if found.cached else "adopted"
    say(f"{record.artifact} {stored}: {size(record.output.size)} in {len(record.output.files)} files")
    say(f"  {declared_sentence(record.declared)}")
    if record.documents:
        dropped = {name: int(value) for name, value in record.metrics.items() if name.startswith("dropped/")}
        told = "".join(f", {count:,} {name.removeprefix('dropped/')}" for name, count in dropped.items())
        say(f"  {record.documents['documents_kept']:,} of {record.documents['documents_in']:,} documents{told}")
    if record.metrics.get("tokens_added"):
        say(f"  {record.metrics['tokens_added']:.0f} tokens of the chat format were missing and are added")
    if kind == "model":
        say("  what it learnt from is not known here, and its lineage says so")
    for other in found.others:
        if other.declared is not None:
            say(f"  also declared otherwise: {other.artifact} {declared_sentence(other.declared)}")
    if found.left_out:
        shown = ", ".join(found.left_out[:5]) + (" …" if len(found.left_out) > 5 else "")
        say(f"  left out: {len(found.left_out):,} other files ({shown})")
    say(f"To use it: {_use(kind, record.output.digest)}")
