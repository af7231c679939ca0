"""A stage's page in the Prefect UI: what it made, from what, with which figures, and why it ran."""

from collections.abc import Iterable, Iterator

from tasks.lineage.ancestry import declared_behind
from tasks.lineage.cause import Cause, accepted_sentence, sentence
from tasks.lineage.declaration import declared_sentence
from tasks.lineage.execute import Outcome
from tasks.lineage.store import Store
from tasks.report.note import plain
from tasks.tracking.mirror import run_url


def stage_page(outcome: Outcome, mlflow_run_id: str | None) -> str:
    """Markdown: what was made, from what, with which figures, and where to read on."""
    record = outcome.record
    rows = {
        "result": "found in the store" if outcome.cached else f"made in {record.wall_seconds:.1f} s",
        "output": f"`{record.output.digest}`",
        "key": f"`{record.key}`",
        "size": f"{record.output.size:,} bytes in {len(record.output.files)} files",
        **{f"input {name}": f"`{artifact.digest}`" for name, artifact in record.inputs.items()},
        **{name: f"{value:,.6g}" for name, value in sorted(record.metrics.items())},
    }
    if record.accepted is not None:
        rows["accepted"] = accepted_sentence(record.accepted)
    for made, declared in declared_behind(Store(), record):
        rows[str(made.artifact)] = plain(declared_sentence(declared))
    links = [f"[MLflow run]({run_url(run)})" for run in [mlflow_run_id] if run]
    if outcome.cached and record.mlflow_run_id:
        links.append(f"[MLflow run that made it]({run_url(record.mlflow_run_id)})")
    table = [f"| {name} | {value} |" for name, value in rows.items()]
    why = [] if outcome.cached else ["", "## Why it ran", *_reasons(outcome.causes)]
    return "\n".join([f"# {record.stage}", "", " · ".join(links), "", "| | |", "|---|---|", *table, *why])


def _reasons(causes: Iterable[Cause]) -> Iterator[str]:
    """Markdown: what differed from the nearest earlier record, with what changed in the code."""
    for cause in causes:
        yield f"- {sentence(cause)}" + (f" ({cause.note})" if cause.note else "")
        if cause.diff:
            yield f"\n```diff\n{cause.diff}```\n"
