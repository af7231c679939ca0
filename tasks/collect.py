"""Read what a snapshot saw into documents, each with its source, origin, licence and side of the evaluation split."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tasks.lineage.errors import DataError
from tasks.lineage.ledger import Ledger
from tasks.lineage.parallel import ahead, count_workers, in_threads, suited
from tasks.stage import Artifact, Resources, StageConfig, StageRun, neutral, stage
from tasks.text.admission import REPEATED, Admission
from tasks.text.documents import Limits
from tasks.text.draft_cache import DraftCache
from tasks.text.draft_file import DamagedDrafts
from tasks.text.drafting import Reading, SourceDrafts, read_items
from tasks.text.drafts import take_drafts
from tasks.text.forgotten import Forgotten
from tasks.text.items import Part, Snapshot, by_source
from tasks.text.machine_code import pays
from tasks.text.quarantine import check, metrics
from tasks.text.shards import SCHEMA as CORPUS
from tasks.text.shards import CorpusWriter
from tasks.text.sources import Source
from tasks.text.splits import EVALUATION, side, sides


class CollectConfig(StageConfig):
    """Documents from the sources that the snapshot looked at."""

    document_chars: int = Field(
        4000, ge=200, le=10_000_000, title="Characters of a passage",
        description="A longer plain-text file is cut at blank lines into documents of about this many characters.",
    )  # fmt: skip
    min_docstring_chars: int = Field(
        40, ge=0, title="Shortest docstring", description="Shorter docstrings are dropped; they say hardly anything."
    )
    max_document_bytes: int = Field(
        10_000_000, ge=1000, le=1_000_000_000, title="Largest document",
        description="A longer line or file is put into quarantine, so that memory stays bounded.",
    )  # fmt: skip
    max_bad_share: float = Field(
        0.2, ge=0, le=1, title="Bad rows allowed",
        description="Share of a source's rows that may be malformed. Below it they are put into quarantine and "
        "counted; above it (and above 20 rows) the stage fails and names the reasons. A file that cannot be read "
        "at all is put into quarantine and counted, too, but is no row.",
    )  # fmt: skip
    max_documents: int | None = Field(
        None, ge=1, title="Most documents", description="Keep only so many, chosen by their hash. Empty: all."
    )
    licenses: tuple[str, ...] = Field(
        (), title="Licences to take", json_schema_extra=neutral(()),
        description="SPDX identifiers, with * and ? as wildcards: documents under any other licence, or an unknown "
        "one, are dropped. Empty: all are taken.",
    )  # fmt: skip


@stage(
    output="corpus",
    retries=2,
    libraries=("pyarrow", "fastwarc", "numba", "numpy", "py3langid", "pypdfium2", "resiliparse", "xxhash", "zstandard"),
)
def collect(
    run: StageRun,
    snapshot: Artifact,
    config: CollectConfig,
    resources: Resources,
    exclusions: Artifact | None = None,
    adopted: Artifact | None = None,
) -> None:
    """Write documents-*.parquet, ledger.parquet and quarantine.jsonl.

    exclusions: what must be left out, if anything (`pedigree forget`). adopted: documents from elsewhere, to be taken
    beside those of the sources (`pedigree adopt`).
    Raises DataError if there is no document, if too much is malformed, or if a package or data set changed after the
    snapshot; a file that changed is put into quarantine.
    """
    seen = Snapshot.read(snapshot.path)
    limits = Limits(config.document_chars, config.max_document_bytes, config.min_docstring_chars)
    write_corpus(run, list(by_source(seen, role="text")), limits, seen, config, resources, exclusions, adopted)


def write_corpus(
    run: StageRun,
    wholes: list[Part],
    limits: Limits,
    seen: Snapshot,
    config: CollectConfig,
    resources: Resources,
    exclusions: Artifact | None,
    adopted: Artifact | None = None,
    setting: str = "collect.max_bad_share",
) -> None:
    """Read each source's items, and write what `collect` writes. setting: what the error names where too much is
    malformed."""
    forgotten = Forgotten.read(exclusions.path if exclusions else None)
    num_bytes, workers = sum(item.size for one in wholes for item in one.items), count_workers(resources.workers)
    # What is to be forgotten is prepared once a process: threads share it, and it is sent nowhere.
    mapper = in_threads(workers) if forgotten else suited(run.map, resources, num_bytes)
    for attempt in (1, 2):
        reading = _read(run, wholes, limits, resources)
        drafts = [*reading.drafts, *([_adopted(adopted.path, run.work)] if adopted else [])]
        try:
            admission = Admission(
                drafts, config.licenses, config.max_documents, forgotten, run.output / "quarantine.jsonl", mapper,
                pays(num_bytes),
            )  # fmt: skip
            _check(run, admission, config.max_bad_share, setting)
            _write(run, admission, drafts, seen, workers)
        except DamagedDrafts as error:
            if attempt == 2:
                raise
            run.logger.warning("what was remembered of an earlier reading is damaged; all is read anew: %s", error)
            DraftCache().reset()
        else:
            return


def _read(run: StageRun, wholes: list[Part], limits: Limits, resources: Resources) -> Reading:
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        seconds = max(time.monotonic() - began, 1e-9)
        run.progress(done, total, megabytes_per_second=round(done / 1e6 / seconds, 2))

    reading = read_items(wholes, limits, run.map, progress)
    run.logger.info(
        "%d of %d items (%.1f MB) had to be read; the others are as they were",
        reading.read, reading.items, reading.bytes_read / 1e6,
    )  # fmt: skip
    if reading.changed:
        run.logger.warning("%d files changed after the snapshot and are in quarantine", reading.changed)
        run.depends_on_outside()
    return reading


def _adopted(corpus: Path, work: Path) -> SourceDrafts:
    """Its origins are kept together, as the files of a source are."""
    source = Source(kind="files", path=f"adopted {corpus.name[:12]}", origin_field="origin")
    folder = work / "adopted"
    folder.mkdir(exist_ok=True)
    return SourceDrafts(source, tuple(take_drafts(corpus, folder)))


def _check(run: StageRun, admission: Admission, max_bad_share: float, setting: str) -> None:
    for count in admission.counts:
        if count.rejected:
            run.logger.warning(
                "%d of %d rows of %s are in quarantine (quarantine.jsonl says why); first: %s",
                count.rejected, count.rows, count.described, count.first,
            )  # fmt: skip
    check(admission.counts, max_bad_share, setting)
    if not admission.num_kept:
        first = next((f" The first that could not: {count.first}." for count in admission.counts if count.first), "")
        raise DataError(
            "the sources hold no document: nothing in them could be read as text "
            f"({_summary(admission.reasons)}). Check the sources' path and text_field.{first}"
        )


def _write(run: StageRun, admission: Admission, drafts: Sequence[SourceDrafts], seen: Snapshot, workers: int) -> None:
    decide = _Sides(drafts, admission.origins, seen)
    by_split: Counter[str] = Counter()
    with (
        Ledger(run.output / "ledger.parquet", workers=workers) as ledger,
        CorpusWriter(run.output, workers=workers) as corpus,
    ):
        for one, table in ahead(admission.tables(), workers):
            ledger.add_table(_ledger_rows(table))
            kept = pc.is_null(table["reason"])
            table = table.select(CORPUS.names)
            if not pc.all(kept).as_py():
                table = table.filter(kept)
            table = decide.with_splits(table, one.source)
            for entry in table["split"].value_counts().to_pylist():
                by_split[entry["values"]] += entry["counts"]
            corpus.write(table)
    counts = ledger.close()
    run.log_metrics({
        **counts.metrics(), "bytes": corpus.bytes, "documents_evaluation": by_split[EVALUATION],
        **metrics(admission.counts),
        **{f"encoding_{name}": number for name, number in sorted(admission.encodings.items())},
    })  # fmt: skip
    if admission.encodings:
        run.logger.info("read from other encodings than UTF-8: %s", _summary(admission.encodings))
    run.logger.info(
        "%d documents, %.1f MB, %d of them for evaluation only; dropped: %s",
        corpus.documents, corpus.bytes / 1e6, by_split[EVALUATION], _summary(counts.dropped),
    )  # fmt: skip


def _summary(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "none"


def _ledger_rows(table: pa.Table) -> pa.Table:
    repeated = pc.fill_null(pc.equal(table["reason"], REPEATED), False)
    return pa.table({
        "doc_id": table["doc_id"],
        "source": table["source"],
        "license": table["license"],
        "language": table["language"],
        "reason": table["reason"],
        "duplicate_of": pc.if_else(repeated, table["doc_id"], pa.scalar(None, pa.string())),
        "bytes_in": table["bytes_in"],
        "bytes_out": pc.if_else(pc.is_null(table["reason"]), pc.cast(pc.binary_length(table["text"]), pa.int64()), 0),
    })  # fmt: skip


class _Sides:
    """The side of the evaluation split of documents whose item does not fix it."""

    def __init__(self, drafts: Sequence[SourceDrafts], origins_of: Sequence[set[str]], seen: Snapshot) -> None:
        self._seed, self._share = seen.seed, seen.evaluation_share
        origins: dict[str, set[str]] = {}
        for one, found in zip(drafts, origins_of, strict=True):
            if one.source.origin_field:
                origins.setdefault(one.source.model_dump_json(), set()).update(found)
        self._by_origin = {key: sides(self._seed, self._share, sorted(found)) for key, found in origins.items()}

    def with_splits(self, table: pa.Table, source: Source) -> pa.Table:
        """The table with its split and collector columns filled in."""
        given = table["split"]
        if given.null_count:
            given = pc.coalesce(given, self._sides(table, self._by_origin.get(source.model_dump_json())))
        table = table.set_column(table.column_names.index("split"), "split", given)
        collector = pc.if_else(pc.equal(table["collector"], ""), source.kind, table["collector"])
        return table.set_column(table.column_names.index("collector"), "collector", collector)

    def _sides(self, table: pa.Table, by_origin: dict[str, str] | None) -> pa.Array:
        if by_origin is None:
            found = [side(self._seed, self._share, doc_id) for doc_id in table["doc_id"].to_pylist()]
            return pa.array(found, pa.string())
        origins = table["origin"].combine_chunks().dictionary_encode()
        return pa.array([by_origin[name] for name in origins.dictionary.to_pylist()], pa.string()).take(origins.indices)
