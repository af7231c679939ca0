"""What `clean` does to a batch of documents. What becomes of a document depends on no other of its batch; the lines
that many documents share are counted before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from tasks.clean_config import CODE_KIND, CleanConfig
from tasks.text.classifier import Classifier
from tasks.text.compiled_features import CompiledFeatures
from tasks.text.counting import are_ascii
from tasks.text.encoding import LINE_SIGNS, even_lines, mend
from tasks.text.features import Features
from tasks.text.kernels import kept
from tasks.text.language import UNDETERMINED, identify
from tasks.text.language_codes import declared_languages
from tasks.text.lines import LostLines, SharedLines, drop_lines, may_lose_lines, rule_lines_out
from tasks.text.markup import WHOLLY_MARKED, strip_markup
from tasks.text.personal_data import PersonalData, PersonalDataMask
from tasks.text.places import MARKUP, UNUSUAL
from tasks.text.rules import (
    LIMIT_OF,
    LOW_QUALITY,
    OTHER_LANGUAGE,
    REASONS,
    STOP_WORD_LANGUAGES,
    UNDESIRABLE_CONTENT,
    RuleLimits,
    first_reasons,
)
from tasks.text.signs import Signs, Texts
from tasks.text.spans import TextBatch
from tasks.text.undesirable import UndesirableWords

EVEN, COUNT = "even", "count"  # steps with signs of what they look for


@dataclass(frozen=True)
class Prepared:
    """Documents mended, bare and masked; what was found in each, (N,), how many undesirable words each holds, (N,), and
    the lines that they lost."""

    kinds: pa.Array
    texts: pa.Array
    mended: int
    finds: dict[PersonalData, np.ndarray]
    undesirable: np.ndarray
    lines: LostLines


@dataclass(frozen=True)
class Cleaned:
    """Documents with their language; the index in `REASONS` of the rule each broke (−1: none); what was measured:
    kind → rule → (rows of the batch, values)."""

    prepared: Prepared
    languages: pa.Array
    reasons: np.ndarray
    measured: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)


class Cleaner:
    """The settings at work. quality, undesirable: trained classifiers, if any. compiled: work by machine code
    (kernels.py)."""

    def __init__(
        self,
        config: CleanConfig,
        quality: Classifier | None = None,
        undesirable: Classifier | None = None,
        compiled: bool = False,
    ) -> None:
        self.config, self._compiled = config, compiled
        self._features = CompiledFeatures if compiled else Features
        self._words = UndesirableWords(config.undesirable_words)
        self._mask = PersonalDataMask(config.mask)
        sought = {EVEN: LINE_SIGNS, COUNT: self._words.signs}
        self._signs = Signs({**sought, **self._mask.signs}) if compiled else None
        self._quality, self._undesirable = quality, undesirable
        self._shared = SharedLines(config.shared_line_chars) if config.shared_line_documents else None

    def limit(self, kind: str, rule: str) -> float | None:
        """What a rule's measurement of a text of this kind is held against."""
        if rule == LOW_QUALITY:
            return _threshold(self._quality, self.config.min_quality)
        if rule == UNDESIRABLE_CONTENT:
            return _threshold(self._undesirable, self.config.max_undesirable_content)
        return getattr(self.config.limits(kind), LIMIT_OF[rule]) if rule in LIMIT_OF else None

    def count_lines(self, table: pa.Table) -> None:
        """See documents before any is cleaned: how many share a line. Only where the settings ask for it."""
        assert self._shared is not None
        self._shared.add(self._mended(table)[1].column, self._groups(table))

    def clean(self, table: pa.Table) -> Cleaned:
        """Clean documents."""
        prepared = self.prepare(table)
        known = declared_languages(table["language"].combine_chunks(), pc.equal(prepared.kinds, CODE_KIND))
        languages = pc.coalesce(known, identify(prepared.texts, self._compiled)).cast(pa.string())
        return self._judged(prepared, languages)

    def prepare(self, table: pa.Table) -> Prepared:
        """Mend, strip, mask, and drop the lines that are not wanted."""
        kinds, texts, mended = self._mended(table)
        lines = LostLines(len(kinds))
        if self._shared is not None:
            assert self.config.shared_line_documents is not None
            rest = self._shared.drop(texts.column, self._groups(table), self.config.shared_line_documents)
            texts = Texts(rest.texts, self._signs)
            lines.add(rest.lost, np.arange(len(kinds)))
        for kind, chosen in _by_kind(kinds):
            limits = self.config.limits(kind)
            if not rule_lines_out(limits):
                continue
            chosen[chosen] = may_lose_lines(texts.where(chosen), limits)

            def drop(part: pa.Array, limits: RuleLimits = limits, chosen: np.ndarray = chosen) -> pa.Array:
                rest = drop_lines(part, limits)
                lines.add(rest.lost, np.flatnonzero(chosen))
                return rest.texts

            texts.rewrite(chosen, drop)
        finds = {kind: np.zeros(len(kinds), np.int64) for kind in self._mask.kinds}
        by_sign = np.array([texts.bearing(sign) for sign in self._mask.signs]).reshape(-1, len(kinds))
        suspects = np.logical_or.reduce(by_sign, axis=0)

        def mask(part: pa.Array) -> pa.Array:
            masked = self._mask.apply(part, by_sign[:, suspects] if self._signs else None)
            for kind, counts in masked.finds.items():
                finds[kind][suspects] = counts
            return masked.texts

        texts.rewrite(suspects, mask)
        uneven, worded = texts.bearing(EVEN), texts.bearing(COUNT)  # even lines hold no other words
        texts.rewrite(uneven, even_lines)
        undesirable = np.zeros(len(kinds), np.int64)
        undesirable[worded] = self._words.counts(texts.where(worded))
        texts.trim()
        return Prepared(kinds, texts.column, mended, finds, undesirable, lines)

    def masked(self, text: str) -> str:
        """One text masked."""
        return str(self._mask.apply(pa.array([text], pa.large_string())).texts[0].as_py())

    def _mended(self, table: pa.Table) -> tuple[pa.Array, Texts, int]:
        kinds = pc.fill_null(table["kind"], "text").combine_chunks()
        texts, mended = Texts(pc.fill_null(table["text"], "").combine_chunks(), self._signs), 0

        def mend_part(part: pa.Array) -> pa.Array:
            nonlocal mended
            column, mended = mend(part)
            return column

        texts.rewrite(texts.holding(UNUSUAL), mend_part)
        marked = texts.holding(MARKUP)
        for kind, chosen in _by_kind(kinds):
            strip = partial(strip_markup, kind=kind, compiled=self._compiled)
            texts.rewrite(chosen if kind in WHOLLY_MARKED else chosen & marked, strip)
        return kinds, texts, mended

    def _groups(self, table: pa.Table) -> np.ndarray:
        """What documents are counted together with, (N,) uint64."""
        if self.config.shared_line_scope == "corpus":
            return np.zeros(table.num_rows, np.uint64)
        coded = pc.fill_null(table["origin"], "").combine_chunks().dictionary_encode()
        hashes = [xxhash.xxh3_64_intdigest(origin.encode()) for origin in coded.dictionary.to_pylist()]
        return np.array(hashes, np.uint64)[coded.indices.to_numpy()]

    def _judged(self, prepared: Prepared, languages: pa.Array) -> Cleaned:
        """By the preset for each document's kind; texts in ASCII go apart, because they are quicker to measure."""
        texts, kinds = prepared.texts, prepared.kinds
        cleaned = Cleaned(prepared, languages, np.full(len(texts), -1, np.int64))
        english = np.array(pc.is_in(languages, pa.array(STOP_WORD_LANGUAGES, pa.string())))
        batch = TextBatch(texts)
        plain = pa.array(kept(are_ascii)(batch.data, batch.offsets)) if self._compiled else pc.string_is_ascii(texts)
        for kind, is_plain in product(pc.unique(kinds).to_pylist(), (True, False)):
            chosen = pc.and_(pc.equal(kinds, kind), pc.equal(plain, is_plain))
            rows = np.flatnonzero(chosen.to_numpy(zero_copy_only=False))
            if len(rows):
                features = self._features(batch.take(rows))
                found = first_reasons(features, self.config.limits(kind), english[rows], prepared.undesirable[rows])
                cleaned.reasons[rows] = found.reasons
                self._note(cleaned, kind, rows, found.measured)
        self._by_language(cleaned)
        self._by_classifier(cleaned, LOW_QUALITY, self._quality)
        self._by_classifier(cleaned, UNDESIRABLE_CONTENT, self._undesirable)
        return cleaned

    def _by_language(self, cleaned: Cleaned) -> None:
        if self.config.languages:
            wanted = pc.is_in(pc.fill_null(cleaned.languages, UNDETERMINED), pa.array(self.config.languages))
            kept = pc.or_(wanted, pc.equal(cleaned.prepared.kinds, CODE_KIND)).to_numpy(zero_copy_only=False)
            cleaned.reasons[~kept] = REASONS.index(OTHER_LANGUAGE)

    def _by_classifier(self, cleaned: Cleaned, reason: str, classifier: Classifier | None) -> None:
        """Drop, of what no rule dropped, what a classifier of quality finds below its threshold, or one of undesirable
        content at or above it."""
        rows = np.flatnonzero(cleaned.reasons < 0)
        if classifier is None or not len(rows):
            return
        scores = classifier.scores(cleaned.prepared.texts.take(pa.array(rows)))
        limit = self.limit("", reason)
        dropped = scores < limit if reason == LOW_QUALITY else scores >= limit
        cleaned.reasons[rows[dropped]] = REASONS.index(reason)
        kinds = np.array(cleaned.prepared.kinds.take(pa.array(rows)).to_pylist())
        for kind in np.unique(kinds).tolist():
            self._note(cleaned, kind, rows[kinds == kind], {reason: scores[kinds == kind]})

    @staticmethod
    def _note(cleaned: Cleaned, kind: str, rows: np.ndarray, measured: Mapping[str, np.ndarray]) -> None:
        held = cleaned.measured.setdefault(kind, {})
        for rule, values in measured.items():
            before = held.get(rule, (np.zeros(0, np.int64), np.zeros(0)))
            held[rule] = (np.concatenate((before[0], rows)), np.concatenate((before[1], values)))


@dataclass(frozen=True)
class CleanerParts:
    """What a worker makes its cleaner of: the settings as JSON, the folders of trained classifiers, if any, and whether
    it works by machine code."""

    settings: str
    quality: Path | None = None
    undesirable: Path | None = None
    compiled: bool = False


@lru_cache(maxsize=1)
def cleaner_of(parts: CleanerParts) -> Cleaner:
    """The cleaner of this process; the first one only costs what its patterns take to compile."""
    quality, undesirable = (Classifier.read(path) if path else None for path in (parts.quality, parts.undesirable))
    return Cleaner(CleanConfig.model_validate_json(parts.settings), quality, undesirable, parts.compiled)


def _by_kind(kinds: pa.Array) -> Iterator[tuple[str, np.ndarray]]:
    """Each kind of text, and where it stands, (N,) bool."""
    for kind in pc.unique(kinds).to_pylist():
        yield kind, np.array(pc.equal(kinds, kind))


def _threshold(classifier: Classifier | None, given: float | None) -> float | None:
    return classifier.threshold if classifier is not None and given is None else given
