"""Who says which answer is better: the protocol of a rater, and the default one, which stands in for people.

The reference rater never reads an answer as a person would. It measures agreement with the one answer that a
person wrote, so a good answer in other words gets a low mark. Its numbers carry its name wherever they appear.
PPO's `gold` score is the same function as the rankings' score: `ReferenceRater.rate(...).score`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from tasks.text.chrf import chrf_scores
from tasks.text.undesirable import WORDS

Author = Literal["model", "human"]

_WORD = re.compile(r"[^\W_]+")
# Words that carry no content of their own, left out of the accuracy measure.
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and any are as at be been but by can do does for from had has have how if in into is it its may more no "
        "not of on one only or other should so such than that the their them then there these this to use used uses "
        "using was were what when where which will with you your return returns given"
    )
)
# Whole words that make an answer unsafe whatever else it says: those that `clean` counts, and plain abuse. Short on
# purpose: what people object to is for people to rate, and this list only keeps the crudest from being rewarded.
_ABUSE = r"fuck\w*|shit\w*|bitch\w*|cunts?|bastards?|retards?|kill yourself|rapists?"
_UNDESIRABLE = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, WORDS))}|{_ABUSE})(?!\w)", re.IGNORECASE)
_PERSONAL_DATA = re.compile(
    r"\b[\w.+-]+@[\w-]+\.[\w.-]*\w\b"  # e-mail address
    r"|\b\d{3}-\d{2}-\d{4}\b"  # US social security number
    r"|(?<![\w.])\+?\(?\d{2,4}\)?[ -]\d{3,4}[ -]\d{3,4}(?![\w.])"  # telephone number
    r"|\b(?:\d{4}[ -]){3}\d{4}\b"  # payment card
)


@dataclass(frozen=True)
class Answer:
    """One response to a prompt."""

    text: str
    author: Author
    finished: bool = True  # it ended by itself, not at the length limit


@dataclass(frozen=True)
class Rating:
    """Scores from 0 (worst) to 1 (best)."""

    helpfulness: float
    accuracy: float
    safety: float
    score: float  # what decides the rank


@dataclass(frozen=True)
class RatedAnswer:
    """An answer with its rating and its rank among its rivals (1 = best, equal ranks are ties)."""

    answer: Answer
    rating: Rating
    rank: int


class Rater(Protocol):
    """Orders the answers to one prompt from best to worst. A person, a data set, a judge model or a formula."""

    @property
    def name(self) -> str:
        """The kind of rater, written into the rankings: "reference", …"""

    @property
    def annotator(self) -> str:
        """Pseudonymous id of who rated."""

    def rank(self, prompt: str, answers: Sequence[Answer]) -> list[RatedAnswer]:
        """The answers in the order given, each rated and ranked."""


def words(text: str) -> list[str]:
    """Lower-case words; an identifier's parts are words of their own."""
    return _WORD.findall(text.lower())


def repetition(text: str) -> float:
    """Share of the text's word pairs that stood earlier in it (seq-rep-2 of Welleck et al. 2020): 0 is none."""
    found = words(text)
    pairs = list(pairwise(found))
    return 1.0 - len(set(pairs)) / len(pairs) if pairs else 0.0


def content_f1(response: str, reference: str) -> float:
    """F1 of content words (SQuAD's token F1, Rajpurkar et al. 2016, without stop words), counted with multiplicity."""
    ours = Counter(word for word in words(response) if word not in _STOP_WORDS)
    theirs = Counter(word for word in words(reference) if word not in _STOP_WORDS)
    common = sum((ours & theirs).values())
    return 2.0 * common / (ours.total() + theirs.total()) if common else 0.0


def ranks_from_scores(scores: Sequence[float], tie_margin: float) -> list[int]:
    """Dense ranks, 1 = highest score. Neighbours in sorted order that differ by less than `tie_margin` tie.

    So two answers of different rank always differ by at least the margin, also where ties form a chain."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    ranks = [1] * len(scores)
    for above, below in pairwise(order):
        gap = scores[above] - scores[below]
        apart = gap >= tie_margin and gap > 0
        ranks[below] = ranks[above] + int(apart)
    return ranks


class ReferenceRater(BaseModel):
    """Stand-in for people: agreement with the one human-written answer. Not a judgement of quality."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["reference"] = Field("reference", description="a formula that stands in for people")
    beta: float = Field(
        1.0, gt=0, le=3, description="β of chrF; 1 is neutral to length, 2 and above reward long answers"
    )
    helpfulness_weight: float = Field(
        0.5,
        ge=0,
        le=1,
        description="weight of helpfulness (chrF to the human answer) in the score; accuracy has the rest",
    )
    repetition_limit: float = Field(
        0.25, gt=0, le=1, description="share of repeated word pairs above which an answer counts as degenerate"
    )
    degenerate_penalty: float = Field(
        0.5, ge=0, le=1, description="safety is multiplied by this for repetition, and again for being cut off"
    )
    tie_margin: float = Field(0.1, ge=0, lt=1, description="answers whose scores differ by less share a rank")

    @property
    def annotator(self) -> str:
        return "reference-rater"

    def safety(self, response: str, *, finished: bool) -> float:
        """0 for nothing, undesirable words or personal data; lower for repetition and for an answer cut off; else 1."""
        if not response.strip() or _UNDESIRABLE.search(response) or _PERSONAL_DATA.search(response):
            return 0.0
        repetitive = repetition(response) > self.repetition_limit
        return self.degenerate_penalty ** (int(repetitive) + int(not finished))

    def rate_all(self, answers: Sequence[Answer], references: Sequence[str]) -> list[Rating]:
        """A rating of each answer against the human answer at its place.

        helpfulness is chrF, accuracy the F1 of content words, and safety multiplies their weighted mean: an
        unsafe answer is not made better by being helpful."""
        helpfulness = chrf_scores([answer.text for answer in answers], references, beta=self.beta)
        ratings = []
        for answer, reference, helpful in zip(answers, references, helpfulness.tolist(), strict=True):
            accurate = content_f1(answer.text, reference)
            safe = self.safety(answer.text, finished=answer.finished)
            mean = self.helpfulness_weight * helpful + (1.0 - self.helpfulness_weight) * accurate
            ratings.append(Rating(helpful, accurate, safe, mean * safe))
        return ratings

    def rate(self, response: str, reference: str, *, finished: bool = True) -> Rating:
        """`rate_all` of one."""
        return self.rate_all([Answer(response, "model", finished)], [reference])[0]

    def rank(self, prompt: str, answers: Sequence[Answer]) -> list[RatedAnswer]:
        """Ranks by score. The human answer is the reference, so it is first by construction, not by merit; only
        a model's answer equal to it, word for word, ties with it. ValueError unless exactly one answer is human."""
        humans = [answer for answer in answers if answer.author == "human"]
        if len(humans) != 1:
            raise ValueError(f"the reference rater needs exactly one human answer to {prompt!r}, got {len(humans)}")
        reference = humans[0].text
        ratings = self.rate_all(answers, [reference] * len(answers))
        rivals = [index for index, answer in enumerate(answers) if answer.text != reference]
        among = ranks_from_scores([ratings[index].score for index in rivals], self.tie_margin)
        ranks = [1] * len(answers)
        for index, rank in zip(rivals, among, strict=True):
            ranks[index] = rank + 1
        return [RatedAnswer(*row) for row in zip(answers, ratings, ranks, strict=True)]
