"""Drawings for people, as SVG and PNG with the same bytes every time. No window, no global state of pyplot."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Rows = Sequence[Mapping[str, Any]]  # {"step": int | None, "metrics": {name: value}}, as `read_metrics` gives them

STYLE = {
    "svg.hashsalt": "pedigree",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a97a5",
    "axes.labelcolor": "#3c4856",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e6ebf0",
    "axes.axisbelow": True,
    "xtick.color": "#5f6f80",
    "ytick.color": "#5f6f80",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
}
COLOURS = ("#6b4fbb", "#2a7f9e", "#c07a15", "#2e8b57", "#b4446c", "#7b8794", "#4169b0", "#8a6d3b")
KEPT_COLOUR = "#2a7f9e"
DROPPED_COLOURS = (
    *("#c9d3dc", "#e0b36a", "#cf8a8a", "#a9b99a", "#b7a6d6", "#8fb8c9", "#d8c9a0", "#9aa5b1"),
    *("#e3a6c0", "#8fae7c", "#a08a70", "#7f8fc4", "#d98e63", "#6fa8a0", "#b9b35f", "#75627f"),
)
PNG_DPI = 144
_NO_METADATA = {"Date": None, "Creator": None}


class Panel(NamedTuple):
    """One small drawing of curves: metric names (those absent are left out) under a title."""

    title: str
    metrics: tuple[str, ...]


PANELS: dict[str, tuple[Panel, ...]] = {
    "pretrain": (
        Panel("Loss (nats a token)", ("train/loss", "eval/loss")),
        Panel("Held-out bits per byte", ("eval/bits_per_byte",)),
        Panel("Learning rate", ("train/lr",)),
    ),
    "finetune": (
        Panel("Loss on answers (nats a token)", ("train/loss", "eval/loss")),
        Panel("Held-out chrF", ("eval/chrf",)),
        Panel("Learning rate", ("train/lr",)),
    ),
    "reward": (
        Panel("Pairwise loss", ("train/loss",)),
        Panel(
            "Held-out pairs in the right order",
            ("eval/pair_accuracy_model_model", "eval/pair_accuracy_human_model", "eval/pair_accuracy_length_only"),
        ),
        Panel("Training pairs in the right order", ("train/pair_accuracy",)),
    ),
    "ppo": (
        Panel("Reward model's score", ("ppo/reward", "ppo/heldout_reward")),
        Panel("KL to the fine-tuned model (nats an answer)", ("ppo/kl",)),
        Panel("Gold score", ("ppo/gold", "ppo/heldout_gold", "ppo/heldout_gold_greedy")),
        Panel("Answer length (tokens)", ("ppo/length",)),
        Panel("Repetition", ("ppo/repetition", "ppo/heldout_repetition_greedy")),
        Panel("Updates clipped (share)", ("ppo/clip_fraction",)),
    ),
}


class Estimate(NamedTuple):
    """A mean with its 95% interval, where it has one."""

    mean: float
    low: float | None = None
    high: float | None = None


class Funnel(NamedTuple):
    """What one data stage kept and dropped, in documents."""

    stage: str
    kept: int
    dropped: Mapping[str, int]


def write(figure: Figure, path: Path) -> None:
    """Writes `path`.svg and `path`.png, without time or version, so that equal drawings are equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        figure.savefig(path.with_name(f"{path.name}.svg"), metadata=_NO_METADATA)
        figure.savefig(path.with_name(f"{path.name}.png"), dpi=PNG_DPI, metadata={"Software": None})


def svg(figure: Figure) -> str:
    """The drawing as text of an SVG file."""
    target = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(target, format="svg", metadata=_NO_METADATA)
    return target.getvalue()


def has_curves(stage: str, rows: Rows) -> bool:
    """Whether there is anything to draw for this stage."""
    return bool(_drawable(stage, rows))


def curves(stage: str, rows: Rows) -> Figure:
    """Curves over steps, one panel for each question; ValueError where there are none (see `has_curves`)."""
    panels = _drawable(stage, rows)
    if not panels:
        raise ValueError(f"{stage} logged nothing over steps that could be drawn")
    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.7 * columns, 2.5 * lines)
        for number, (panel, series) in enumerate(panels):
            axes = figure.add_subplot(lines, columns, number + 1)
            for colour, (name, (steps, values)) in zip(COLOURS, series.items(), strict=False):
                mark = "o" if len(steps) < 30 else None
                axes.plot(steps, values, color=colour, lw=1.4, marker=mark, ms=2.5, label=_label(name))
            axes.set_title(panel.title)
            axes.set_xlabel("iteration" if stage == "ppo" else "step")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if len(series) > 1:
                axes.legend()
    return figure


def model_bars(models: Mapping[str, Mapping[str, Estimate]], titles: Mapping[str, str]) -> Figure:
    """A panel for each figure in `titles` (name → title), a bar for each model, with its 95% interval."""
    names = [name for name in titles if any(name in figures for figures in models.values())]
    if not names:
        raise ValueError("no model has any of the figures to draw")
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.75 * columns, 2.45 * lines)
        for number, name in enumerate(names):
            axes = figure.add_subplot(lines, columns, number + 1)
            _bars(axes, {model: figures[name] for model, figures in models.items() if name in figures})
            axes.set_title(titles[name])
    return figure


def calibration(bins: Sequence[Mapping[str, float]]) -> Figure:
    """How often the reward model is right, by how far apart it puts two answers; bins {"gap", "right", "pairs"}."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.6, 3.2)
        axes = figure.add_subplot()
        gaps, right = [b["gap"] for b in bins], [b["right"] for b in bins]
        most = max((b["pairs"] for b in bins), default=1)
        axes.axhline(0.5, color="#8a97a5", lw=1, ls="--", label="guessing")
        axes.plot(gaps, right, color=COLOURS[2], lw=1.2)
        axes.scatter(gaps, right, s=[15 + 50 * b["pairs"] / most for b in bins], color=COLOURS[2], zorder=3)
        axes.set_title("Reward model: the surer, the more often right?")
        axes.set_xlabel("difference between the two answers' rewards")
        axes.set_ylabel("share of pairs in the rater's order")
        axes.set_xlim(left=0)
        axes.set_ylim(min([0.4, *right]) - 0.03, 1.02)
        axes.legend(loc="lower right")
    return figure


def funnel(stages: Sequence[Funnel]) -> Figure:
    """Documents kept and dropped by reason, one bar a stage from top to bottom."""
    reasons = list(dict.fromkeys(reason for stage in stages for reason in sorted(stage.dropped)))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8.6, 1.3 + 0.48 * len(stages))
        axes = figure.add_subplot()
        places = range(len(stages))
        ends = [0] * len(stages)
        parts = [("kept", [stage.kept for stage in stages], KEPT_COLOUR)]
        for number, reason in enumerate(reasons):
            colour = DROPPED_COLOURS[number % len(DROPPED_COLOURS)]
            parts.append((reason.replace("_", " "), [stage.dropped.get(reason, 0) for stage in stages], colour))
        for label, counts, colour in parts:
            axes.barh(list(places), counts, left=ends, color=colour, height=0.62, label=label)
            ends = [end + count for end, count in zip(ends, counts, strict=True)]
        axes.set_yticks(list(places), [stage.stage for stage in stages])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("documents")
        axes.set_title("What became of the documents")
        axes.legend(ncols=2, loc="upper left", bbox_to_anchor=(1.0, 1.03))
    return figure


def cluster_sizes(sizes: Sequence[int]) -> Figure:
    """How many clusters of copies have how many documents, in classes that double: 2, 3–4, 5–8, …"""
    counts = Counter((size - 1).bit_length() for size in sizes)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(5.2, 3.0)
        axes = figure.add_subplot()
        classes = list(range(1, max(counts) + 1))
        heights = [counts[number] for number in classes]
        axes.bar(classes, heights, color=COLOURS[1], width=0.72)
        for number, height in zip(classes, heights, strict=True):
            axes.annotate(f"{height:,}", (number, height), (0, 2), textcoords="offset points", ha="center", fontsize=8)
        named = ["2", *(f"{2 ** (number - 1) + 1}–{2**number}" for number in classes[1:])]
        axes.set_xticks(classes, named)
        axes.set_yscale("symlog", linthresh=10)
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.16)
        axes.set_xlabel("documents in a cluster")
        axes.set_ylabel("clusters")
        axes.set_title("Copies: how large the clusters are")
    return figure


def bar_groups(panels: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """A panel for each title, in it a row for each name, and in the row a bar for each series."""
    rows = max(len(names) for names in panels.values())
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.4 * len(panels), 1.1 + 0.42 * rows)
        for number, (title, names) in enumerate(panels.items()):
            axes = figure.add_subplot(1, len(panels), number + 1)
            series = list(dict.fromkeys(name for bars in names.values() for name in bars))
            height = 0.72 / len(series)
            for place, name in enumerate(series):
                values = [bars.get(name, 0.0) for bars in names.values()]
                at = [row + (place - (len(series) - 1) / 2) * height for row in range(len(names))]
                axes.barh(at, values, color=COLOURS[place % len(COLOURS)], height=height, label=name)
                for where, value in zip(at, values, strict=True):
                    axes.annotate(f"{value:.3g}", (value, where), (2, 0), textcoords="offset points", va="center",
                                  fontsize=7)  # fmt: skip
            axes.set_yticks(range(len(names)), list(names))
            axes.invert_yaxis()
            axes.grid(axis="y", visible=False)
            axes.margins(x=0.15)
            axes.set_xlim(left=0)
            axes.set_title(title)
            if len(series) > 1:
                axes.legend(loc="best")
    return figure


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty drawing, in inches."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _bars(axes: Axes, estimates: Mapping[str, Estimate]) -> None:
    places = list(range(len(estimates)))
    means = [estimate.mean for estimate in estimates.values()]
    axes.bar(places, means, color=COLOURS[: len(means)], width=0.62)
    for place, estimate in zip(places, estimates.values(), strict=True):
        if estimate.low is not None and estimate.high is not None:
            axes.plot([place, place], [estimate.low, estimate.high], color="#1d2733", lw=1.3, solid_capstyle="butt")
        top = estimate.mean if estimate.high is None else max(estimate.mean, estimate.high)
        axes.annotate(
            f"{estimate.mean:.3g}", (place, max(top, 0)), (0, 2), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set_xticks(places, list(estimates))
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.16)
    if min(means) < 0:
        axes.axhline(0, color="#8a97a5", lw=0.8)


def _drawable(stage: str, rows: Rows) -> list[tuple[Panel, dict[str, tuple[list[int], list[float]]]]]:
    known: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        if row["step"] is not None:
            for name, value in row["metrics"].items():
                steps, values = known.setdefault(name, ([], []))
                steps.append(row["step"])
                values.append(value)
    known = {name: series for name, series in known.items() if len(series[0]) > 1}
    chosen = PANELS.get(stage) or tuple(Panel(_label(name), (name,)) for name in sorted(known)[:6])
    found = [(panel, {name: known[name] for name in panel.metrics if name in known}) for panel in chosen]
    return [(panel, series) for panel, series in found if series]


def _label(name: str) -> str:
    where, _, what = name.rpartition("/")
    told = what.replace("_", " ").replace("heldout", "held out:").replace("pair accuracy ", "")
    return f"training {told}" if where == "train" and told in ("loss",) else told
