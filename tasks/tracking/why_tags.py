"""What a stage's run in MLflow says about why it ran, and about what people accepted or declared behind it."""

from collections.abc import Mapping
from typing import Any

from tasks.lineage.acceptance import accepted_behind
from tasks.lineage.ancestry import declared_behind
from tasks.lineage.cause import accepted_sentence, sentences
from tasks.lineage.declaration import declared_sentence
from tasks.lineage.record import Record
from tasks.lineage.store import Store


def why_tags(state: str, record: Mapping[str, Any]) -> dict[str, str]:
    """pedigree.why: what differed from the nearest earlier record. pedigree.accepted and pedigree.declared: of it and
    all it is made of."""
    known = Record.model_validate(record)
    why = f"cached: nothing differs from {known.key[:12]}" if state == "cached" else sentences(known.causes)
    accepted = "; ".join(f"{r.stage} {accepted_sentence(a)}" for r, a in accepted_behind(Store(), known))
    tags = {"pedigree.why": why, "pedigree.accepted": accepted, **declared_tags(known)}
    return {name: text for name, text in tags.items() if text}


def declared_tags(record: Record) -> dict[str, str]:
    """pedigree.declared: what was made elsewhere among the record and all it is made of; none if nothing was."""
    told = [f"{made.artifact} {declared_sentence(declared)}" for made, declared in declared_behind(Store(), record)]
    return {"pedigree.declared": "; ".join(told)} if told else {}
