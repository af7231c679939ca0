"""Rankings as a model reads them, and how often scores put their pairs in the right order."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from model.answers import EncodedAnswer, encode_answer
from model.bootstrap import bootstrap_interval
from model.preference import Pair, pairs_right, ranking_pairs
from model.tokenizer import Tokenizer


@dataclass(frozen=True)
class Ranking:
    """One prompt's answers as the model reads them."""

    prompt: str
    texts: list[str]
    rows: list[EncodedAnswer]
    human: list[bool]
    scores: list[float]  # the rater's
    pairs: list[Pair]

    def involves_human(self, pair: Pair) -> bool:
        return self.human[pair.better] or self.human[pair.worse]

    def gap(self, pair: Pair) -> float:
        return self.scores[pair.better] - self.scores[pair.worse]


def read_rankings(table: list[dict[str, Any]], tokenizer: Tokenizer, max_tokens: int) -> list[Ranking]:
    """Rankings of the rows of rankings.parquet. Raters that don't say whether an answer is finished mean it is."""
    rankings = []
    for row in table:
        answers = row["responses"]
        rows = [
            encode_answer(
                tokenizer, row["prompt"], answer["text"], finished=answer.get("finished", True), max_tokens=max_tokens
            )
            for answer in answers
        ]
        rankings.append(
            Ranking(
                prompt=row["prompt"],
                texts=[answer["text"] for answer in answers],
                rows=rows,
                human=[answer["author"] == "human" for answer in answers],
                scores=[answer["score"] for answer in answers],
                pairs=ranking_pairs([answer["rank"] for answer in answers]),
            )
        )
    return rankings


def _right_by_prompt(rankings: list[Ranking], scores: list[list[float]], *, human: bool) -> list[tuple[float, int]]:
    """(pairs right, pairs) of each ranking that has such pairs."""
    counted = []
    for ranking, values in zip(rankings, scores, strict=True):
        pairs = [pair for pair in ranking.pairs if ranking.involves_human(pair) == human]
        if pairs:
            counted.append((pairs_right(values, pairs), len(pairs)))
    return counted


def _with_interval(name: str, counted: list[tuple[float, int]], seed: int) -> dict[str, float]:
    """Share right with its bootstrap interval; prompts are resampled, since pairs of one prompt are not independent."""
    if not counted:
        return {}
    right, pairs = zip(*counted, strict=True)
    interval = bootstrap_interval(right, seed, weights=pairs)
    return interval.metrics(name)


def by_length(rankings: list[Ranking], sign: float) -> list[list[float]]:
    """Scores that know an answer's length in characters and nothing else."""
    return [[sign * len(text) for text in ranking.texts] for ranking in rankings]


def held_out_figures(
    scores: list[list[float]], train: list[Ranking], held_out: list[Ranking], seed: int
) -> dict[str, float]:
    """Held-out pair accuracy, with what length alone gets right: longer or shorter, whichever is better on `train`."""

    def share(counted: list[tuple[float, int]]) -> float:
        return sum(right for right, _ in counted) / max(1, sum(pairs for _, pairs in counted))

    sign = 1.0 if share(_right_by_prompt(train, by_length(train, 1.0), human=False)) >= 0.5 else -1.0
    length_only = _right_by_prompt(held_out, by_length(held_out, sign), human=False)
    gaps: dict[bool, list[float]] = {True: [], False: []}
    for ranking, values in zip(held_out, scores, strict=True):
        for pair in ranking.pairs:
            gaps[ranking.involves_human(pair)].append(values[pair.better] - values[pair.worse])
    model_model = _right_by_prompt(held_out, scores, human=False)
    found = {
        **_with_interval("eval/pair_accuracy_model_model", model_model, seed),
        **_with_interval("eval/pair_accuracy_human_model", _right_by_prompt(held_out, scores, human=True), seed),
        **_with_interval("eval/pair_accuracy_length_only", length_only, seed),
        "eval/length_only_prefers_longer": float(sign > 0),
        "eval/pairs_model_model": sum(pairs for _, pairs in model_model),
    }
    for human, name in ((False, "eval/margin_model_model"), (True, "eval/margin_human_model")):
        if gaps[human]:
            found[name] = float(np.mean(gaps[human]))
    return found
