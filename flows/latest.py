"""Finds what earlier flows made: the latest output of a stage, or the one whose digest a user names."""

from operator import itemgetter

from flows.errors import NothingFound
from tasks.lineage import journal
from tasks.lineage.headers import Header, headers
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.tracking.model_names import MODEL_NAMES

DONE = ("ran", "cached")
SHOWN = 5
MODEL_PREFIX = "pedigree-"
MODEL_STAGES = {name.removeprefix(MODEL_PREFIX): stage for stage, name in MODEL_NAMES.items()}


def latest(stage: str) -> Record | None:
    """The record that the most recent flow run met in this stage, made by it or found cached.

    Falls back on the newest record where no flow run tells.
    """
    entries = [flow["stages"].get(stage) for flow in journal.latest_flows().values()]
    done = [entry for entry in entries if entry and entry["state"] in DONE and entry.get("key")]
    store = Store()
    for entry in sorted(done, key=lambda entry: entry.get("ended") or "", reverse=True):
        if record := store.record(entry["key"]):
            return record
    made = [header for header in headers(store) if header.stage == stage and not header.superseded]
    newest = max(made, key=lambda header: header.created, default=None)
    return store.record(newest.key) if newest else None


def named(stage: str, digest: str | None, *others: str) -> Record:
    """The record of a stage whose output or key begins with `digest`; the latest for None. Raises NothingFound.

    others: stages whose outputs can be named instead.
    """
    if not digest:
        found = latest(stage)
        if found is None:
            raise NothingFound(f"No {stage} has been made yet. `pedigree run train` makes one.")
        return found
    wanted, store = digest.lower(), Store()
    made = [header for header in headers(store) if header.stage in (stage, *others)]
    matches = [header for header in made if _begins(header, wanted)]
    if not matches:
        newest = sorted({header.digest: header.created for header in made}.items(), key=itemgetter(1), reverse=True)
        known = ", ".join(other[:12] for other, _ in newest[:SHOWN])
        raise NothingFound(
            f"No output of {' or '.join((stage, *others))} has a digest beginning with {digest!r}. "
            + (f"The newest are {known}." if known else "None was made or adopted yet.")
        )
    if len({header.digest for header in matches}) > 1:
        raise NothingFound(f"Several outputs of {stage} have a digest beginning with {digest!r}; give more of it.")
    found = store.maker(max(matches, key=lambda header: (not header.superseded, header.created)).artifact)
    if found is None:
        raise NothingFound(f"The record of {stage} {digest!r} was removed while it was looked for.")
    return found


def _begins(header: Header, prefix: str) -> bool:
    return header.digest.startswith(prefix) or header.key.startswith(prefix)
