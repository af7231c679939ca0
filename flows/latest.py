"""Finds what earlier flows made: the latest output of a stage, or the one whose digest a user names."""

from flows.errors import NothingFound
from tasks.lineage import journal
from tasks.lineage.record import Record
from tasks.lineage.store import Store

DONE = ("ran", "cached")
MODEL_STAGES = {"pretrained": "pretrain", "finetuned": "finetune", "reward": "reward", "aligned": "ppo"}
MODEL_PREFIX = "pedigree-"


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
    return max((r for r in store.records() if r.stage == stage), key=lambda record: record.created, default=None)


def named(stage: str, digest: str | None) -> Record:
    """The record of a stage whose output or key begins with `digest`; the latest for None. Raises NothingFound."""
    if not digest:
        found = latest(stage)
        if found is None:
            raise NothingFound(f"No {stage} has been made yet. `pedigree run train` makes one.")
        return found
    wanted = digest.lower()
    matches = [r for r in Store().records() if r.stage == stage and _begins(r, wanted)]
    if not matches:
        raise NothingFound(
            f"No output of {stage} has a digest beginning with {digest!r}. `pedigree status` lists some."
        )
    if len({record.output.digest for record in matches}) > 1:
        raise NothingFound(f"Several outputs of {stage} have a digest beginning with {digest!r}; give more of it.")
    return max(matches, key=lambda record: record.created)


def find(target: str) -> Record:
    """The record a person means by a registered model's name, a stage's name, or the beginning of a digest or key."""
    name = target.removeprefix(MODEL_PREFIX)
    store = Store()
    stages = sorted({record.stage for record in store.records()})
    stage = MODEL_STAGES.get(name, name)
    if stage in stages:
        return named(stage, None)
    matches = [record for record in store.records() if len(target) >= 4 and _begins(record, target.lower())]
    if not matches:
        models = ", ".join(f"{MODEL_PREFIX}{model}" for model in MODEL_STAGES)
        made = ", ".join(stages) or "none yet"
        raise NothingFound(
            f"Nothing is called {target!r}. Give a model ({models}), a stage (made so far: {made}), or four or more "
            "characters of a digest."
        )
    if len({record.output.digest for record in matches}) > 1:
        raise NothingFound(f"{target!r} begins several digests; give more of it.")
    return max(matches, key=lambda record: record.created)


def _begins(record: Record, prefix: str) -> bool:
    return record.output.digest.startswith(prefix) or record.key.startswith(prefix)
