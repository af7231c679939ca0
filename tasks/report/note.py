"""The text at the head of a run's page in MLflow: what this is, what it was made from, and links to the other pages."""

from collections.abc import Callable, Mapping
from typing import Any

CLEANING_PAGE = "cleaning.html"
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>()#+!|"})


def note(
    entry: Mapping[str, Any], run_url: Callable[[str | None], str], makers: Mapping[str, str | None] | None = None
) -> str:
    """Markdown for one mirrored flow run or stage; `entry` has the fields of `tasks.tracking.pending.Entry`.

    makers: name of an input → MLflow run that made it, where that is known.
    """
    if entry["role"] == "flow":
        lines = [f"Run of the flow **{plain(entry['name'])}**; its stages are the runs below it."]
    else:
        lines = [_opening(entry, run_url)]
    lines += [_prefect(entry["prefect"])]
    record = entry.get("record")
    if record:
        output = record["output"]
        lines.append(f"Made: {plain(output['kind'])} `{output['digest']}`, {len(output['files'])} files.")
        lines.append(_cost(record))
    if entry.get("state") == "ran" and entry["name"] == "clean" and run_url(entry.get("run_id")):
        page = f"{run_url(entry['run_id'])}/artifacts/{CLEANING_PAGE}"
        lines.append(f"[What each rule dropped, with examples and measurements]({page}).")
    if entry.get("inputs"):
        lines.append("Made from:")
        lines += [
            f"- {plain(name)}: {plain(artifact['kind'])} `{artifact['digest']}`"
            + _link(run_url((makers or {}).get(name)))
            for name, artifact in entry["inputs"].items()
        ]
    if entry.get("error"):
        lines.append(f"It failed: {plain(str(entry['error']))[:2000]}")
    return "\n\n".join(line for line in lines if line).replace("\n\n- ", "\n- ")


def _link(url: str) -> str:
    return f" of [this run]({url})" if url else ""


def plain(text: str) -> str:
    """Text that Markdown shows as it stands, on one line."""
    return " ".join(text.split()).translate(_MARKDOWN)


def _opening(entry: Mapping[str, Any], run_url: Callable[[str | None], str]) -> str:
    stage = f"Stage **{plain(entry['name'])}**"
    if entry["state"] != "cached":
        return f"{stage}."
    record = entry.get("record") or {}
    worker = record.get("mlflow_run_id")
    url = run_url(worker)
    when = f" on {str(record['created'])[:16].replace('T', ' ')} UTC" if record.get("created") else ""
    work = f"[the run that did the work]({url})" if url else f"run `{worker}`" if worker else "an earlier run"
    return f"{stage}: **cached**. Nothing had changed, so the output was taken from {work}{when}."


def _prefect(prefect: Mapping[str, str]) -> str:
    links = []
    if prefect.get("flow_run_url"):
        links.append(f"[flow run]({prefect['flow_run_url']})")
    if prefect.get("task_run_url"):
        links.append(f"[task run with its logs]({prefect['task_run_url']})")
    return f"In Prefect: {', '.join(links)}." if links else ""


def _cost(record: Mapping[str, Any]) -> str:
    parts = [f"{record['wall_seconds']:.1f} s of work", f"{record['cpu_seconds']:.1f} s of processor time"]
    if record.get("energy_wh") is not None:
        parts.append(f"about {record['energy_wh']:.2f} Wh")
    return ", ".join(parts) + "."
