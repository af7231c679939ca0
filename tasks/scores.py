"""Scores of the models that an evaluation compares: a value for each prompt, from which means and intervals come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.answers import is_finished
from model.bootstrap import bootstrap_interval
from model.transformer import Transformer
from tasks.assessment import Assessment, Assessor, Question, answer_questions, mean_by_question
from tasks.rankings import Ranking
from tasks.rater import words
from tasks.text.chrf import chrf_scores

Values = NDArray[np.float64]
Figure = dict[str, float]  # "mean", and "low" and "high" where there is an interval
FIGURES = ("chrf", "gold", "reward", "length", "finished", "repetition")  # each a number an answer
CALIBRATION_BINS = 8
MIN_PAIRS_A_BIN = 10


@dataclass(frozen=True)
class Answers:
    """Answers to all questions by one model in one way, `samples` to each, with a value an answer (N · samples,)."""

    samples: int
    texts: list[str]
    values: dict[str, Values]

    def by_question(self, name: str) -> Values:
        """The mean over a question's answers, (N,)."""
        return mean_by_question(self.values[name], self.samples)


def answer(
    model: Transformer,
    assessor: Assessor,
    questions: Sequence[Question],
    *,
    max_new_tokens: int,
    temperature: float,
    samples: int,
    seed: int,
    ends_with_document: bool = False,
) -> Answers:
    """Asks one model everything and scores what it says; temperature 0 is greedy.

    ends_with_document: <|endoftext|> ends an answer as well as <|im_end|> does."""
    responses = answer_questions(
        model,
        assessor.tokenizer,
        questions,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        samples=samples,
    )
    if ends_with_document:
        end, mark = assessor.tokenizer.endoftext_id, assessor.tokenizer.im_end_id
        responses = [[*ids[: ids.index(end)], mark] if end in ids else ids for ids in responses]
    repeated = [question for question in questions for _ in range(samples)]
    worth: Assessment = assessor.assess(repeated, responses)
    humans = [question.human for question in repeated]
    values = {
        "chrf": chrf_scores(worth.texts, humans, beta=assessor.rater.beta),
        "gold": worth.gold,
        "reward": worth.reward,
        "length": worth.length,
        "finished": np.array([is_finished(assessor.tokenizer, ids) for ids in responses], dtype=float),
        "repetition": worth.repetition,
    }
    return Answers(samples, worth.texts, values)


def by_question(greedy: Answers, sampled: Answers) -> dict[str, Values]:
    """Every figure of one model, a value for each question (N,), named as in `chrf_greedy`."""
    return {f"{name}_greedy": greedy.by_question(name) for name in FIGURES} | {
        f"{name}_sampled": sampled.by_question(name) for name in FIGURES
    }


def summarise(values: Mapping[str, Values], seed: int) -> dict[str, Figure]:
    """Means with 95% bootstrap intervals over questions."""
    return {name: estimate(each, seed) for name, each in values.items()}


def differences(later: Mapping[str, Values], earlier: Mapping[str, Values], seed: int) -> dict[str, Figure]:
    """Later − earlier on the same questions: the interval of the paired difference."""
    return {name: estimate(each - earlier[name], seed) for name, each in later.items()}


def estimate(values: Values, seed: int, weights: Values | None = None) -> Figure:
    """{"mean", "low", "high"}; with weights the ratio of sums."""
    return dict(zip(("mean", "low", "high"), bootstrap_interval(values, seed, weights=weights), strict=True))


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Share of distinct n-grams of words among all of them (distinct-n, Li et al. 2016); 0 where there is none."""
    grams = [tuple(found[i : i + n]) for found in map(words, texts) for i in range(len(found) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def calibration(rankings: Sequence[Ranking], scores: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Model-vs-model pairs in bins by how far apart the reward model puts them: mean gap, share right, pairs.

    Bins hold equal numbers of pairs, at least ten where there are that many; fewer pairs make fewer bins."""
    gaps = np.array(
        [
            values[pair.better] - values[pair.worse]
            for ranking, values in zip(rankings, scores, strict=True)
            for pair in ranking.pairs
            if not ranking.involves_human(pair)
        ]
    )
    if not len(gaps):
        return []
    order = np.argsort(np.abs(gaps), kind="stable")
    bins = np.array_split(gaps[order], max(1, min(CALIBRATION_BINS, len(gaps) // MIN_PAIRS_A_BIN)))
    return [{"gap": float(np.abs(part).mean()), "right": float((part > 0).mean()), "pairs": len(part)} for part in bins]


def metrics(result: dict[str, Any]) -> dict[str, float]:
    """The figures of an evaluation's metrics.json by metric name: eval/<model>/<figure>, with …_low and …_high."""
    named: dict[str, float] = {}
    groups: dict[str, dict[str, Figure]] = {f"eval/{name}/": figures for name, figures in result["models"].items()}
    groups |= {f"eval/{name}/": figures for name, figures in result["differences"].items()}
    groups["eval/"] = result["reward_model"]
    for prefix, figures in groups.items():
        for name, figure in figures.items():
            named[f"{prefix}{name}"] = figure["mean"]
            named |= {f"{prefix}{name}_{end}": figure[end] for end in ("low", "high") if end in figure}
    contamination = result["contamination"]
    return {
        **named,
        "eval/contaminated": contamination["contaminated"],
        "eval/contaminated_text": contamination["in_text"],
        "eval/contaminated_pairs": contamination["in_pairs"],
        **{f"eval/{name}": count for name, count in result["counts"].items()},
    }
