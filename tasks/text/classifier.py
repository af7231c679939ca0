"""A text classifier that learns from two samples in seconds and judges tens of megabytes a second.

Logistic regression over hashed words, signs and pairs of neighbours (as Joulin et al. 2016, without the hidden layer;
Weinberger et al. 2009 for the hashing). A text's features are the mean over its terms, so that length does not count.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from tasks.lineage.errors import DataError
from tasks.text.shingles import hash_runs
from tasks.text.spans import SPACE, WORD, TextBatch

WEIGHTS, DESCRIPTION = "classifier.safetensors", "classifier.json"
GRADIENT_FLOOR = 1e-8


@dataclass(frozen=True)
class Terms:
    """Hashed terms of a batch end to end, (T,) in 0 … 2^bits − 1; each text's begin at `offsets` (N + 1,)."""

    ids: np.ndarray
    offsets: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Terms of each text, (N,)."""
        return np.diff(self.offsets)


def terms(column: pa.Array, bits: int) -> Terms:
    """Words and signs, each alone and with the one behind it. Case makes no difference."""
    batch = TextBatch(pc.utf8_lower(column))
    classes = batch.classes
    words = batch.runs((classes & SPACE) == 0, (classes & (SPACE | WORD)) == 0)
    texts = words.documents
    hashes = batch.hashes(words)
    pairs = hash_runs(hashes, 2) if len(hashes) > 1 else np.zeros(0, np.uint64)
    inside = texts[:-1] == texts[1:]
    counts = np.bincount(texts, minlength=len(batch))
    per_text = counts + np.maximum(counts - 1, 0)
    offsets = np.concatenate(([0], np.cumsum(per_text)))
    ids = np.empty(offsets[-1], np.uint64)
    begins = np.concatenate(([0], np.cumsum(counts)))[:-1]
    place = np.arange(len(hashes)) - begins[texts] + offsets[texts]
    ids[place] = hashes
    ids[(place + counts[texts])[:-1][inside] if len(place) else place] = pairs[inside]
    return Terms((ids >> np.uint64(64 - bits)).astype(np.int64), offsets)


def matrix(found: Terms, bits: int) -> csr_matrix:
    """Mean terms of each text, (N, 2^bits); repeats stand beside each other, and multiplication adds them."""
    shares = np.repeat(1 / np.maximum(found.counts, 1), found.counts)
    return csr_matrix((shares, found.ids, found.offsets), shape=(len(found.counts), 1 << bits))


def fit(inputs: csr_matrix, labels: np.ndarray, iterations: int, decay: float, rate: float = 1.0) -> np.ndarray:
    """Weights and, behind them, the bias, (2^bits + 1,), by AdaGrad (Duchi et al. 2011) over all texts at a time.

    labels: 1 or 0, (N,). Both classes weigh the same, however many texts they have. decay: of the squared weights.
    The same inputs give the same bits.
    """
    balance = np.where(labels == 1, 0.5 / max(labels.sum(), 1), 0.5 / max((1 - labels).sum(), 1))
    transposed = inputs.T.tocsr()
    weights, squares = np.zeros(inputs.shape[1] + 1), np.full(inputs.shape[1] + 1, GRADIENT_FLOOR)
    for _ in range(iterations):
        errors = (sigmoid(inputs @ weights[:-1] + weights[-1]) - labels) * balance
        gradient = np.append(transposed @ errors + decay * weights[:-1], errors.sum())
        squares += gradient**2
        weights -= rate * gradient / np.sqrt(squares)
    return weights


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * values))


@dataclass(frozen=True)
class Curve:
    """Precision and recall of the first class at thresholds in rising order, and the area under the ROC curve.

    The area is the chance that a text of the first class has a higher score than one of the other (Hanley & McNeil
    1982); equal scores count half.
    """

    thresholds: list[float]
    precision: list[float]
    recall: list[float]
    area: float


def curve(scores: np.ndarray, labels: np.ndarray, points: int = 101) -> Curve:
    """How well scores (N,) tell labels (N,), 1 or 0, apart; both labels must occur."""
    thresholds = np.unique(np.round(np.quantile(scores, np.linspace(0, 1, points)), 6))
    good, bad = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    true = len(good) - np.searchsorted(good, thresholds)
    false = len(bad) - np.searchsorted(bad, thresholds)
    chosen = true + false
    precision, recall = np.where(chosen > 0, true / np.maximum(chosen, 1), 1), true / len(good)
    below = (np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")) / 2
    area = float(below.mean() / len(bad))
    rounded = [np.round(values, 6).tolist() for values in (thresholds, precision, recall)]
    return Curve(rounded[0], rounded[1], rounded[2], round(area, 6))


def best_threshold(found: Curve) -> tuple[float, float, float]:
    """The threshold with the largest F1, its precision and its recall; of equals the lowest threshold."""
    precision, recall = np.array(found.precision), np.array(found.recall)
    place = int(np.argmax(2 * precision * recall / np.maximum(precision + recall, 1e-12)))
    return found.thresholds[place], found.precision[place], found.recall[place]


@dataclass(frozen=True)
class Classifier:
    """What was learned, and what it is worth: threshold, precision, recall and curve on texts held out."""

    weights: np.ndarray
    bits: int
    threshold: float
    precision: float
    recall: float
    held_out: Curve

    def scores(self, column: pa.Array) -> np.ndarray:
        """Probability that each text is of the first class, (N,); both classes count as equally frequent."""
        found = terms(column, self.bits)
        filled = np.flatnonzero(found.counts)
        sums = np.zeros(len(column))
        if len(filled):
            sums[filled] = np.add.reduceat(self.weights[found.ids].astype(np.float64), found.offsets[filled])
        return sigmoid(sums / np.maximum(found.counts, 1) + float(self.weights[-1]))

    def write(self, directory: Path, **more: Any) -> None:
        """Write weights and description; `more` goes into the latter."""
        save_file({"weights": self.weights.astype(np.float32)}, directory / WEIGHTS)
        told = {name: getattr(self, name) for name in ("bits", "threshold", "precision", "recall")}
        text = json.dumps({**told, "held_out": asdict(self.held_out), **more}, indent=1, sort_keys=True)
        (directory / DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> Classifier:
        """Read what `write` wrote. Raises DataError for an artifact that is no classifier."""
        if not (directory / DESCRIPTION).is_file():
            raise DataError(f"{directory.name[:12]} is no classifier: `pedigree classifier` trains one.")
        told = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
        weights = load_file(directory / WEIGHTS)["weights"]
        figures = {name: told[name] for name in ("bits", "threshold", "precision", "recall")}
        return cls(weights=weights, held_out=Curve(**told["held_out"]), **figures)
