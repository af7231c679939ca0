"""Taking an existing output for a key whose code or libraries changed: a person's word, kept for ever after.

The engine cannot know that a refactoring or an upgrade changes nothing that matters; a person may. What is accepted is
a record of its own, which names the person, the reason and the record that it stands on, and which is found, verified
and walked like any other. It never stands for other inputs or settings: those say what the result *is*.
"""

import contextlib
import getpass
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from tasks.lineage import sources
from tasks.lineage.ancestry import ancestors
from tasks.lineage.cause import Acceptance, sentences
from tasks.lineage.errors import AcceptanceRefused
from tasks.lineage.execute import git_commit
from tasks.lineage.explain import compare
from tasks.lineage.files import write_atomically
from tasks.lineage.headers import Header
from tasks.lineage.lock import locked
from tasks.lineage.past import Past
from tasks.lineage.recipe import Use
from tasks.lineage.record import Record
from tasks.lineage.sides import Sides, differences
from tasks.lineage.store import Store

REMEDY = "Only changes of code and of library versions can be accepted. Run the flow."


def accept(use: Use, because: str, store: Store, by: str | None = None) -> Record:
    """Give `use` the output of the nearest record from which only code or libraries differ; writes its record.

    by: who says so; default: the user of this process. Raises AcceptanceRefused, with the reason.
    """
    name = use.recipe.name
    if not because.strip():
        raise AcceptanceRefused(f"{name}: say why its output may be taken; the reason is shown ever after.")
    if use.recipe.always:
        raise AcceptanceRefused(f"{name} looks at the outside world in every run; there is nothing to accept.")
    with locked(store.lock_path(use.key), name, logging.getLogger("pedigree.accept")):
        known, problems = store.find(use.key)
        if known is not None:
            state = f"is damaged ({'; '.join(problems)}). Run the flow" if problems else "is in the store already"
            raise AcceptanceRefused(f"{name}: what it makes with this code {state}; there is nothing to accept.")
        standing, changed = _standing(use, Past(store))
        if store.problems(standing.output):
            raise AcceptanceRefused(f"{name}: the output of {standing.key[:12]} is damaged; it can stand for nothing.")
        acceptance = Acceptance(
            by=by or getpass.getuser(),
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            because=because.strip(),
            stands_on=standing.key,
            changed=changed,
        )
        record = standing.model_copy(
            update={
                "key": use.key,
                "inputs": dict(use.inputs),
                "code": use.recipe.code.definitions,
                "code_digest": use.recipe.code.digest,
                "versions": use.recipe.versions,
                "wall_seconds": 0.0,
                "cpu_seconds": 0.0,
                "energy_wh": 0.0,
                "git_commit": git_commit(),
                "created": acceptance.at,
                "causes": [],
                "compared_with": standing.key,
                "accepted": acceptance,
            }
        )
        sources.keep(store, use.recipe.code)
        with contextlib.suppress(FileNotFoundError):  # for the curves on its pages
            content = store.metrics_path(standing.key).read_bytes()
            write_atomically(store.metrics_path(use.key), content, durable=False)
        store.write_record(record)
        return record


def _standing(use: Use, past: Past) -> tuple[Record, tuple[str, ...]]:
    """The record to stand on, and "kind name" of what differs from it. Raises AcceptanceRefused."""
    now = Sides.of_use(use)
    identity = now.identity

    def acceptable(header: Header) -> bool:
        same = {name: artifact.digest for name, artifact in header.inputs.items()} == now.inputs
        return same and header.identity.config == identity.config and header.identity != identity

    record = past.nearest(use.recipe.name, now, acceptable)
    if record is None:
        _, causes = compare(use, past)
        raise AcceptanceRefused(f"{use.recipe.name}: {sentences(causes)}. {REMEDY}")
    return record, tuple(f"{cause.kind} {cause.name}" for cause in differences(Sides.of_record(record), now))


def accepted_behind(store: Store, record: Record) -> Iterator[tuple[Record, Acceptance]]:
    """The accepted records among `record`, all that it was made from, and what those stand on."""
    seen: set[str] = set()
    waiting = list(ancestors(store, record)["nodes"].values())
    while waiting:
        current = waiting.pop(0)
        if current.accepted is None or current.key in seen:
            continue
        seen.add(current.key)
        yield current, current.accepted
        standing = store.record(current.accepted.stands_on)
        waiting += [] if standing is None else [standing]
