"""Which training texts share wording with evaluation texts: long runs of the same words, or nearly all of them.

Runs: Brown et al. 2020 (GPT-3), appendix C. A run of 13 words that an evaluation text and a training text share is
contamination; an evaluation text of 8 to 12 words has to be there whole; a shorter one says too little to be told from
chance. Runs that more than 10 training texts hold are common phrases, and are passed over. There the run was cut out
with its surroundings; here the whole document goes, as in OLMo (Groeneveld et al. 2024, Dolma's decontamination).
Near match: the Jaccard similarity of the sets of 5-word shingles, as `deduplicate` tells copies, but computed exactly:
the evaluation texts are few enough for an inverted index, so that no pair is missed as MinHash may.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tasks.text.benchmarks import EvaluationItem
from tasks.text.wording import Likeness, Runs, Texts, Words, shared_words, words_of

CONTAMINATED = "contaminated"  # the reason in ledgers
NGRAM, NEAR = "n-gram", "near"
EXCERPT_CHARS = 300
FINDINGS = pa.schema(
    [
        *((name, pa.string()) for name in ("doc_id", "source", "item", "item_source", "match")),
        ("share", pa.float64()),
        ("shared", pa.string()),
    ]
)
"""contaminated.parquet: a row for each training text and evaluation item that share wording. match: NGRAM or NEAR.
share: of the item's runs, or the Jaccard similarity. shared: the first run, or the beginning of the near copy."""


class Overlap(BaseModel):
    """What counts as contamination."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: int = Field(13, ge=3, le=100, title="Words in a run", description="shared with an evaluation text")
    min_words: int = Field(
        8, ge=1, le=100, title="Fewest words", description="An evaluation text of fewer words is not looked for."
    )
    share: float = Field(
        0, ge=0, le=1, title="Share of runs",
        description="Share of an evaluation text's runs that one training text must hold. 0: any one run.",
    )  # fmt: skip
    most_documents: int | None = Field(
        10, ge=1, title="Common phrases",
        description="A run that more training texts hold is a common phrase and is passed over. Empty: none is.",
    )  # fmt: skip
    similarity: float = Field(
        0.8, gt=0, le=1, title="Near match",
        description="Jaccard similarity of the sets of 5-word shingles from which a training text is a copy of an "
        "evaluation text.",
    )  # fmt: skip


def contaminated(held_out: Sequence[str], training: Iterable[Texts], num_words: int) -> NDArray[np.bool_]:
    """For each held-out text (N,) whether a run of `num_words` words of it, or all of it where it has fewer, occurs in
    any of the training texts, given in batches."""
    runs = Runs(held_out, num_words)
    found = np.zeros(len(held_out), bool)
    for batch in training:
        met = runs.meet(words_of(batch)).runs
        found[runs.owners_of(np.unique(met))[1]] = True
    return found


@dataclass(frozen=True)
class Finding:
    """A training text that holds wording of an evaluation text.

    number: of the training text. item: of the evaluation text. match: NGRAM or NEAR. share: of the item's runs, or
    the Jaccard similarity.
    """

    number: int
    item: int
    match: str
    share: float


class Detector:
    """Finds the training texts that hold wording of evaluation texts. Give it all training texts, then ask."""

    def __init__(self, passages: Sequence[str], wholes: Sequence[str], overlap: Overlap) -> None:
        """passages: evaluation texts looked for by their runs; wholes: those that a text may be nearly the same as."""
        self._overlap = overlap
        self.runs = Runs(passages, overlap.words, overlap.min_words)
        self._likeness = Likeness(wholes, overlap.similarity, overlap.min_words)
        self._documents = np.zeros(len(self.runs), np.int64)  # that hold each run
        self._met: list[NDArray[np.int64]] = []  # (2, M): run, number of the training text
        self._near: list[tuple[int, int, float]] = []

    def look_in(self, texts: Texts, numbers: NDArray[np.int64]) -> None:
        """Training texts and their numbers, (N,). Memory: at most `most_documents` entries for each run."""
        words = words_of(texts)
        met = self.runs.meet(words)
        pairs = np.unique(np.stack((met.runs, numbers[met.rows])), axis=1)
        if pairs.size:
            self._documents += np.bincount(pairs[0], minlength=len(self.runs))
            self._met.append(pairs[:, self._rare(pairs[0])])
        self._compare(words, numbers)

    def look_near(self, texts: Texts, numbers: NDArray[np.int64]) -> None:
        """As `look_in`, for near matches alone: of parts of texts whose runs were looked for already."""
        self._compare(words_of(texts), numbers)

    def _compare(self, words: Words, numbers: NDArray[np.int64]) -> None:
        rows, items, alike = self._likeness.near(words)
        self._near += zip(numbers[rows].tolist(), items.tolist(), alike.tolist(), strict=True)

    def _rare(self, runs: NDArray[np.int64]) -> NDArray[np.bool_]:
        most = self._overlap.most_documents
        return np.ones(len(runs), bool) if most is None else self._documents[runs] <= most

    def findings(self) -> tuple[list[Finding], list[Finding]]:
        """What was found by runs (items are numbers of passages) and by likeness (of wholes), by number and item."""
        met = np.concatenate([np.zeros((2, 0), np.int64), *self._met], axis=1)
        met = met[:, self._rare(met[0])]
        positions, items = self.runs.owners_of(met[0])
        pairs, counts = np.unique(np.stack((met[1][positions], items)), axis=1, return_counts=True)
        shares = counts / self.runs.per_text[pairs[1]]
        by_run = [
            Finding(number, item, NGRAM, share)
            for number, item, share in zip(pairs[0].tolist(), pairs[1].tolist(), shares.tolist(), strict=True)
            if share >= self._overlap.share
        ]
        return by_run, [Finding(number, item, NEAR, share) for number, item, share in sorted(self._near)]

    @property
    def num_common(self) -> int:
        """Runs passed over as common phrases."""
        return int((~self._rare(np.arange(len(self.runs)))).sum())


@dataclass(frozen=True)
class Strongest:
    """What most ties a training text to an evaluation item. passage: the text that a run is of; "" for a near match."""

    match: str
    share: float
    passage: str


class EvaluationTexts:
    """Evaluation items: each looked for by every one of its texts, and by all of them together."""

    def __init__(self, items: Sequence[EvaluationItem], overlap: Overlap) -> None:
        self.items, self._words = items, overlap.words
        self._passages = [(text, number) for number, item in enumerate(items) for text in item.texts]
        self._wholes = self._passages + [
            (item.whole, number) for number, item in enumerate(items) if len(item.texts) > 1
        ]
        self.detector = Detector([text for text, _ in self._passages], [text for text, _ in self._wholes], overlap)

    def findings(self) -> dict[int, dict[int, Strongest]]:
        """Number of a training text → number of an evaluation item → what ties them."""
        by_run, near = self.detector.findings()
        found: dict[int, dict[int, Strongest]] = {}
        for finding in by_run:
            passage, item = self._passages[finding.item]
            _keep(found.setdefault(finding.number, {}), item, Strongest(NGRAM, finding.share, passage))
        for finding in near:
            _, item = self._wholes[finding.item]
            _keep(found.setdefault(finding.number, {}), item, Strongest(NEAR, finding.share, ""))
        return found

    def told(self, doc_id: str, source: str, text: str, items: dict[int, Strongest]) -> list[dict[str, Any]]:
        """The rows of FINDINGS about one training text, by evaluation item."""
        return [
            {
                "doc_id": doc_id,
                "source": source,
                "item": self.items[item].id,
                "item_source": self.items[item].source,
                "match": tie.match,
                "share": round(tie.share, 4),
                "shared": (shared_words(text, tie.passage, self._words) if tie.passage else text)[:EXCERPT_CHARS],
            }
            for item, tie in sorted(items.items())
        ]


def _keep(known: dict[int, Strongest], item: int, tie: Strongest) -> None:
    if item not in known or tie.share > known[item].share:
        known[item] = tie
