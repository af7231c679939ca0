"""Which figure speaks for a stage, and how figures, times and states are written for people."""

from typing import Any

# The held-out figure that says best how a stage did; data stages say what they kept.
MAIN_FIGURES = {
    "pretrain": ("eval/bits_per_byte", "bits per byte"),
    "finetune": ("eval/chrf", "chrF"),
    "rank": ("rank/score", "mean score"),
    "reward": ("eval/pair_accuracy_model_model", "pair accuracy"),
    "ppo": ("eval/gold", "gold score"),
    "evaluate": ("eval/aligned/chrf_greedy", "greedy chrF"),
}
BASELINES = {
    "pretrain": ("eval/ngram_bits_per_byte", "3-gram"),
    "finetune": ("eval/chrf_pretrained", "pretrained"),
    "reward": ("eval/pair_accuracy_length_only", "length only"),
    "ppo": ("eval/gold_sft", "fine-tuned"),
    "evaluate": ("eval/finetuned/chrf_greedy", "fine-tuned"),
}


def main_figure(stage: str, metrics: dict[str, float]) -> str:
    """One line: the figure with its 95% interval, and the baseline it is to be compared with."""
    name, label = MAIN_FIGURES.get(stage, ("", ""))
    if name in metrics:
        text = f"{label} {metrics[name]:.3f}{_interval(name, metrics)}"
        baseline, its_label = BASELINES.get(stage, ("", ""))
        return f"{text}, {its_label} {metrics[baseline]:.3f}" if baseline in metrics else text
    if "documents_kept" in metrics:
        dropped = int(metrics.get("documents_dropped", 0))
        return f"{int(metrics['documents_kept']):,} documents kept, {dropped:,} dropped{_left_out(metrics)}"
    return f"{int(metrics['items']):,} files found{_left_out(metrics)}" if stage == "snapshot" and metrics else ""


def _left_out(metrics: dict[str, float]) -> str:
    """What could not be read, as quarantine.jsonl names it: `; in quarantine: 3 rows, 1 file`."""
    counted = [
        _counted(metrics.get("quarantined_rows", 0), "row"),
        _counted(metrics.get("quarantined_files", 0), "file"),
        _counted(metrics.get("quarantined", 0), "unreadable file"),
        _counted(metrics.get("files_left_out", 0), "file") + " of unknown format",
    ]
    told = ", ".join(one for one in counted if not one.startswith("0 "))
    return f"; in quarantine: {told}" if told else ""


def _counted(number: float, what: str) -> str:
    return f"{int(number):,} {what}{'' if number == 1 else 's'}"


def _interval(name: str, metrics: dict[str, float]) -> str:
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return "" if low is None or high is None else f" [{low:.3f}–{high:.3f}]"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def progress(entry: dict[str, Any]) -> str:
    """`step 30/600, loss 5.12, 9,300 tokens/s, 40 s left`."""
    reported = dict(entry.get("progress") or {})
    step, total, left = reported.pop("step", None), reported.pop("total", None), reported.pop("eta_seconds", None)
    if step is None:
        return ""
    parts = [f"{step:,.0f}/{total:,.0f}" if total else f"{step:,.0f}"]
    for name, value in reported.items():
        if name == "mfu":
            parts.append(f"{value:.0%} MFU")
        elif name.endswith("_per_second"):
            parts.append(f"{value:,.0f} {name.removesuffix('_per_second').replace('_', ' ')}/s")
        else:
            parts.append(f"{name.replace('_', ' ')} {value:.4g}")
    if left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)
