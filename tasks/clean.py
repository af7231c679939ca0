"""Mends encodings, strips markup, masks personal data and drops text that named rules find wanting.

python -m flows.cli run data   (the stage after `collect`)

A document keeps its doc_id, so that it can be followed from stage to stage. The first rule that it breaks is the reason
in the ledger; `samples.jsonl` holds a few rejects of every rule with what was measured, `measures.json` what there was
to measure and to find, and `personal_data.parquet` how much was masked in which document.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.clean_audit import FINDS_SCHEMA, Audit, Rejects
from tasks.clean_config import CleanConfig
from tasks.cleaner import Cleaned, CleanerParts, cleaner_of
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import DataError
from tasks.lineage.ledger import Ledger, LedgerCounts
from tasks.lineage.parallel import Mapper, count_workers, in_this_process, suited
from tasks.stage import Resources, StageRun, stage
from tasks.text.machine_code import pays
from tasks.text.personal_data import without_addresses
from tasks.text.rule_presets import PAPERS
from tasks.text.rules import LIMIT_OF, LOW_QUALITY, OTHER_LANGUAGE, REASONS, UNDESIRABLE_CONTENT
from tasks.text.shards import CorpusWriter, Piece, count_bytes, count_documents, pieces, read_corpus

__all__ = ["CleanConfig", "clean"]

SETTING_OF = {OTHER_LANGUAGE: "languages", LOW_QUALITY: "min_quality", UNDESIRABLE_CONTENT: "max_undesirable_content"}
"""Rules that go by one setting for all kinds of text."""
KINDS_WITH_LIMITS = ("docstring", "markdown", "html", "text", "code")


@dataclass(frozen=True)
class CleanedPiece:
    """Of documents that lie together: the rows of the ledger and of personal_data.parquet, what to judge the rules by,
    and bytes of text before and after."""

    ledger: pa.Table
    finds: pa.Table
    audit: Audit
    bytes_in: int
    bytes_out: int


def clean_piece(piece: Piece, parts: CleanerParts, output: Path) -> CleanedPiece:
    """Clean documents that lie together, and write those that are kept as a file of the corpus in `output`."""
    cleaner = cleaner_of(parts)
    audit = Audit(Rejects(cleaner.config.rejects_per_rule))
    ledger, finds, size = [], [], 0
    with CorpusWriter(output, piece=piece) as writer:
        for table in piece.tables():
            if "email" in cleaner.config.mask:
                table = replaced(table, source=without_addresses(table["source"]))
            cleaned = cleaner.clean(table)
            kept = pa.array(cleaned.reasons < 0)
            writer.write(replaced(table, text=cleaned.prepared.texts, language=cleaned.languages).filter(kept))
            ledger.append(ledger_rows(table, cleaned, kept))
            finds.append(audit.add(table, cleaned, cleaner))
            size += pc.sum(pc.binary_length(table["text"])).as_py() or 0
    return CleanedPiece(pa.concat_tables(ledger), pa.concat_tables(finds), audit, size, writer.bytes)


@stage(
    output="corpus",
    retries=2,
    libraries=(
        "ftfy", "numba", "numpy", "phonenumbers", "py3langid", "pyarrow", "resiliparse", "safetensors", "scipy",
        "xxhash",
    ),
)  # fmt: skip
def clean(
    run: StageRun,
    corpus: Artifact,
    config: CleanConfig,
    resources: Resources,
    quality: Artifact | None = None,
    undesirable: Artifact | None = None,
) -> None:
    """Write the cleaned documents that pass, the ledger, and what the rules can be judged by.

    quality, undesirable: trained classifiers (`pedigree classifier`), if any: what the first scores low is dropped, and
    what the second scores high. Raises DataError where there is nothing to clean, and where nothing is left.
    """
    total = count_documents(corpus.path)
    if not total:
        raise DataError("there are no documents to clean: name a source of text in the snapshot's settings")
    learned, scorned = (each.path if each else None for each in (quality, undesirable))
    num_bytes = count_bytes(corpus.path)
    parts = CleanerParts(config.model_dump_json(), learned, scorned, pays(num_bytes))
    cleaner = cleaner_of(parts)
    mapper: Mapper = suited(run.map, resources, num_bytes)
    audit = Audit(Rejects(config.rejects_per_rule))
    if config.shared_line_documents is not None:
        for table in read_corpus(corpus.path):
            cleaner.count_lines(table)
        mapper = in_this_process  # what was counted is known in this process alone
    finds = pq.ParquetWriter(run.output / "personal_data.parquet", FINDS_SCHEMA, compression="zstd")
    size, left, done, began = 0, 0, 0, time.monotonic()
    ledger = Ledger(run.output / "ledger.parquet", documents_in=total, workers=count_workers(resources.workers))
    with finds, ledger:
        for piece in mapper(partial(clean_piece, parts=parts, output=run.output), pieces(corpus.path)):
            finds.write_table(piece.finds)
            ledger.add_table(piece.ledger)
            audit.merge(piece.audit)
            size += piece.bytes_in
            left += piece.bytes_out
            done += piece.ledger.num_rows
            run.progress(done, total, megabytes_per_second=size / 1e6 / max(time.monotonic() - began, 1e-9))
        counts = ledger.close()
    if not counts.documents_kept:
        raise DataError(nothing_left(counts, audit.blame, config))
    with (run.output / "samples.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in audit.rejects.rows())
    told = json.dumps(audit.as_json(cleaner), ensure_ascii=False, indent=1)
    (run.output / "measures.json").write_text(told + "\n", encoding="utf-8")
    run.log_metrics({**counts.metrics(), **audit.figures, "bytes_in": size, "bytes_out": left})


def replaced(table: pa.Table, **columns: pa.Array) -> pa.Table:
    """The table with these columns instead of those of the same names."""
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def ledger_rows(table: pa.Table, cleaned: Cleaned, kept: pa.Array) -> pa.Table:
    """Ledger rows of documents."""
    names = np.array([*REASONS, ""])  # −1 reads the last, and is masked
    return pa.table(
        {
            "doc_id": table["doc_id"],
            "source": table["source"],
            "license": table["license"],
            "language": cleaned.languages,
            "reason": pa.array(names[cleaned.reasons], pa.string(), mask=cleaned.reasons < 0),
            "duplicate_of": pa.nulls(table.num_rows, pa.string()),
            "bytes_in": pc.cast(pc.fill_null(pc.binary_length(table["text"]), 0), pa.int64()),
            "bytes_out": pc.if_else(kept, pc.cast(pc.binary_length(cleaned.prepared.texts), pa.int64()), 0),
        }
    )


def nothing_left(counts: LedgerCounts, blame: Counter[tuple[str, str]], config: CleanConfig) -> str:
    """The error for a corpus of which nothing is left: which rule dropped most, and the setting that loosens it."""
    (kind, reason), dropped = min(blame.items(), key=lambda entry: (-entry[1], entry[0]))
    told = f"clean dropped all {counts.documents_in} documents; the rule {reason} dropped most ({dropped}, of kind "
    told += f"{kind})."
    if reason in SETTING_OF:
        return f"{told} Loosen clean.{SETTING_OF[reason]}, or give other text."
    limit = LIMIT_OF[reason]
    if config.limits(kind) in PAPERS.values():
        return f"{told} The limits are those of clean.rules={config.rules}: choose by_kind, or give other text."
    preset = {"rst": "markdown"}.get(kind, kind if kind in KINDS_WITH_LIMITS else "text")
    return (
        f"{told} Loosen clean.{preset}.{limit} (now {getattr(config.limits(kind), limit)}) or leave it empty to turn "
        "the rule off, or give other text."
    )
