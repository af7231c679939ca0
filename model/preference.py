"""Learning from rankings: which pairs a ranking holds, the pairwise loss on them, and how often it is right."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt, by their positions in the ranking; `better` has the smaller rank."""

    better: int
    worse: int


def ranking_pairs(ranks: Sequence[int]) -> list[Pair]:
    """All pairs of one ranking (1 = best), in order of position; ties are left out.

    K responses without ties give K·(K−1)/2 pairs (Ouyang et al. 2022, §3.5)."""
    pairs = []
    for i in range(len(ranks)):
        for j in range(i + 1, len(ranks)):
            if ranks[i] < ranks[j]:
                pairs.append(Pair(i, j))
            elif ranks[j] < ranks[i]:
                pairs.append(Pair(j, i))
    return pairs


def pairwise_loss(
    scores: Tensor, better: Tensor, worse: Tensor, weight: Tensor, margin: Tensor | None = None
) -> Tensor:
    """Bradley–Terry loss: weighted mean of −log σ(s_better − s_worse − margin).

    `scores` (N,) holds one number a response, so that each response is encoded once however many pairs it is
    in; `better`, `worse` (P,) index into it; `weight` (P,) is normalised to sum 1 here. Ouyang et al. 2022,
    eq. 1; the margin is that of Touvron et al. 2023 (Llama 2, eq. 2). No pair at all gives 0."""
    difference = scores[better] - scores[worse]
    if margin is not None:
        difference = difference - margin
    total = weight.sum()
    if weight.numel() == 0 or float(total) == 0.0:
        return scores.sum() * 0.0
    return -(weight * F.logsigmoid(difference)).sum() / total


def pairs_right(scores: Sequence[float], pairs: Sequence[Pair]) -> float:
    """How many pairs `scores` order rightly; equal scores count half."""
    right = 0.0
    for pair in pairs:
        difference = scores[pair.better] - scores[pair.worse]
        right += 1.0 if difference > 0 else 0.5 if difference == 0 else 0.0
    return right


def normalisation(scores: Tensor) -> tuple[float, float]:
    """(mean, standard deviation) of scores (N,), in float64; a deviation of 0 is given as 1.

    Rewards are shifted and scaled to mean 0 and deviation 1 over the SFT model's responses before PPO, as in
    Ziegler et al. 2019 (§2.1) and Stiennon et al. 2020."""
    values = scores.double()
    deviation = float(torch.sqrt(((values - values.mean()) ** 2).mean()))
    return float(values.mean()), deviation if deviation > 0 else 1.0


def normalised_head(weight: Tensor, states: Tensor) -> Tensor:
    """A head (1, D) whose scores of `states` (N, D) have mean 0 and deviation 1, and the order `weight` (1, D) gives.

    The head of `LlamaForSequenceClassification` has no bias to take the mean up, so it is taken off along the
    direction u that comes nearest to u·h = 1 on all states (ridge regression in float64). Mean and deviation are
    exact; only the order of near-equal scores can move, as far as u·h is not quite constant. ValueError for fewer
    than two states.
    """
    if states.shape[0] < 2:
        raise ValueError("a reward is normalised over at least two responses; rank more prompts")
    h = states.double()  # (N, D)
    w = weight.double().squeeze(0)  # (D,)
    gram = h.T @ h / h.shape[0]
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(h.shape[1], dtype=h.dtype, device=h.device)
    constant = torch.linalg.solve(gram + ridge, h.mean(dim=0))  # (D,)
    w = w - constant * ((h @ w).mean() / (h @ constant).mean())
    _, deviation = normalisation(h @ w)
    return (w / deviation).to(weight.dtype).unsqueeze(0)
