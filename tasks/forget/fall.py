"""What falls with forgotten documents: the outputs that hold them, learnt from them or inherit from those."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.forget.texts import shown
from tasks.impact.census import Said, StoreView
from tasks.impact.taint import DROPPED, HOLDS, INHERITS, MEASURED, RELATIONS, TAINTED, TRAINED, Taint
from tasks.lineage.headers import Header
from tasks.lineage.sorted_ids import short_id
from tasks.lineage.store import Store
from tasks.tracking.model_names import MODEL_KINDS
from tasks.tracking.registry import Version, versions_of

TOUCHED = (HOLDS, TRAINED, INHERITS, MEASURED)
"""Relations of an output that may still hold the text: one that was measured on it shows it in its samples."""


@dataclass(frozen=True)
class Fallen:
    """An output that falls, by its newest record. relation: the strongest that any of the documents has to it."""

    header: Header
    relation: str
    stored: bool

    @property
    def is_model(self) -> bool:
        """Whether it is a model that learnt from the documents, directly or through another."""
        return self.header.kind in MODEL_KINDS and self.relation in TAINTED

    def answer(self) -> dict[str, Any]:
        """As JSON."""
        header = self.header
        return {
            "stage": header.stage,
            "kind": header.kind,
            "digest": header.digest,
            "key": header.key,
            "relation": self.relation,
            "stored": self.stored,
        }


@dataclass(frozen=True)
class Fall:
    """All that falls with some documents. said: by digest, what the outputs say that name any of them."""

    view: StoreView
    said: dict[str, Said]
    outputs: list[Fallen]

    @property
    def models(self) -> list[Fallen]:
        return [output for output in self.outputs if output.is_model]


def fall(store: Store, ids: Collection[str]) -> Fall:
    """What falls with the documents and pairs of these ids, in an order in which nothing stands before its origin.

    An output with several records falls if it fell with every one of them: what was made again without the documents,
    to the same bytes, is clean.
    """
    view = StoreView(store)
    shorts = np.array(sorted({short_id(name) for name in ids}), np.uint64)
    said = view.census(shorts)
    taint = Taint(view, said)
    worst: dict[str, tuple[Header, str]] = {}
    for node in taint.nodes:
        digest = node.header.digest
        relation = node.relation
        assert relation is not None
        if relation == DROPPED and not _shows(store, digest, ids):
            continue
        strongest = min(relation, worst[digest][1] if digest in worst else relation, key=RELATIONS.index)
        worst[digest] = (node.header, strongest)
    return Fall(view, said, [
        Fallen(header, relation, digest in view.present)
        for digest, (header, relation) in worst.items()
        if relation == DROPPED or all(_reached(taint, made) for made in view.graph.made_by(digest))
    ])  # fmt: skip


def _reached(taint: Taint, header: Header) -> bool:
    node = taint.node(header.artifact)
    return node is not None and node.relation in TOUCHED


def _shows(store: Store, digest: str, ids: Collection[str]) -> bool:
    """Whether an output that dropped the documents shows an excerpt of one."""
    return any(name in ids for name in shown(store.object_path(digest)))


def models_of(fallen: list[Fallen]) -> tuple[list[dict[str, Any]], str]:
    """The registered versions of the models among these, one entry without a version where there is none; and whether
    the registry was asked."""
    models = [output for output in fallen if output.is_model]
    versions, asked = versions_of([output.header for output in models])
    return [_model(output, version) for output, held in zip(models, versions, strict=True) for version in held], asked


def _model(output: Fallen, version: Version) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "aliases": version.aliases,
        "stage": output.header.stage,
        "digest": output.header.digest,
        "relation": output.relation,
    }
