"""The classifiers that a corpus was cleaned with: what they learned from, and what forgetting makes of them."""

from typing import Any

from tasks.forget.fall import Fall
from tasks.lineage.artifact import Artifact
from tasks.lineage.record import Record
from tasks.lineage.store import Store

ROLES = ("quality", "undesirable")
"""Inputs of `clean`, and settings that name a classifier."""

Used = dict[str, Artifact]
"""Role → classifier."""


def classifiers_of(cleaned: Record | None) -> Used:
    """The classifiers that a record of `clean` took."""
    inputs = cleaned.inputs if cleaned else {}
    return {role: inputs[role] for role in ROLES if role in inputs}


def samples_of(store: Store, used: Used) -> dict[str, Artifact]:
    """What the classifiers were trained on, each by what it is the sample of."""
    found: dict[str, Artifact] = {}
    for role, classifier in used.items():
        trained = store.maker(classifier)
        found |= {f"{role}, {name} sample": given for name, given in (trained.inputs if trained else {}).items()}
    return found


def foreseen(used: Used, fallen: Fall) -> list[dict[str, Any]]:
    """As docs/schemas/forget-plan.json says it: all are trained anew; one that learned from the documents changes."""
    relations = _relations(fallen)
    return [
        {
            "setting": role,
            "digest": artifact.digest,
            "relation": relations.get(artifact.digest),
            "changes": artifact.digest in relations,
        }
        for role, artifact in used.items()
    ]


def replaced(before: Used, after: Used, fallen: Fall) -> list[dict[str, Any]]:
    """As docs/schemas/forget.json says it: what takes the place of what."""
    relations = _relations(fallen)
    rows = []
    for role in ROLES:
        old, new = (used[role].digest if role in used else None for used in (before, after))
        if old or new:
            state = "unchanged" if old == new else "made anew" if new else "no longer used"
            relation = relations.get(old) if old else None
            rows.append({"setting": role, "before": old, "relation": relation, "after": new, "state": state})
    return rows


def _relations(fallen: Fall) -> dict[str, str]:
    return {output.header.digest: output.relation for output in fallen.outputs}
