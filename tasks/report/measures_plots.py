"""Drawings of what `clean` measured, with the limits of its rules, and of what a trained classifier is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tasks.report.plots import COLOURS, STYLE, new_figure

COLUMNS = 4
LIMIT_COLOUR = "#b4446c"


def histograms(kind: str, measures: Mapping[str, Mapping[str, Any]], documents: int) -> Figure:
    """A panel for each rule: how many documents of a kind were measured to be what, and the rule's limit.

    measures: rule → {"edges", "counts", "limit"}. Both axes show log(1 + x) of what is counted. The panels are laid out
    by hand and have few marks: matplotlib's own layout takes minutes for so many.
    """
    lines = -(-len(measures) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.75 * COLUMNS, 0.6 + 1.7 * lines, layout=None)
        top = 1 - 0.75 / (0.6 + 1.7 * lines)
        figure.subplots_adjust(left=0.05, right=0.99, bottom=0.18 / lines, top=top, wspace=0.25, hspace=0.6)
        figure.suptitle(f"{kind}: {documents:,} documents", x=0.01, y=0.995, ha="left", fontweight="bold")
        for number, (rule, told) in enumerate(measures.items()):
            axes = figure.add_subplot(lines, COLUMNS, number + 1)
            edges, counts = np.array(told["edges"], float), np.array(told["counts"])
            is_share = len(edges) < 2 or edges[1] < 1
            scaled = edges if is_share else np.log10(1 + edges)
            heights = np.log10(1 + counts)
            axes.fill_between(scaled, np.append(heights, heights[-1]), step="post", color=COLOURS[1], lw=0)
            if told["limit"] is not None:
                axes.axvline(told["limit"] if is_share else np.log10(1 + told["limit"]), color=LIMIT_COLOUR, lw=1.4)
            if not is_share:
                axes.set_xticks(*_decades(max(scaled[-1], 1)))
            axes.set_yticks(*_decades(max(heights.max(), 1)))
            axes.set_ylim(bottom=0)
            axes.set_title(rule.replace("_", " "))
            axes.tick_params(labelsize=7)
    return figure


def _decades(most: float) -> tuple[list[float], list[str]]:
    """Marks at 0, 10, 100 … on an axis of log10(1 + x), at most four above 0."""
    powers = range(1, int(most) + 1, max(1, round(most / 4)))
    return [0, *(np.log10(1 + 10**power) for power in powers)], ["0", *(f"{10**power:,}" for power in powers)]


def classifier(description: Mapping[str, Any]) -> Figure:
    """Precision and recall over the threshold, and the scores of both samples; all on texts held out."""
    held_out, scores = description["held_out"], description["scores"]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8.6, 3.2)
        left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
        for name, colour in (("precision", COLOURS[0]), ("recall", COLOURS[1])):
            left.plot(held_out["thresholds"], held_out[name], color=colour, lw=1.4, label=name)
        left.set_title(f"Held out: area under the ROC curve {held_out['area']:.3f}")
        left.set_xlabel("threshold")
        left.set_ylim(0, 1.02)
        _bars(right, scores["first"], COLOURS[3], "first sample")
        _bars(right, scores["second"], COLOURS[2], "second sample")
        right.set_title("Scores of the texts held out")
        right.set_xlabel("score")
        right.set_ylabel("texts")
        for axes in (left, right):
            axes.set_xlim(0, 1)
            axes.axvline(description["threshold"], color=LIMIT_COLOUR, lw=1.2, ls="--", label="threshold chosen")
            axes.legend(loc="lower center")
    return figure


def _bars(axes: Any, counts: Sequence[int], colour: str, label: str) -> None:
    edges = np.linspace(0, 1, len(counts) + 1)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colour, alpha=0.6, label=label)
