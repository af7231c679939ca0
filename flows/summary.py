"""What `pedigree run` ends with: the table, the models' answers side by side, and the addresses to open."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.commands.base import printable
from flows.figures import duration, main_figure
from tasks.lineage.home import home
from tasks.tracking.server import experiment_url, run_url

ANSWERS = ("human", "pretrained", "finetuned", "aligned")
HEADINGS = {"human": "a person", "pretrained": "pretrained", "finetuned": "fine-tuned", "aligned": "PPO"}
SHOWN_PROMPTS = 4
SHOWN_CHARACTERS = 200


def print_summary(console: Console, flow: dict[str, Any], prefect_page: str, mlflow_page: str) -> None:
    """flow: the journal's entry of a finished flow run."""
    console.print(stage_table(flow, full_links=not console.is_terminal))
    rows = answers(flow)
    if rows:
        console.print(answer_table(rows))
    cached = sum(entry["state"] == "cached" for entry in flow["stages"].values())
    console.print(f"{cached} of {len(flow['stages'])} stages were cached.", highlight=False)
    overview = run_url(flow.get("mlflow_run_id")) or experiment_url()
    for label, address in (
        ("Prefect, this run", flow.get("prefect_url") or prefect_page),
        ("MLflow, this run", overview or mlflow_page),
        ("Prefect", prefect_page),
        ("MLflow", mlflow_page),
    ):
        console.print(f"{label + ':':<19}{address}", soft_wrap=True, highlight=False)
    console.print("The servers stay up; `pedigree down` (or `make down`) ends them.", highlight=False)


def stage_table(flow: dict[str, Any], *, full_links: bool = False) -> Table:
    """A row per stage. In a terminal the link to MLflow is behind the run's short id; elsewhere it is written out."""
    table = Table(title=f"{flow['flow']}: {flow['state']}", title_justify="left")
    for column in ("stage", "state", "time", "held-out figure", "MLflow"):
        table.add_column(column, overflow="fold")
    for name, entry in flow["stages"].items():
        page = run_url(entry.get("mlflow_run_id"))
        link = page if full_links else f"[link={page}]{page.rsplit('/', 1)[-1][:8]}[/link]" if page else ""
        figure = main_figure(name, entry.get("metrics") or {})
        table.add_row(name, entry["state"], duration(entry.get("seconds")), figure, link)
    return table


def answers(flow: dict[str, Any]) -> list[dict[str, str]]:
    """The first rows of what `evaluate` let the models answer; empty when it did not run or kept none."""
    digest = flow["stages"].get("evaluate", {}).get("output")
    path = home() / "objects" / str(digest) / "samples.jsonl"
    if not digest or not path.is_file():
        return []
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(SHOWN_PROMPTS), strict=False)]
    return [{name: str(value) for name, value in row.items()} for row in rows]


def answer_table(rows: list[dict[str, str]]) -> Table:
    """The same prompts, answered by a person and by each model."""
    table = Table(title="The same prompts, answered by each model", title_justify="left", show_lines=True)
    table.add_column("prompt", overflow="fold")
    for name in ANSWERS:
        table.add_column(HEADINGS[name], overflow="fold")
    for row in rows:
        table.add_row(*(_short(row.get(name, "")) for name in ("prompt", *ANSWERS)))
    return table


def _short(text: str) -> Text:
    """Printable, on one line, and without rich's markup being read into it."""
    flat = printable(" ".join(text.split()))
    return Text(flat if len(flat) <= SHOWN_CHARACTERS else flat[: SHOWN_CHARACTERS - 1] + "…")
