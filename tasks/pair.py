"""Make prompt–response pairs: questions about documented objects, and pairs that users bring."""

import json
import shutil
import time
from collections import Counter
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from tasks.contamination import CONTAMINATED, FINDINGS, EvaluationTexts, Overlap
from tasks.lineage.errors import DataError
from tasks.lineage.ledger import Ledger
from tasks.stage import Artifact, Resources, StageConfig, StageRun, neutral, stage
from tasks.text.benchmarks import benchmark_items
from tasks.text.forgotten import FORGOTTEN, Forgotten, quarantined_id, source_digest
from tasks.text.items import Part, Snapshot, parts
from tasks.text.pair_choice import Candidate, Choice, decide, normalised
from tasks.text.pair_drafts import PairLimits, PairTask, take_pairs, write_pairs
from tasks.text.quarantine import SourceCount, check, metrics
from tasks.text.questions import AnswerLimits
from tasks.text.splits import EVALUATION, side, sides

SCHEMA = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt", pa.string()),
        ("response", pa.string()),
        ("source", pa.string()),
        ("origin", pa.string()),
        ("license", pa.string()),
        ("split", pa.string()),
    ]
)
_NUM_SAMPLES = 100
_BLOCK = 8192  # pairs compared with benchmarks at once


class PairConfig(StageConfig):
    """Prompt–response pairs, and what each is for."""

    validation_share: float = Field(
        0.02, gt=0, lt=1, title="Validation share", description="To watch fine-tuning with."
    )
    finetune_share: float = Field(0.5, gt=0, lt=1, title="Fine-tuning share", description="To fine-tune on.")
    rank_share: float = Field(0.3, gt=0, lt=1, title="Ranking share", description="Prompts whose answers are ranked.")
    ppo_share: float = Field(0.18, gt=0, lt=1, title="PPO share", description="Prompts for PPO only.")
    ask_packages: bool = Field(
        True, title="Ask about packages", description="Make questions about the documented objects of packages."
    )
    min_answer_chars: int = Field(20, ge=1, title="Shortest answer", description="Of questions about packages.")
    max_answer_chars: int = Field(120, ge=20, le=10_000, title="Longest answer", description="Of such questions.")
    min_overlap: float = Field(
        1 / 3, ge=0, le=1, title="Overlap with the name",
        description="Share of an answer's content words that the object's name and parameters must hold. The more, "
        "the better the question can be answered without having read the documentation.",
    )  # fmt: skip
    max_template: int = Field(
        20, ge=1, title="Answers of one pattern", description="Keep so many answers that differ in the name only."
    )
    max_pair_chars: int = Field(
        8000,
        ge=40,
        le=1_000_000,
        title="Longest pair",
        description="Characters of a user's prompt and response together.",
    )
    max_document_bytes: int = Field(
        10_000_000, ge=1000, le=1_000_000_000, title="Largest row", description="A longer line is put into quarantine."
    )
    max_bad_share: float = Field(
        0.2, ge=0, le=1, title="Bad rows allowed",
        description="Share of a source's rows that may be malformed; above it the stage fails and says why.",
    )  # fmt: skip
    max_pairs: int | None = Field(
        None, ge=1, title="Most pairs", description="Keep only so many, chosen by their hash. Empty: all."
    )
    overlap: Overlap = Field(
        default_factory=Overlap, title="Overlap with benchmarks", json_schema_extra=neutral(Overlap().model_dump()),
        description="What counts as contamination of a pair by a benchmark, where the sources name one.",
    )  # fmt: skip

    @property
    def shares(self) -> dict[str, float]:
        """Share of each split among the pairs that are not kept for evaluation."""
        return {
            "validation": self.validation_share,
            "finetune": self.finetune_share,
            "rank": self.rank_share,
            "ppo": self.ppo_share,
        }

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = sum(self.shares.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"validation_share, finetune_share, rank_share and ppo_share sum to {total:g}: make it 1")
        return self


@stage(output="pairs", retries=2, libraries=("pyarrow",))
def pair(
    run: StageRun,
    snapshot: Artifact,
    config: PairConfig,
    resources: Resources,
    exclusions: Artifact | None = None,
    adopted: Artifact | None = None,
) -> None:
    """Write pairs.parquet, ledger.parquet, quarantine.jsonl and samples.jsonl (some of each split, to look at).

    exclusions: what must be left out, if anything (`pedigree forget`). adopted: pairs from elsewhere, to be taken
    beside those of the sources (`pedigree adopt`).
    Raises DataError if there is no pair, if too much is malformed, or if a file changed after the snapshot.
    """
    seen = Snapshot.read(snapshot.path)
    make_pairs(run, _parts(seen, config.ask_packages), seen, config, resources, exclusions, adopted)


def make_pairs(
    run: StageRun,
    found: list[Part],
    seen: Snapshot,
    config: PairConfig,
    resources: Resources,
    exclusions: Artifact | None,
    adopted: Artifact | None = None,
    setting: str = "pair.max_bad_share",
) -> None:
    """Read the parts, and write what `pair` writes. setting: what the error names where too much is malformed."""
    answers = AnswerLimits(config.min_answer_chars, config.max_answer_chars, config.min_overlap)
    limits = PairLimits(answers, config.max_pair_chars, config.max_document_bytes)
    drafts = run.work / "drafts"
    drafts.mkdir(exist_ok=True)
    tasks = [PairTask(part, limits, drafts / f"{number:06d}.parquet") for number, part in enumerate(found)]
    tasks += [take_pairs(adopted.path, limits, drafts / "adopted.parquet")] if adopted else []
    total = sum(item.size for task in tasks for item in task.part.items)
    done, began = 0, time.monotonic()
    for size in run.map(write_pairs, tasks):
        done += size
        run.progress(done, total, megabytes_per_second=round(done / 1e6 / (time.monotonic() - began), 2))
    forgotten = Forgotten.read(exclusions.path if exclusions else None)
    tables = [without(pq.read_table(task.file), forgotten) for task in tasks]
    counts = _quarantine(run, tasks, tables, forgotten)
    check(counts, config.max_bad_share, setting)
    if rejected := metrics(counts):
        run.log_metrics(rejected)
    _write(run, tasks, tables, seen, config)
    shutil.rmtree(drafts)


def _parts(seen: Snapshot, ask_packages: bool) -> list[Part]:
    """Parts that hold pairs: sources of pairs, and the documentation of packages in any role."""
    packages = list(parts(seen, kind="packages")) if ask_packages else []
    return packages + [part for part in parts(seen, role="pairs") if part.source.kind != "packages"]


def without(table: pa.Table, forgotten: Forgotten) -> pa.Table:
    """Drafts of pairs, those to be forgotten with that as their reason.

    They are known by their id, by the address of the text that they were made from, or by what they say: prompt,
    response, or both together.
    """
    if not forgotten or not table.num_rows:
        return table
    both = pc.binary_join_element_wise(table["prompt"], table["response"], pa.scalar("\n", pa.large_string()))
    known = [
        row["pair_id"] in forgotten.ids or source_digest(row["source"]) in forgotten.sources
        for row in table.select(["pair_id", "source"]).to_pylist()
    ]
    found = np.array(known, bool)
    for texts in (table["prompt"], table["response"], both):
        found |= forgotten.among(texts)
    reasons = pc.if_else(pa.array(found), FORGOTTEN, table["reason"])
    return table.set_column(table.column_names.index("reason"), "reason", reasons)


def _quarantine(
    run: StageRun, tasks: list[PairTask], tables: list[pa.Table], forgotten: Forgotten
) -> list[SourceCount]:
    counts: dict[str, SourceCount] = {}
    with (run.output / "quarantine.jsonl").open("w", encoding="utf-8") as joined:
        for task, table in zip(tasks, tables, strict=True):
            source = task.part.source
            count = counts.setdefault(source.model_dump_json(), SourceCount(source.described()))
            count.rows += table.num_rows
            for line in task.quarantine.read_text(encoding="utf-8").splitlines(keepends=True):
                entry = json.loads(line)
                if quarantined_id(entry) not in forgotten.ids:
                    joined.write(line)
                count.reject(entry["uri"], entry["line"], entry["reason"])
    return list(counts.values())


def _write(run: StageRun, tasks: list[PairTask], tables: list[pa.Table], seen: Snapshot, config: PairConfig) -> None:
    rows: list[dict[str, Any]] = []
    for task, table in zip(tasks, tables, strict=True):
        source = task.part.source.model_dump_json() if task.part.source.origin_field else ""
        rows += [row | {"origin_source": source} for row in table.to_pylist()]
    evaluation = _evaluation(rows, seen)
    _drop_contaminated(run, [row for row in rows if row["reason"] is None and not evaluation(row)], seen, config)
    candidates = [
        Candidate(index, row["pair_id"], row["prompt"], row["response"], row["pattern"], evaluation(row))
        for index, row in enumerate(rows)
        if row["reason"] is None
    ]
    choice = decide(candidates, config.shares, seen.seed, config.max_template, config.max_pairs)
    if not choice.splits:
        raise DataError(
            "there is no prompt–response pair. Add a source with role 'pairs' (such as JSON lines with prompt and "
            "response), or a source of kind 'packages', whose documentation gives questions and answers."
        )
    kept = sorted(choice.splits, key=lambda index: rows[index]["pair_id"])
    table = pa.Table.from_pylist([rows[index] | {"split": choice.splits[index]} for index in kept], SCHEMA)
    pq.write_table(table, run.output / "pairs.parquet", compression="zstd")
    _write_samples(run, table)
    with Ledger(run.output / "ledger.parquet") as ledger:
        ledger.add_table(_ledger_rows(rows, choice))
        counts = ledger.close()
    splits = Counter(choice.splits.values())
    run.log_metrics({**counts.metrics(), **{f"pairs_{name}": splits[name] for name in (*config.shares, EVALUATION)}})
    for name in (*config.shares, EVALUATION):
        if not splits[name]:
            run.logger.warning("no pair falls to %s: later stages may miss them", name)
    run.logger.info("%d pairs: %s", len(kept), ", ".join(f"{count} {name}" for name, count in sorted(splits.items())))


def _evaluation(rows: list[dict[str, Any]], seen: Snapshot) -> Any:
    """Whether a row is for evaluation: by its item, else by its origin field, else by the hash of its prompt."""
    origins: dict[str, set[str]] = {}
    for row in rows:
        if row["origin_source"] and row["split"] is None:
            origins.setdefault(row["origin_source"], set()).add(row["origin"])
    by_origin = {key: sides(seen.seed, seen.evaluation_share, sorted(found)) for key, found in origins.items()}

    def is_evaluation(row: dict[str, Any]) -> bool:
        known = by_origin.get(row["origin_source"])
        if row["split"] is not None:
            return bool(row["split"] == EVALUATION)
        if known is not None:
            return known[row["origin"]] == EVALUATION
        return side(seen.seed, seen.evaluation_share, normalised(row["prompt"])) == EVALUATION

    return is_evaluation


def _drop_contaminated(run: StageRun, rows: list[dict[str, Any]], seen: Snapshot, config: PairConfig) -> None:
    """Give the pairs that share wording with a benchmark that reason, and write which in contaminated.parquet."""
    items = benchmark_items(seen, config.max_bad_share, "pair.max_bad_share", run.logger.warning)
    if not items:
        return
    looked = EvaluationTexts(items, config.overlap)
    both = [f"{row['prompt']}\n{row['response']}" for row in rows]
    for begin in range(0, len(rows), _BLOCK):
        numbers = np.arange(begin, min(begin + _BLOCK, len(rows)))
        looked.detector.look_in(both[begin : begin + _BLOCK], numbers)
        for part in ("prompt", "response"):
            looked.detector.look_near([row[part] for row in rows[begin : begin + _BLOCK]], numbers)
    told = []
    for number, ties in sorted(looked.findings().items()):
        rows[number]["reason"] = CONTAMINATED
        told += looked.told(rows[number]["pair_id"], rows[number]["source"], both[number], ties)
    pq.write_table(pa.Table.from_pylist(told, FINDINGS), run.output / "contaminated.parquet", compression="zstd")
    run.logger.info("%d pairs share wording with benchmarks", len({row["doc_id"] for row in told}))


def _write_samples(run: StageRun, table: pa.Table) -> None:
    by_split: Counter[str] = Counter()
    with (run.output / "samples.jsonl").open("w", encoding="utf-8") as file:
        for row in table.select(["split", "prompt", "response", "source"]).to_pylist():
            by_split[row["split"]] += 1
            if by_split[row["split"]] <= _NUM_SAMPLES // 5:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _ledger_rows(rows: list[dict[str, Any]], choice: Choice) -> pa.Table:
    fates = [choice.dropped.get(index, (row["reason"], None)) for index, row in enumerate(rows)]
    kept = [index in choice.splits for index in range(len(rows))]
    return pa.table({
        "doc_id": pa.array([row["pair_id"] for row in rows], pa.string()),
        "source": pa.array([row["source"] for row in rows], pa.string()),
        "license": pa.array([row["license"] for row in rows], pa.string()),
        "language": pa.nulls(len(rows), pa.string()),
        "reason": pa.array([reason for reason, _ in fates], pa.string()),
        "duplicate_of": pa.array([other for _, other in fates], pa.string()),
        "bytes_in": pa.array([row["size"] for row in rows], pa.int64()),
        "bytes_out": pa.array([row["size"] if keep else 0 for row, keep in zip(rows, kept, strict=True)], pa.int64()),
    })  # fmt: skip
