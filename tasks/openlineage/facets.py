"""The parts of OpenLineage events, as the specification names them: https://openlineage.io/docs/spec/facets/

Facets of our own begin with `pedigree_`; docs/schemas/openlineage.json describes them, and what of the published ones
is used here.
"""

import sys
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.lineage.execute import git_commit
from tasks.lineage.recipe import Recipe

SPEC = "https://openlineage.io/spec"
SCHEMA_URL = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
PUBLISHED = {
    "parent": "1-2-0/ParentRunFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
    "documentation": "1-1-0/DocumentationJobFacet",
    "sourceCodeLocation": "1-1-0/SourceCodeLocationJobFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "dataSource": "1-0-1/DatasourceDatasetFacet",
    "schema": "1-2-0/SchemaDatasetFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet",
    "inputStatistics": "1-0-0/InputStatisticsInputDatasetFacet",
}
"""Facet → version and name of its schema."""

TRACE_CHARACTERS = 20_000

Facets = dict[str, dict[str, Any]]


@cache
def producer() -> str:
    """Who says it. A URN, since the program has no address of its own."""
    return f"urn:pedigree:{library_version('pedigree')}"


@cache
def library_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a copy of the source
        return "unknown"


def facet(name: str, /, **fields: Any) -> Facets:
    """One facet under its name, fields that are None left out."""
    published = PUBLISHED.get(name)
    if published is not None:
        number, _, title = published.partition("/")
        schema = f"{SPEC}/facets/{number}/{title}.json#/$defs/{title}"
    else:
        schema = f"{producer()}:schemas:openlineage.json#/$defs/{name}"
    known = {field: value for field, value in fields.items() if value is not None}
    return {name: {"_producer": producer(), "_schemaURL": schema, **known}}


def parent(namespace: str, flow: str, flow_run_id: str) -> Facets:
    """The flow run that a stage belongs to; no run is above it."""
    above = {"run": {"runId": flow_run_id}, "job": {"namespace": namespace, "name": flow}}
    return facet("parent", **above, root=above)


def engine(in_prefect: bool) -> Facets:
    """What carried the work out."""
    name = "prefect" if in_prefect else "pedigree"
    return facet(
        "processing_engine", name=name, version=library_version(name),
        openlineageAdapterVersion=library_version("pedigree"),
    )  # fmt: skip


def error_message(error: BaseException | str) -> Facets:
    """What went wrong, with the end of the traceback."""
    if isinstance(error, str):
        return facet("errorMessage", message=error, programmingLanguage="python")
    trace = "".join(traceback.format_exception(error))[-TRACE_CHARACTERS:]
    message = str(error) or type(error).__name__
    return facet("errorMessage", message=message, programmingLanguage="python", stackTrace=trace)


def job_facets(recipe: Recipe) -> Facets:
    """What a stage is: its kind of job, its docstring, and where its code lies."""
    described = (recipe.function.__doc__ or "").strip().partition("\n\n")[0]
    code = Path(recipe.function.__code__.co_filename).resolve()
    found = job_type("TASK")
    if described:
        found |= facet("documentation", description=" ".join(described.split()), contentType="text/plain")
    return found | facet(
        "sourceCodeLocation", type="git", url=code.as_uri(), path=f"{recipe.function.__module__}:{recipe.name}",
        version=git_commit(),
    )  # fmt: skip


def job_type(kind: str) -> Facets:
    return facet("jobType", processingType="BATCH", integration="PEDIGREE", jobType=kind)


def parquet_schema(path: Path) -> Facets:
    """The columns of a Parquet file; nothing where pyarrow is not loaded, since loading it takes longer than a stage
    may wait."""
    if "pyarrow" not in sys.modules:
        return {}
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    fields = [
        {"name": field.name, "type": str(field.type), "ordinal_position": place}
        for place, field in enumerate(schema, start=1)
    ]
    return facet("schema", fields=fields)


def event(
    kind: str, time: str, run_id: str, run: Facets, job: Mapping[str, Any],
    inputs: list[dict[str, Any]] | None = None, outputs: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A run event. kind: START, RUNNING, COMPLETE, FAIL, ABORT or OTHER. job: {"namespace", "name", "facets"}."""
    return {
        "eventType": kind,
        "eventTime": time,
        "producer": producer(),
        "schemaURL": SCHEMA_URL,
        "run": {"runId": run_id, "facets": run},
        "job": dict(job),
        "inputs": inputs or [],
        "outputs": outputs or [],
    }
