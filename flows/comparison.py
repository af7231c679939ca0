"""Compares the held-out figures of the models before and after a retraining."""

from dataclasses import dataclass

from flows.latest import latest

COMPARED_STAGES = ("pretrain", "finetune", "reward", "ppo")
PREFIX = "eval/"
Figures = dict[str, dict[str, float]]  # stage → figure → value


@dataclass(frozen=True)
class Comparison:
    """Rows of (stage, figure, before, after); `before` is None for a figure that is new."""

    rows: tuple[tuple[str, str, float | None, float], ...]
    same_models: bool

    def tags(self) -> dict[str, str]:
        """For MLflow: a tag per figure, "before → after"."""
        tags = {
            f"compared.{stage}.{_plain(figure)}": _change(before, after) for stage, figure, before, after in self.rows
        }
        return {**tags, "compared.same_models": str(self.same_models).lower()}


@dataclass(frozen=True)
class State:
    """The latest models: what they are and how they do."""

    digests: dict[str, str]  # stage → digest of its model
    figures: Figures


def figures() -> State:
    """The latest model of each stage and its held-out figures, interval ends left out."""
    records = {stage: record for stage in COMPARED_STAGES if (record := latest(stage)) is not None}
    return State(
        digests={stage: record.output.digest for stage, record in records.items()},
        figures={stage: _held_out(record.metrics) for stage, record in records.items()},
    )


def compare(before: State, after: State) -> Comparison:
    rows = [
        (stage, figure, before.figures.get(stage, {}).get(figure), value)
        for stage, values in after.figures.items()
        for figure, value in values.items()
    ]
    return Comparison(tuple(rows), same_models=before.digests == after.digests)


def markdown(comparison: Comparison) -> str:
    """A page for Prefect's UI."""
    head = "# The new models against the last ones\n\n"
    if comparison.same_models:
        head += "Nothing changed: the sources, settings and code give the same models as before.\n\n"
    lines = ["| stage | held-out figure | before | after | change |", "|---|---|---|---|---|"]
    for stage, figure, before, after in comparison.rows:
        earlier = "–" if before is None else f"{before:.4f}"
        change = "new" if before is None else f"{after - before:+.4f}"
        lines.append(f"| {stage} | {_plain(figure)} | {earlier} | {after:.4f} | {change} |")
    return head + "\n".join(lines) + "\n"


def _held_out(metrics: dict[str, float]) -> dict[str, float]:
    return {
        name: value
        for name, value in sorted(metrics.items())
        if name.startswith(PREFIX) and not name.endswith(("_low", "_high"))
    }


def _plain(figure: str) -> str:
    return figure.removeprefix(PREFIX)


def _change(before: float | None, after: float) -> str:
    return f"{after:.6g} (new)" if before is None else f"{before:.6g} → {after:.6g}"
