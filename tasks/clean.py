"""Mends encodings, strips markup, masks e-mail addresses and drops text that named rules find wanting.

python -m flows.cli run data   (the stage after `collect`)

A document keeps its doc_id, so that it can be followed from stage to stage. The first rule that it breaks is the reason
in the ledger; `samples.jsonl` holds a few rejects of every rule, for a person to read and judge the rules by.
"""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import DataError
from tasks.lineage.ledger import Ledger, LedgerCounts
from tasks.stage import Resources, StageConfig, StageRun, stage
from tasks.text.encoding import mask_emails, mend, rewrite, tidy
from tasks.text.features import Features
from tasks.text.markup import strip_markup
from tasks.text.rules import (
    CODE,
    DOCSTRING,
    HTML,
    LIMIT_OF,
    MARKDOWN,
    REASONS,
    STOP_WORD_LANGUAGES,
    TEXT,
    RuleLimits,
    first_reasons,
)  # fmt: skip
from tasks.text.shards import CorpusWriter, count_documents, read_corpus
from tasks.text.spans import TextBatch
from tasks.text.undesirable import UndesirableWords

EXCERPT_CHARS = 600


class CleanConfig(StageConfig):
    """Mended, plain text of sufficient quality, by a preset of rules for each kind of text."""

    docstring: RuleLimits = Field(DOCSTRING, title="Docstrings")
    markdown: RuleLimits = Field(MARKDOWN, title="Markdown and reStructuredText")
    html: RuleLimits = Field(HTML, title="Web pages")
    text: RuleLimits = Field(TEXT, title="Plain text")
    code: RuleLimits = Field(CODE, title="Code")
    mask_emails: bool = Field(
        True, title="Mask e-mail addresses", description="write name@example.com in place of every e-mail address"
    )
    undesirable_words: list[str] = Field(
        [],
        max_length=10_000,
        title="More undesirable words",
        description="words or phrases added to the built-in list; any case",
    )
    rejects_per_rule: int = Field(5, ge=0, le=1000, title="Rejects to show", description="in samples.jsonl, per rule")

    def limits(self, kind: str) -> RuleLimits:
        """The preset for a kind of text; unknown kinds count as plain text."""
        return {"docstring": self.docstring, "markdown": self.markdown, "rst": self.markdown, "html": self.html,
                "code": self.code}.get(kind, self.text)  # fmt: skip


@dataclass
class Rejects:
    """A few rejected texts of every rule: those of least doc_id, as good as drawn at random."""

    limit: int
    held: dict[str, list[tuple[int, str, dict[str, str]]]] = field(default_factory=dict)

    def add(self, reason: str, doc_id: str, row: dict[str, str]) -> None:
        """Offer a rejected text."""
        heap = self.held.setdefault(reason, [])
        heapq.heappush(heap, (-int(doc_id, 16), doc_id, row))
        if len(heap) > self.limit:
            heapq.heappop(heap)

    def rows(self) -> Iterator[dict[str, str]]:
        """All held, in order of reason and doc_id."""
        for reason in sorted(self.held):
            for _, doc_id, row in sorted(self.held[reason], key=lambda entry: entry[1]):
                yield {"reason": reason, "doc_id": doc_id, **row}


@dataclass(frozen=True)
class Cleaned:
    """Texts after cleaning, the index in `REASONS` of the rule each broke (−1: none), and how many were changed."""

    texts: pa.Array
    reasons: np.ndarray
    mended: int
    masked: int


def clean_table(table: pa.Table, config: CleanConfig, words: UndesirableWords) -> Cleaned:
    """Clean documents. What becomes of one depends on no other."""
    kinds = pc.fill_null(table["kind"], "text").combine_chunks()
    texts, mended = mend(pc.fill_null(table["text"], "").combine_chunks())
    for kind in pc.unique(kinds).to_pylist():
        texts = rewrite(texts, pc.equal(kinds, kind), partial(strip_markup, kind=kind))
    masked = 0
    if config.mask_emails:
        texts, masked = mask_emails(texts)
    texts = tidy(texts)
    english = np.array([language in STOP_WORD_LANGUAGES for language in table["language"].to_pylist()], bool)
    return Cleaned(texts, judge(texts, kinds, english, words.counts(texts), config), mended, masked)


def judge(
    texts: pa.Array, kinds: pa.Array, english: np.ndarray, undesirable: np.ndarray, config: CleanConfig
) -> np.ndarray:
    """Index in `REASONS` of the rule that each text breaks, −1 if none, (N,), by the preset for its kind."""
    reasons = np.full(len(texts), -1, np.int64)
    plain = pc.string_is_ascii(texts)  # these go apart, because they are quicker to measure
    for kind, is_plain in product(pc.unique(kinds).to_pylist(), (True, False)):
        rows = np.flatnonzero(pc.and_(pc.equal(kinds, kind), pc.equal(plain, is_plain)).to_numpy(zero_copy_only=False))
        if len(rows):
            features = Features(TextBatch(texts.take(pa.array(rows))))
            reasons[rows] = first_reasons(features, config.limits(kind), english[rows], undesirable[rows])
    return reasons


@stage(output="corpus", retries=2, libraries=("ftfy", "numpy", "pyarrow", "resiliparse", "xxhash"))
def clean(run: StageRun, corpus: Artifact, config: CleanConfig, resources: Resources) -> None:
    """Write the cleaned documents that pass, the ledger and samples of the rejects."""
    total = count_documents(corpus.path)
    if not total:
        raise DataError("there are no documents to clean: name a source of text in the snapshot's settings")
    words, rejects = UndesirableWords(config.undesirable_words), Rejects(config.rejects_per_rule)
    figures: Counter[str] = Counter()
    blame: Counter[tuple[str, str]] = Counter()  # documents dropped by (kind, reason)
    began = time.monotonic()
    with Ledger(run.output / "ledger.parquet", documents_in=total) as ledger, CorpusWriter(run.output) as writer:
        for table in read_corpus(corpus.path):
            cleaned = clean_table(table, config, words)
            kept = pa.array(cleaned.reasons < 0)
            for row in np.flatnonzero(cleaned.reasons >= 0).tolist():
                kind, reason = table["kind"][row].as_py() or "text", REASONS[cleaned.reasons[row]]
                blame[kind, reason] += 1
                rejects.add(reason, table["doc_id"][row].as_py(), {
                    "kind": kind, "source": table["source"][row].as_py(),
                    "excerpt": cleaned.texts[row].as_py()[:EXCERPT_CHARS],
                })  # fmt: skip
            ledger.add_table(ledger_rows(table, cleaned, kept))
            writer.write(table.set_column(table.column_names.index("text"), "text", cleaned.texts).filter(kept))
            figures.update(
                bytes_in=pc.sum(pc.binary_length(table["text"])).as_py() or 0,
                done=table.num_rows,
                mended_encodings=cleaned.mended,
                masked_emails=cleaned.masked,
            )
            seconds = max(time.monotonic() - began, 1e-9)
            run.progress(figures["done"], total, megabytes_per_second=figures["bytes_in"] / 1e6 / seconds)
        counts = ledger.close()
    if not counts.documents_kept:
        raise DataError(nothing_left(counts, blame, config))
    with (run.output / "samples.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rejects.rows())
    del figures["done"]
    run.log_metrics({**counts.metrics(), **figures, "bytes_out": writer.bytes})


def ledger_rows(table: pa.Table, cleaned: Cleaned, kept: pa.Array) -> pa.Table:
    """Ledger rows of documents."""
    names = np.array([*REASONS, ""])  # −1 reads the last, and is masked
    return pa.table(
        {
            "doc_id": table["doc_id"],
            "source": table["source"],
            "license": table["license"],
            "language": table["language"],
            "reason": pa.array(names[cleaned.reasons], pa.string(), mask=cleaned.reasons < 0),
            "duplicate_of": pa.nulls(table.num_rows, pa.string()),
            "bytes_in": pc.cast(pc.fill_null(pc.binary_length(table["text"]), 0), pa.int64()),
            "bytes_out": pc.if_else(kept, pc.cast(pc.binary_length(cleaned.texts), pa.int64()), 0),
        }
    )


def nothing_left(counts: LedgerCounts, blame: Counter[tuple[str, str]], config: CleanConfig) -> str:
    """The error for a corpus of which nothing is left: which rule dropped most, and the setting that loosens it."""
    (kind, reason), dropped = min(blame.items(), key=lambda entry: (-entry[1], entry[0]))
    preset = {"rst": "markdown"}.get(kind, kind if kind in type(config).model_fields else "text")
    limit = LIMIT_OF[reason]
    return (
        f"clean dropped all {counts.documents_in} documents; the rule {reason} dropped most ({dropped}, of kind "
        f"{kind}). Loosen clean.{preset}.{limit} (now {getattr(config.limits(kind), limit)}) or leave it empty to "
        "turn the rule off, or give other text."
    )
