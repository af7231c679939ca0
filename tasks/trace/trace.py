"""Which spans of a text stand word for word in a model's training data, as OLMoTrace shows (Liu et al. 2025)."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.lineage.ancestry import declared_behind
from tasks.lineage.declaration import declared_sentence
from tasks.lineage.errors import ConfigError
from tasks.lineage.record import Record
from tasks.lineage.store import Store
from tasks.trace.matches import Match
from tasks.trace.training_text import Report, TrainingText, training_texts
from tasks.trace.words import Query

MIN_WORDS = 5
SPANS_PER_TOKEN = 0.05  # OLMoTrace keeps ⌈0.05 L⌉ spans of an answer of L tokens
FEWEST_SPANS = 10
DOCUMENTS = 10


@dataclass
class _Span:
    """Words [first, last], with what matched them in each training text."""

    first: int
    last: int
    found: list[tuple[TrainingText, Match]] = field(default_factory=list)

    @property
    def occurrences(self) -> int:
        return sum(len(places.positions) for _, match in self.found for places in match.places)


def trace(
    store: Store, record: Record, text: str, report: Report, min_words: int = MIN_WORDS, max_spans: int | None = None,
    max_documents: int = DOCUMENTS,
) -> dict[str, Any]:  # fmt: skip
    """The longest and rarest spans of `text` in what the work of `record` learned from.

    max_spans: default ⌈0.05 L⌉ of L tokens, and at least 10. max_documents: places named of each span.

    {"target": {stage, kind, digest}, "text": the text, "searched": [{kind, digest, documents, tokens}],
     "unknown": what it learned from through a model that was made elsewhere, a line each, which cannot be searched,
     "spans": [{"text", "start", "end" (characters of `text`), "words", "tokens", "log_probability", "occurrences",
                "documents": [{doc_id, field, source, license, offset, held_by}]}]}

    offset counts the characters of the kept document's text before the span. log_probability is the natural logarithm
    of the product of its tokens' shares of the training data, by which spans are ranked, the least probable first.
    """
    if min_words < 1:
        raise ConfigError(f"the shortest span is {min_words} words; it must be 1 or more")
    texts = training_texts(store, record, report)
    spans = _maximal(_spans(texts, text, min_words))
    words = Query(text, texts[0].tokenizer, texts[0].vocabulary)
    ranked = sorted(
        ((_log_probability(span, texts), span) for span in spans), key=lambda entry: (entry[0], entry[1].first)
    )
    if max_spans is None:
        max_spans = max(FEWEST_SPANS, math.ceil(SPANS_PER_TOKEN * words.num_tokens))
    return {
        "target": {"stage": record.stage, "kind": record.output.kind, "digest": record.output.digest},
        "text": text,
        "searched": [
            {
                "kind": one.artifact.kind,
                "digest": one.artifact.digest,
                "documents": one.num_documents,
                "tokens": one.text.length,
            }
            for one in texts
        ],
        "unknown": [
            f"{made.artifact} {declared_sentence(declared)}"
            for made, declared in declared_behind(store, record)
            if made.output.kind == "model"
        ],
        "spans": [_answer(span, words, value, max_documents) for value, span in ranked[:max_spans]],
    }


def _spans(texts: list[TrainingText], text: str, min_words: int) -> list[_Span]:
    found: dict[tuple[int, int], _Span] = {}
    for one in texts:
        for match in one.matcher.matches(Query(text, one.tokenizer, one.vocabulary), min_words):
            span = found.setdefault((match.first, match.last), _Span(match.first, match.last))
            span.found.append((one, match))
    return list(found.values())


def _maximal(spans: list[_Span]) -> list[_Span]:
    """Those that lie in no other; of one training text they never do, of several they may."""
    kept: list[_Span] = []
    for span in sorted(spans, key=lambda span: (span.first, -span.last)):
        if not kept or span.last > kept[-1].last:
            kept.append(span)
    return kept


def _log_probability(span: _Span, texts: list[TrainingText]) -> float:
    one, match = span.found[0]
    same = [other for other in texts if len(other.vocabulary.pieces) == len(one.vocabulary.pieces)]
    counts: NDArray[np.int64] = sum((other.index.counts for other in same if other.index), np.zeros(1, np.int64))
    return float(np.log(counts[match.tokens] / counts.sum()).sum())


def _answer(span: _Span, words: Query, log_probability: float, max_documents: int) -> dict[str, Any]:
    start, end = words.words[span.first][0], words.words[span.last][1]
    documents: list[dict[str, Any]] = []
    for one, match in span.found:
        for places in match.places:
            shown = places.positions[: max(0, max_documents - len(documents))]
            documents += [vars(place) for place in one.places(shown, places.spaced)]
    return {
        "text": words.text[start:end],
        "start": start,
        "end": end,
        "words": span.last - span.first + 1,
        "tokens": len(span.found[0][1].tokens),
        "log_probability": round(log_probability, 3),
        "occurrences": span.occurrences,
        "documents": documents,
    }
