"""Trains a classifier of texts from two samples, for `clean` to keep what is like one and drop what is like the other.

    pedigree classifier --first DIGEST --second DIGEST

The texts are taken as `clean` would make them. A part of both samples, told by a hash of each text, is held out; on it
stand the figures, and on it the threshold is chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pydantic import Field

from tasks.clean_config import CleanConfig
from tasks.cleaner import Cleaner
from tasks.lineage.errors import DataError
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage
from tasks.text.classifier import Classifier, best_threshold, curve, fit, matrix, terms
from tasks.text.shards import read_corpus

FEWEST = 20  # texts of each sample held out, below which the figures say nothing
TEXT_CHARS = 10_000  # read of each text
CURVE_POINTS = 201


class TrainClassifierConfig(StageConfig):
    """Logistic regression over hashed words and pairs of words."""

    held_out: float = Field(0.2, gt=0, lt=1, title="Held out", description="share of the texts")
    bits: int = Field(18, ge=10, le=24, title="Bits of a hash", description="the model has 2^bits weights")
    iterations: int = Field(200, ge=1, le=10_000, title="Iterations")
    rate: float = Field(3.0, gt=0, title="Learning rate", description="of AdaGrad")
    decay: float = Field(1e-8, ge=0, title="Weight decay")


@stage(
    output="classifier",
    libraries=("ftfy", "numpy", "phonenumbers", "pyarrow", "resiliparse", "safetensors", "scipy", "xxhash"),
)
def train_classifier(
    run: StageRun, first: Artifact, second: Artifact, config: TrainClassifierConfig, resources: Resources
) -> None:
    """Write classifier.safetensors and classifier.json.

    first: a sample (sample.py) of texts that score high; second: of texts that score low. Raises DataError where there
    are too few.
    """
    samples = [_texts(artifact) for artifact in (first, second)]
    shared = set(samples[0].to_pylist()) & set(samples[1].to_pylist())
    samples = [sample.filter(pc.invert(pc.is_in(sample, pa.array(shared, sample.type)))) for sample in samples]
    texts = pa.concat_arrays(samples)
    labels = np.repeat([1, 0], [len(sample) for sample in samples])
    held_out = np.array([_place(text) < config.held_out for text in texts.to_pylist()], bool)
    for label, name in ((1, "first"), (0, "second")):
        if (count := int((held_out & (labels == label)).sum())) < FEWEST:
            raise DataError(
                f"of the {name} sample only {count} texts are held out, and {FEWEST} are needed to measure anything: "
                f"give more texts ({int((labels == label).sum())} were read"
                + (f", {len(shared)} stand in both samples and count in neither)." if shared else ").")
            )
    trained, tested = (texts.filter(pa.array(chosen)) for chosen in (~held_out, held_out))
    run.progress(1, 3)
    inputs = matrix(terms(trained, config.bits), config.bits)
    weights = fit(inputs, labels[~held_out], config.iterations, config.decay, config.rate).astype(np.float32)
    run.progress(2, 3)
    scores = Classifier(weights, config.bits, 0.5, 0, 0, curve(np.array([0.0, 1.0]), np.array([0, 1]))).scores(tested)
    found = curve(scores, labels[held_out], CURVE_POINTS)
    threshold, precision, recall = best_threshold(found)
    figures: dict[str, Any] = {
        "texts_first": int(labels.sum()),
        "texts_second": int((1 - labels).sum()),
        "texts_held_out": int(held_out.sum()),
    }
    histograms = {
        name: np.histogram(scores[labels[held_out] == label], np.linspace(0, 1, 41))[0].tolist()
        for label, name in ((1, "first"), (0, "second"))
    }
    learned = Classifier(weights, config.bits, threshold, precision, recall, found)
    learned.write(run.output, **figures, scores=histograms)
    figures |= {"held_out/area": found.area, "held_out/precision": precision, "held_out/recall": recall}
    run.log_metrics({**figures, "texts_in_both": len(shared), "threshold": threshold})
    run.progress(3, 3)


def _place(text: str) -> float:
    """A number from 0 to 1 that the text decides, so that equal texts lie on one side."""
    return xxhash.xxh3_64_intdigest(text.encode()) / 2**64


def _texts(corpus: Artifact) -> pa.Array:
    """The texts of a corpus as `clean` would make them, each once."""
    cleaner, found = Cleaner(CleanConfig()), [pa.array([], pa.large_string())]
    for table in read_corpus(corpus.path):
        found.append(pc.utf8_slice_codeunits(cleaner.prepare(table).texts, 0, TEXT_CHARS))
    texts = pc.unique(pa.concat_arrays(found))
    return texts.filter(pc.greater(pc.binary_length(texts), 0))
