"""How figures are called and written wherever people read them."""

from collections.abc import Mapping
from typing import NamedTuple


class Headline(NamedTuple):
    """A figure that says at a glance how a stage went."""

    name: str
    label: str
    format: str


# Stage → the figures to show first, best first. A figure that a run lacks is passed over.
HEADLINES: dict[str, tuple[Headline, ...]] = {
    "snapshot": (Headline("items", "items", ",.0f"),),
    "collect": (Headline("documents_kept", "documents", ",.0f"),),
    "adopt_text": (Headline("documents_kept", "documents", ",.0f"),),
    "adopt_pairs": (Headline("documents_kept", "pairs", ",.0f"),),
    "adopt_model": (Headline("parameters", "parameters", ",.0f"),),
    "adopt_tokenizer": (Headline("vocabulary", "tokens", ",.0f"),),
    "clean": (Headline("documents_kept", "documents kept", ",.0f"), Headline("documents_dropped", "dropped", ",.0f")),
    "train_classifier": (
        Headline("held_out/area", "area under the ROC curve", ".3f"),
        Headline("held_out/precision", "precision", ".3f"),
    ),
    "deduplicate": (
        Headline("documents_kept", "documents kept", ",.0f"),
        Headline("documents_dropped", "duplicates", ",.0f"),
    ),
    "decontaminate": (
        Headline("documents_kept", "documents kept", ",.0f"),
        Headline("documents_dropped", "contaminated", ",.0f"),
    ),
    "tokenize": (Headline("train_tokens", "tokens", ",.0f"), Headline("documents_kept", "documents", ",.0f")),
    "mix": (Headline("train_tokens", "tokens", ",.0f"), Headline("documents_kept", "documents", ",.0f")),
    "pair": (Headline("pairs", "pairs", ",.0f"), Headline("documents_kept", "pairs", ",.0f")),
    "pretrain": (
        Headline("eval/bits_per_byte", "bits per byte", ".3f"),
        Headline("eval/ngram_bits_per_byte", "3-gram baseline", ".3f"),
    ),
    "finetune": (Headline("eval/chrf", "chrF", ".3f"), Headline("eval/chrf_pretrained", "chrF before", ".3f")),
    "rank": (Headline("rank/prompts", "prompts ranked", ",.0f"),),
    "reward": (
        Headline("eval/pair_accuracy_model_model", "model pairs right", ".3f"),
        Headline("eval/pair_accuracy_human_model", "human pairs right", ".3f"),
    ),
    "ppo": (Headline("eval/gold", "gold score", ".3f"), Headline("eval/gold_sft", "gold before PPO", ".3f")),
    "evaluate": (
        Headline("eval/aligned/gold_sampled", "gold score, aligned", ".3f"),
        Headline("eval/contaminated", "contaminated prompts", ",.0f"),
    ),
}


def headline(stage: str, metrics: Mapping[str, float]) -> list[str]:
    """Up to two short lines such as "bits per byte 1.682"."""
    lines = [
        f"{format(metrics[figure.name], figure.format)} {figure.label}"
        for figure in HEADLINES.get(stage, ())
        if figure.name in metrics
    ]
    if not lines:
        names = [name for name in metrics if not name.endswith(("_low", "_high"))]
        lines = [f"{number(metrics[name])} {name.rpartition('/')[2].replace('_', ' ')}" for name in names]
    return list(dict.fromkeys(lines))[:2]


def number(value: float) -> str:
    """Whole numbers with thousands separators, others with four significant digits."""
    if value != value:
        return "not a number"
    if abs(value) < 1e15 and value == int(value):
        return f"{int(value):,}"
    return f"{value:.4g}"


def interval(mean: float, low: float | None, high: float | None, decimals: int = 3) -> str:
    """`0.152 (0.148–0.156)`."""
    text = f"{mean:.{decimals}f}"
    if low is None or high is None:
        return text
    dash = "–" if low >= 0 else " to "
    return f"{text} ({low:.{decimals}f}{dash}{high:.{decimals}f})"
