"""What the figures of an evaluation say in plain words, good or bad."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Verdict = Literal["yes", "no", "unclear"]


class Claim(NamedTuple):
    """A question that the course set out to answer, and what the figures answer."""

    question: str
    verdict: Verdict
    because: str


class _Difference(NamedTuple):
    """A paired difference to look at: (later model − earlier model) of a figure."""

    question: str
    pair: str
    figure: str
    label: str
    better: Literal["higher", "lower"]
    decimals: int


_DIFFERENCES = (
    _Difference(
        "Does fine-tuning teach the model to answer?",
        "finetuned-pretrained",
        "chrf_greedy",
        "chrF, greedy",
        "higher",
        3,
    ),
    _Difference(
        "Does PPO raise the reward model's score with sampled answers?",
        "aligned-finetuned",
        "reward_sampled",
        "reward, sampled",
        "higher",
        2,
    ),
    _Difference(
        "Does PPO raise the reward model's score with greedy answers?",
        "aligned-finetuned",
        "reward_greedy",
        "reward, greedy",
        "higher",
        2,
    ),
    _Difference(
        "Does PPO raise the gold score with sampled answers?",
        "aligned-finetuned",
        "gold_sampled",
        "gold, sampled",
        "higher",
        3,
    ),
    _Difference(
        "Does PPO raise the gold score with greedy answers?",
        "aligned-finetuned",
        "gold_greedy",
        "gold, greedy",
        "higher",
        3,
    ),
)
_PRICES = (
    ("length_sampled", "Are answers no longer than before PPO?", "tokens an answer, sampled", 1),
    ("repetition_greedy", "Is there no more repetition than before PPO?", "repeated word pairs, greedy", 3),
)


def claims(result: Mapping[str, Any]) -> list[Claim]:
    """The claims that the figures in an evaluation's metrics.json can decide.

    "yes" and "no" need a 95% interval that leaves 0 out; else it is "unclear".
    """
    differences = result["differences"]
    found = _pretraining(result.get("baseline", {}))
    found += [
        _improvement(item, differences[item.pair][item.figure])
        for item in _DIFFERENCES
        if item.figure in differences.get(item.pair, {})
    ]
    after_ppo = differences.get("aligned-finetuned", {})
    found += [
        _price(question, label, after_ppo[figure], decimals)
        for figure, question, label, decimals in _PRICES
        if figure in after_ppo
    ]
    found += _reward_model(result.get("reward_model", {}))
    return found


def negatives(found: Sequence[Claim]) -> list[Claim]:
    """What did not come out."""
    return [claim for claim in found if claim.verdict != "yes"]


def signed(estimate: Mapping[str, float], decimals: int) -> str:
    """`+0.012 (+0.004 to +0.020)`."""
    mean, low, high = (f"{estimate[name]:+.{decimals}f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})".replace("-", "−")


def _pretraining(baseline: Mapping[str, Mapping[str, float]]) -> list[Claim]:
    saved = baseline.get("bits_saved_per_byte")
    if not saved:
        return []
    verdict: Verdict = "yes" if saved["low"] > 0 else "no" if saved["high"] < 0 else "unclear"
    because = f"bits saved a byte: {signed(saved, 3)}"
    return [Claim("Does pretraining beat a 3-gram model of the same tokens?", verdict, because)]


def _improvement(item: _Difference, estimate: Mapping[str, float]) -> Claim:
    sign = 1 if item.better == "higher" else -1
    low, high = sorted((sign * estimate["low"], sign * estimate["high"]))
    verdict: Verdict = "yes" if low > 0 else "no" if high < 0 else "unclear"
    return Claim(item.question, verdict, f"{item.label}: {signed(estimate, item.decimals)}")


def _price(question: str, label: str, estimate: Mapping[str, float], decimals: int) -> Claim:
    verdict: Verdict = "yes" if estimate["high"] <= 0 else "no" if estimate["low"] > 0 else "unclear"
    if estimate["mean"] <= 0:
        verdict = "yes"
    return Claim(question, verdict, f"{label}: {signed(estimate, decimals)}")


def _reward_model(figures: Mapping[str, Mapping[str, float]]) -> list[Claim]:
    ours, length = figures.get("pair_accuracy_model_model"), figures.get("pair_accuracy_length_only")
    if not ours or not length:
        return []
    verdict: Verdict = "yes" if ours["low"] > length["high"] else "no" if ours["high"] < length["low"] else "unclear"
    because = (
        f"{ours['mean']:.3f} ({ours['low']:.3f}–{ours['high']:.3f}) of model pairs right; "
        f"length alone {length['mean']:.3f} ({length['low']:.3f}–{length['high']:.3f})"
    )
    return [Claim("Does the reward model know more than how long an answer is?", verdict, because)]
