"""The classifiers that `clean` takes, trained anew wherever something was forgotten that they may have learned from.

Settings name a classifier by its digest, for good. Once there is an exclusion list, the course draws that classifier's
samples again without what the list names and trains on them; where nothing of a sample was forgotten, the same
classifier comes out and `clean` finds its work done.
"""

from flows.latest import named
from flows.settings import Classifiers
from tasks.forget.cleaned_with import ROLES
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import StoreError
from tasks.lineage.graph import Graph
from tasks.lineage.headers import Header, headers
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.sample import SampleConfig, sample
from tasks.stage import Resources
from tasks.train_classifier import TrainClassifierConfig, train_classifier


def classifiers(settings: Classifiers, exclusions: Artifact | None, resources: Resources) -> dict[str, Artifact | None]:
    """Role → the classifier to clean with; None where the settings name none. Raises what `check_classifiers` does."""
    chosen = {role: _named(getattr(settings, role)) for role in ROLES}
    return {
        role: None
        if record is None
        else record.artifact
        if exclusions is None
        else _without(record, exclusions, resources)
        for role, record in chosen.items()
    }


def check_classifiers(settings: Classifiers) -> None:
    """Raises NothingFound for a classifier that was never trained, StoreError where one could not be trained again."""
    for role in ROLES:
        if (record := _named(getattr(settings, role))) is not None:
            _samples(record)


def _named(digest: str | None) -> Record | None:
    return named("train_classifier", digest) if digest else None


def _without(trained: Record, exclusions: Artifact, resources: Resources) -> Artifact:
    """The classifier trained without what is forgotten, on what is left of its samples."""
    drawn = {name: _drawn(given, exclusions, resources) for name, given in _samples(trained).items()}
    known = {name: value for name, value in trained.config.items() if name in TrainClassifierConfig.model_fields}
    return train_classifier(**drawn, config=TrainClassifierConfig(**known), resources=resources)


def _drawn(given: Header, exclusions: Artifact, resources: Resources) -> Artifact:
    before = given.inputs.get("exclusions") if given.stage == sample.name else None
    if before is not None and before.digest == exclusions.digest:
        return given.artifact
    return sample(corpus=given.artifact, exclusions=exclusions, config=SampleConfig(), resources=resources)


def _samples(trained: Record) -> dict[str, Header]:
    """What it was trained on, or where that was purged, what was drawn from it since without what was forgotten."""
    store = Store()
    graph = Graph(headers(store))
    found = {name: _whole(store, graph, artifact) for name, artifact in trained.inputs.items()}
    for name, header in found.items():
        if header is None:
            raise StoreError(
                f"the settings name the classifier {trained.output.digest[:12]}, which has to be trained without what "
                f"is forgotten, and its {name} sample {trained.inputs[name].digest[:12]} is not whole in the store any "
                "more. Train one on other samples (`pedigree classifier`) and name it with --set "
                "classifiers.quality=DIGEST (or undesirable); or go without: --set classifiers.quality=null."
            )
    return {name: header for name, header in found.items() if header is not None}


def _whole(store: Store, graph: Graph, artifact: Artifact) -> Header | None:
    """It, if it is whole; else what was last drawn from it and is."""
    start = graph.maker(artifact)
    waiting = [] if start is None else [start]
    drawn: list[Header] = []
    for header in waiting:  # grows
        drawn.append(header)
        waiting += [child for child in graph.children(header) if child.stage == sample.name]
    for header in sorted(drawn, key=lambda header: (header is start, header.created), reverse=True):
        record = store.maker(header.artifact)
        if record is not None and not store.problems(record.output):
            return header
    return None
