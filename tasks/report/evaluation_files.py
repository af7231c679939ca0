"""The files of an evaluation that people look at, written from its figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.report import plots, report_page
from tasks.report.plots import Estimate, Funnel
from tasks.report.report_page import MODEL_NAMES, Picture

BARS = {
    "bits_per_byte": "Bits per byte (less is better)",
    "chrf_greedy": "chrF, greedy",
    "gold_sampled": "Gold score, sampled",
    "gold_greedy": "Gold score, greedy",
    "reward_sampled": "Reward, sampled",
    "reward_greedy": "Reward, greedy",
    "length_sampled": "Length in tokens, sampled",
    "repetition_greedy": "Repetition, greedy",
}
PLOT_TITLES = {
    "models": "Held-out figures of the three models; the lines are 95% intervals.",
    "calibration": "Held-out pairs of model answers, by how far apart the reward model puts them.",
    "funnel": "Documents that each data stage kept and dropped.",
}


def write(
    output: Path,
    result: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    ledgers: Mapping[str, Path],
    inputs: Mapping[str, str],
) -> None:
    """Writes metrics.json, samples.jsonl, plots/ and report.html. ledgers: data stage → its ledger.parquet, which may
    be missing; inputs: name → digest. The bytes depend on the arguments alone."""
    funnel = [funnel_of(stage, path) for stage, path in ledgers.items() if path.is_file()]
    (output / "metrics.json").write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (output / "inputs.json").write_text(json.dumps(dict(inputs), indent=2) + "\n", encoding="utf-8")
    with (output / "samples.jsonl").open("w", encoding="utf-8") as file:
        for row in samples:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    bars = {
        MODEL_NAMES[model].removesuffix(" (PPO)"): {
            name: Estimate(figure["mean"], figure.get("low"), figure.get("high")) for name, figure in figures.items()
        }
        for model, figures in result["models"].items()
    }
    plots.write(plots.model_bars(bars, BARS), output / "plots" / "models")
    if result["calibration"]:
        plots.write(plots.calibration(result["calibration"]), output / "plots" / "calibration")
    if funnel:
        plots.write(plots.funnel(funnel), output / "plots" / "funnel")
    (output / "report.html").write_text(page(output, funnel), encoding="utf-8")


def page(evaluation: Path, funnel: Sequence[Funnel], more: Sequence[Picture] = ()) -> str:
    """The report on a finished evaluation's folder, with a longer funnel and more pictures if there are any."""
    pictures = [
        Picture(title, (evaluation / "plots" / f"{name}.svg").read_text(encoding="utf-8"))
        for name, title in PLOT_TITLES.items()
        if (evaluation / "plots" / f"{name}.svg").is_file() and not (name == "funnel" and more)
    ]
    lines = (evaluation / "samples.jsonl").read_text(encoding="utf-8").split("\n")
    return report_page.render(
        json.loads((evaluation / "metrics.json").read_text(encoding="utf-8")),
        [json.loads(line) for line in lines if line],
        [*pictures, *more],
        funnel,
        json.loads((evaluation / "inputs.json").read_text(encoding="utf-8")),
    )


def funnel_of(stage: str, ledger: Path) -> Funnel:
    """What a ledger adds up to."""
    reasons = pq.read_table(ledger, columns=["reason"])["reason"].value_counts().to_pylist()
    counts = {row["values"]: row["counts"] for row in reasons}
    return Funnel(stage, counts.pop(None, 0), dict(sorted(counts.items())))
