"""Artifacts and the outside world as OpenLineage's data sets.

An artifact is called after the stage that made it and what it is (`tokenize.tokens`), so that the graph of jobs stays
the same from run to run; its digest is the data set's version.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from tasks.lineage.artifact import Artifact
from tasks.lineage.declaration import Declaration
from tasks.lineage.record import Output, Record
from tasks.lineage.store import Store
from tasks.openlineage.facets import Facets, facet, parquet_schema

Dataset = dict[str, Any]

BESIDE = frozenset({"ledger.parquet", "index.parquet"})  # tables about the data, not of the data


def inputs_of(namespace: str, inputs: Mapping[str, Artifact]) -> list[Dataset]:
    """The input artifacts, each once."""
    found = {artifact.digest: artifact for artifact in inputs.values()}
    return [_input(namespace, artifact) for artifact in found.values()]


@lru_cache(maxsize=256)
def _input(namespace: str, artifact: Artifact) -> Dataset:
    record = Store().maker(artifact)
    if record is None:
        return {"namespace": namespace, "name": f"unknown.{artifact.kind}", "facets": _version(artifact.digest)}
    counted = facet("inputStatistics", **_statistics(record))
    return {**_named(namespace, record.stage, record.output), "inputFacets": counted}


def output_of(namespace: str, record: Record) -> Dataset:
    """What a stage made, with its counts and the columns of its largest table."""
    dataset = _named(namespace, record.stage, record.output)
    tables = [file for file in record.output.files if file.path.endswith(".parquet")]
    tables = [file for file in tables if file.path not in BESIDE] or tables
    if tables:
        largest = max(tables, key=lambda file: file.size)
        dataset["facets"] |= parquet_schema(record.artifact.path / largest.path)
    if record.declared is not None:
        dataset["facets"] |= facet("pedigree_declared", **record.declared.model_dump(mode="json"))
    dataset["outputFacets"] = facet("outputStatistics", **_statistics(record))
    if record.documents:
        dropped = {
            name.removeprefix("dropped/"): int(count)
            for name, count in record.metrics.items()
            if name.startswith("dropped/")
        }
        dataset["outputFacets"] |= facet("pedigree_documents", **record.documents, dropped=dropped)
    return dataset


def outside(config: Mapping[str, Any]) -> Iterator[Dataset]:
    """What a stage's settings name of the world outside the store: the sources of `snapshot`."""
    for source in config.get("sources", ()):
        if source["kind"] == "packages":
            yield {"namespace": "pypi", "name": "installed packages"}
        else:
            place = {"files": "file", "huggingface": "hf"}[source["kind"]]
            yield {"namespace": place, "name": source["path"]}


def declared_origin(declared: Declaration) -> Dataset:
    """Where something was made that was adopted."""
    parts = urlsplit(declared.origin)
    namespace = f"{parts.scheme}://{parts.netloc}" if parts.netloc else parts.scheme
    rest = declared.origin.removeprefix(namespace).lstrip(":/")
    return {
        "namespace": namespace,
        "name": rest or declared.origin,
        "facets": facet("pedigree_declared", **declared.model_dump(mode="json")),
    }


def _named(namespace: str, stage: str, output: Output) -> Dataset:
    facets: Facets = _version(output.digest)
    facets |= facet("dataSource", name="pedigree", uri=Store().object_path(output.digest).absolute().as_uri())
    return {"namespace": namespace, "name": f"{stage}.{output.kind}", "facets": facets}


def _version(digest: str) -> Facets:
    return facet("version", datasetVersion=digest)


def _statistics(record: Record) -> dict[str, int | None]:
    documents = record.documents or {}
    return {
        "rowCount": documents.get("documents_kept"),
        "size": record.output.size,
        "fileCount": len(record.output.files),
    }
