"""Registering what was made elsewhere as an artifact with a declared origin, so that lineage doesn't begin with a lie.

    adopt(Store(), Asked(kind="model", path=Path("SmolLM2-135M"), origin="hf://HuggingFaceTB/SmolLM2-135M",
                         because="a better start than ours"))

The work is a stage like any other (key, lock, record, ledger), outside of flows; its record holds the declaration. The
same files under the same declaration are found in the store; under another one they are refused, unless it is said that
the earlier one was wrong. Then both stand, and each output says its own.
"""

import getpass
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.adopt import model, pairs, text, tokenizer
from tasks.adopt.given import Given, Report, quiet
from tasks.alone import run_alone
from tasks.forget.exclusions import current
from tasks.lineage.artifact import Artifact
from tasks.lineage.config import Resources
from tasks.lineage.declaration import Declaration, Statement, checked_line, checked_origin, declared_sentence
from tasks.lineage.errors import AdoptionRefused, DataError
from tasks.lineage.headers import headers
from tasks.lineage.lock import locked
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.stage import Stage

logger = logging.getLogger("pedigree.adopt")


@dataclass(frozen=True)
class Kind:
    """What can be adopted: how it is looked for, and the stage that takes it in."""

    stage: Stage
    look: Callable[[Path, Report], Given]
    documents: bool = False


KINDS = {
    "model": Kind(model.adopt_model, model.look),
    "text": Kind(text.adopt_text, text.look, documents=True),
    "pairs": Kind(pairs.adopt_pairs, pairs.look, documents=True),
    "tokenizer": Kind(tokenizer.adopt_tokenizer, tokenizer.look),
}


@dataclass(frozen=True)
class Asked:
    """What a person asks for. settings: of the kind's stage, such as `text_field`. correct: the earlier declaration of
    these files was wrong."""

    kind: str
    path: Path
    origin: str
    because: str
    license: str | None = None
    made_from: tuple[str, ...] = ()
    by: str | None = None
    correct: bool = False
    settings: dict[str, Any] | None = None


@dataclass(frozen=True)
class Adopted:
    """The record; whether it was in the store already; what was left out; other declarations of the same files."""

    record: Record
    cached: bool
    left_out: tuple[str, ...]
    others: tuple[Record, ...]
    mlflow_run_id: str | None


def adopt(store: Store, asked: Asked, report: Report = quiet) -> Adopted:
    """Take something in, or find it there. Raises ConfigError and DataError for what cannot be taken, AdoptionRefused
    where the same files were declared to be something else."""
    kind = KINDS[asked.kind]
    origin = checked_origin(asked.origin)
    if kind.documents:
        text.check_origin(origin)
    declared = {
        "because": checked_line(asked.because, "the reason (--because)"),
        "by": checked_line(asked.by or getpass.getuser(), "who declares it (--by)"),
    }
    given = kind.look(asked.path, report)
    _check_names(given)
    statement = {
        "given": given.digest,
        "origin": origin,
        "license": checked_line(asked.license, "the licence") if asked.license is not None else None,
        "made_from": tuple(checked_line(entry, "--made-from") for entry in asked.made_from),
    }
    config = kind.stage.config_type(**statement, **(asked.settings or {}))
    with locked(store.lock_path(f"adopt.{given.digest[:16]}"), f"adopt {asked.kind}", logger):
        earlier = declarations(store, kind.stage.name, given.digest)
        declaration = _standing(earlier, Statement(**statement), declared, asked)
        record, cached, run_id = _taken_in(store, kind, config, declaration, asked.path, report)
    others = tuple(other for other in earlier if other.declared and not other.declared.says_the_same(declaration))
    return Adopted(record, cached, given.left_out, others, run_id)


def _check_names(given: Given) -> None:
    """Raises DataError for a file whose name is not UTF-8; Python hands the other bytes on as halves of characters."""
    for file in given.files:
        try:
            file.name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"the name of {str(file.path)!a} is not UTF-8, so no address can hold it: rename the file."
            ) from None


def declarations(store: Store, stage: str, given: str) -> list[Record]:
    """The records of what was adopted of these files, the newest first."""
    of_stage = [header for header in headers(store) if header.stage == stage]
    newest = sorted(of_stage, key=lambda header: header.created, reverse=True)
    found = (store.maker(header.artifact) for header in newest)
    return [record for record in found if record is not None and record.declared and record.declared.given == given]


def _standing(earlier: list[Record], statement: Statement, declared: dict[str, str], asked: Asked) -> Declaration:
    """The declaration to write: an earlier one that says the same, with who said so first; else the new one."""
    for record in earlier:
        if record.declared is not None and record.declared.says_the_same(statement):
            return record.declared
    if earlier and not asked.correct:
        assert earlier[0].declared is not None
        raise AdoptionRefused(
            f"{asked.path} was adopted before as {earlier[0].artifact}, {declared_sentence(earlier[0].declared)}. A "
            "declaration is never changed. If that one was wrong, say so with --correct: the new one then stands "
            "beside it, and what was made under the old one goes on to say the old."
        )
    return Declaration(
        **statement.model_dump(),
        **declared,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        corrects=earlier[0].key if earlier else None,
    )


def _taken_in(
    store: Store, kind: Kind, config: Any, declaration: Declaration, path: Path, report: Report
) -> tuple[Record, bool, str | None]:
    """The record, whether it was there already, and the run in MLflow, if it answers."""
    exclusions = current() if kind.documents else None
    arguments: dict[str, Artifact] = {"exclusions": exclusions} if exclusions else {}
    resources = Resources(root=path.expanduser().absolute())
    outcome, run_id = run_alone(kind.stage, arguments, config, resources, report, "adopting", declaration, store)
    return outcome.record, outcome.cached, run_id
