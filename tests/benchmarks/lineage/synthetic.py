"""A store with ten thousand records and ten million documents, in the format that real runs leave.

Records come from the stages' own recipes: their settings, code and versions, and so a real record's size. Half of the
courses were trained on one corpus of `documents` documents, the others on a hundred small ones. The tables of data
stages are complete; models are a stub, since no question about lineage reads weights; token shards are holes in a
file. Digests are made up: `pedigree verify` would find everything damaged.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from flows import course
from tasks.lineage.artifact import Artifact
from tasks.lineage.ledger import DROPPED, KEPT
from tasks.lineage.ledger import SCHEMA as LEDGER_SCHEMA
from tasks.lineage.recipe import Use
from tasks.lineage.record import Output, Record, StoredFile
from tasks.lineage.store import Store
from tasks.pair import SCHEMA as PAIR_SCHEMA
from tasks.rank import SCHEMA as RANKING_SCHEMA
from tasks.stage import Stage
from tasks.text.shards import COLLECTED_FROM
from tasks.text.shards import SCHEMA as CORPUS_SCHEMA
from tasks.text.token_shards import INDEX, SHARD_TOKENS

MODELS = ("pretrain", "finetune", "rank", "reward", "ppo", "evaluate")
CHUNK = 250_000  # documents made at once
SMALL_CORPORA = 100
SMALL_DOCUMENTS = 1_000
PAIRS = 20_000
RANKED = 50
TOKENS_A_DOCUMENT = 40
TEXTS = pa.array([f"Document {number} of a thousand texts that say about the same." for number in range(1000)])
OLD = 1_700_000_000  # seconds since 1970: modification time of all records, so that the header index takes them


@dataclass
class Synthetic:
    """The store being made, and what of it the questions ask for."""

    root: Path
    documents: int
    records: int = 0
    made: dict[str, Artifact] = field(default_factory=dict)  # stage → of the newest course
    document: str = ""  # id of one that was trained on

    @property
    def store(self) -> Store:
        return Store(self.root)


def make(root: Path, records: int, documents: int) -> dict[str, Any]:
    """Fills `root`, or finds it filled, and gives {"records", "documents", "document", "corpus", "model"}."""
    done = root / "synthetic.json"
    if done.is_file():
        found: dict[str, Any] = json.loads(done.read_text())
        if (found["asked_records"], found["documents"]) == (records, documents):
            return found
    world = Synthetic(root, documents)
    number = 0
    small: list[dict[str, Artifact]] = []
    large = _data(world, 0, documents)
    while world.records < records - len(MODELS):
        if number % 2 and len(small) < SMALL_CORPORA:
            small.append(_data(world, len(small) + 1, SMALL_DOCUMENTS))
        data = small[number % len(small)] if number % 2 and small else large
        _models(world, number, data)
        number += 1
    _models(world, number, large)
    facts = {
        "asked_records": records, "records": world.records, "documents": documents, "document": world.document,
        "corpus": large["deduplicate"].digest, "model": world.made["ppo"].digest,
    }  # fmt: skip
    done.write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def _models(world: Synthetic, number: int, data: dict[str, Artifact]) -> None:
    made = dict(data)
    inputs = {
        "pretrain": {"tokens": "tokenize"},
        "finetune": {"model": "pretrain", "pairs": "pair"},
        "rank": {"model": "finetune", "pairs": "pair"},
        "reward": {"model": "finetune", "rankings": "rank"},
        "ppo": {"model": "finetune", "reward_model": "reward", "pairs": "pair"},
        "evaluate": {
            "pretrained": "pretrain", "finetuned": "finetune", "reward_model": "reward", "aligned": "ppo",
            "tokens": "tokenize", "pairs": "pair", "rankings": "rank", "corpus": "decontaminate",
        },
    }  # fmt: skip
    for stage in MODELS:
        given = {name: made[source] for name, source in inputs[stage].items()}
        made[stage] = _record(world, stage, number, given)
        folder = world.store.object_path(made[stage].digest)
        folder.mkdir(parents=True, exist_ok=True)
        if stage == "rank":
            _rankings(world, folder)
        else:
            (folder / "metrics.json").write_text("{}")
    world.made = made


def _record(world: Synthetic, stage: str, number: int, inputs: dict[str, Artifact], **figures: float) -> Artifact:
    declared: Stage = getattr(course, stage)
    config = declared.config_type()
    if "seed" in type(config).model_fields:
        config = config.model_copy(update={"seed": number})
    recipe = declared.recipe
    use = Use(recipe, dict(sorted(inputs.items())), config.resolved())
    key = hashlib.sha256(f"{use.key} {number}".encode()).hexdigest()
    digest = hashlib.sha256(f"output {key}".encode()).hexdigest()
    files = [StoredFile(path=f"part-{part}", size=1000, sha256=digest) for part in range(6)]
    record = Record(
        key=key, stage=stage, inputs=dict(use.inputs), config=use.config_identity, code=recipe.code.definitions,
        code_digest=recipe.code.digest, versions=recipe.versions,
        output=Output(kind=declared.kind, digest=digest, files=files),
        metrics={**{f"eval/figure_{n}": n / 7 for n in range(20)}, **figures},
        documents={name: int(value) for name, value in figures.items()} or None,
        wall_seconds=1, cpu_seconds=1, energy_wh=0, numerics={"threads": 1}, git_commit="0" * 40,
        flow_run_id=f"00000000-0000-4000-8000-{number:012d}", mlflow_run_id=digest[:32],
        created=f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000+00:00",
    )  # fmt: skip
    path = world.store.record_path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(record.model_dump_json(indent=1).encode())
    os.utime(path, (OLD, OLD))
    world.records += 1
    return record.artifact


# -- documents -------------------------------------------------------------------------------------------------


def _data(world: Synthetic, number: int, documents: int) -> dict[str, Artifact]:
    """The records of one course's data stages, and their tables."""
    made = {"snapshot": _record(world, "snapshot", number, {})}
    counts = {"documents_in": float(documents), "documents_kept": float(documents), "documents_dropped": 0.0}
    for stage, sources in {
        "collect": {"snapshot": "snapshot"},
        "clean": {"corpus": "collect"},
        "deduplicate": {"corpus": "clean"},
        "pair": {"snapshot": "snapshot"},
        "decontaminate": {"corpus": "deduplicate", "pairs": "pair", "snapshot": "snapshot"},
        "tokenize": {"corpus": "decontaminate"},
    }.items():
        given = {name: made[source] for name, source in sources.items()}
        made[stage] = _record(world, stage, number, given, **counts)
    folders = {stage: world.store.object_path(artifact.digest) for stage, artifact in made.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    (folders["snapshot"] / "items.json").write_text("{}")
    _chain(world, folders, number, documents)
    _pairs(folders["pair"], number, min(PAIRS, documents))
    return made


def _chain(world: Synthetic, folders: dict[str, Path], number: int, documents: int) -> None:
    """What the stages from collect to tokenize write of the same documents, chunk by chunk."""
    corpora = ("collect", "clean", "deduplicate", "decontaminate")
    ledgers = {stage: _writer(folders[stage] / "ledger.parquet", LEDGER_SCHEMA) for stage in (*corpora, "tokenize")}
    texts = {stage: _writer(folders[stage] / "documents-00000.parquet", CORPUS_SCHEMA) for stage in corpora}
    index = _writer(folders["tokenize"] / "index.parquet", INDEX)
    at = {"train": 0, "validation": 0}
    for rows, ids, sources in _identities(number, documents):
        alive = np.ones(len(rows), bool)
        for stage in (*corpora, "tokenize"):
            dropped = {"clean": rows % 33 == 5, "deduplicate": rows % 11 == 3}.get(
                stage, np.zeros(len(rows), bool)
            ) & alive
            reason = pa.array(["near duplicate" if stage == "deduplicate" else "too short"] * len(rows), mask=~dropped)
            before = ids.take(pa.array(np.maximum(np.arange(len(rows)) - 1, 0)))
            copy = before if stage == "deduplicate" else pa.nulls(len(rows), pa.string())
            copy = pa.compute.if_else(pa.array(dropped), copy, None)
            sizes = pa.array(np.full(len(rows), 60))
            told = pa.nulls(len(rows), pa.string())  # licence and language
            decision = pa.compute.if_else(pa.array(dropped), DROPPED, KEPT)
            columns = [ids, sources, told, told, decision, reason, copy, sizes, sizes]
            ledger = pa.table(columns, schema=LEDGER_SCHEMA)
            ledgers[stage].write_table(ledger.filter(pa.array(alive)))
            alive &= ~dropped
            if stage in corpora:
                texts[stage].write_table(_texts(rows, ids, sources).filter(pa.array(alive)))
        for split in at:
            chosen = np.flatnonzero(alive & ((rows % 100 == 7) == (split == "validation")))
            index.write_table(_index(ids.take(pa.array(chosen)), split, at[split]))
            at[split] += len(chosen) * TOKENS_A_DOCUMENT
        if number == 0 and not world.document:
            world.document = ids[len(rows) // 2 // 33 * 33].as_py()
    for writer in (*ledgers.values(), *texts.values(), index):
        writer.close()
    _shards(folders["tokenize"], at)


def _identities(number: int, documents: int) -> Iterator[tuple[np.ndarray, pa.Array, pa.Array]]:
    """Row numbers, ids and sources of the documents, a chunk at a time."""
    random = np.random.default_rng(number)
    for start in range(0, documents, CHUNK):
        count = min(CHUNK, documents - start)
        digits = np.frombuffer(random.bytes(16 * count).hex().encode(), "S32")
        sources = [f"file://texts/{row // 1000:06d}.jsonl#{row % 1000}" for row in range(start, start + count)]
        yield np.arange(start, start + count), pa.array(digits).cast(pa.string()), pa.array(sources)


def _texts(rows: np.ndarray, ids: pa.Array, sources: pa.Array) -> pa.Table:
    def constant(value: str) -> pa.Array:
        return pa.array([value]).take(pa.array(np.zeros(len(rows), np.int64)))

    names = {
        "doc_id": ids, "text": TEXTS.take(pa.array(rows % 1000)).cast(pa.large_string()), "source": sources,
        "origin": pa.array([f"origin {number}" for number in range(50)]).take(pa.array(rows % 50)),
        "license": constant("MIT"), "kind": constant("text"), "language": constant("en"),
        "collector": constant("files"), "split": constant("train"),
        "collected_from": pa.nulls(len(rows), COLLECTED_FROM),
    }  # fmt: skip
    return pa.table(names, schema=CORPUS_SCHEMA)


def _index(ids: pa.Array, split: str, first: int) -> pa.Table:
    count = len(ids)
    at = first + np.arange(count, dtype=np.int64) * TOKENS_A_DOCUMENT
    length = pa.array(np.full(count, TOKENS_A_DOCUMENT, np.int32))
    return pa.table(
        [
            ids, pa.array([split]).take(pa.array(np.zeros(count, np.int64))),
            pa.array((at // SHARD_TOKENS).astype(np.int32)), pa.array(at % SHARD_TOKENS), length, length,
        ],
        schema=INDEX,
    )  # fmt: skip


def _shards(folder: Path, tokens: dict[str, int]) -> None:
    for split, total in tokens.items():
        for shard in range(-(-total // SHARD_TOKENS) or 1):
            with (folder / f"{split}-{shard:05d}.bin").open("wb") as file:
                file.truncate(2 * min(SHARD_TOKENS, total - shard * SHARD_TOKENS))
    meta = {"vocab_size": 8192, "dtype": "uint16"}
    meta |= {f"{split}_tokens": total for split, total in tokens.items()}
    (folder / "meta.json").write_text(json.dumps(meta))


def _pairs(folder: Path, number: int, count: int) -> None:
    splits = np.array(["finetune", "rank", "ppo", "validation", "evaluation"])
    for rows, ids, sources in _identities(10**6 + number, count):
        words = TEXTS.take(pa.array(rows % 1000))
        table = pa.table([ids, words, words, sources, words, words, pa.array(splits[rows % 5])], schema=PAIR_SCHEMA)
        pq.write_table(table, folder / "pairs.parquet", compression="zstd")


def _rankings(world: Synthetic, folder: Path) -> None:
    """The same table for all, as one file."""
    common = world.root / "rankings.parquet"
    if not common.is_file():
        answers = [
            {"text": "An answer.", "author": "model", "finished": True, "rank": n, "score": 0.5} for n in range(4)
        ]
        rows = [
            {"prompt_id": hashlib.sha256(str(n).encode()).hexdigest()[:32], "prompt": "What?", "origin": "o",
             "split": "train", "rater": "reference", "annotator": "reference", "responses": answers}
            for n in range(RANKED)
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, RANKING_SCHEMA), common, compression="zstd")
    if not (folder / "rankings.parquet").exists():
        os.link(common, folder / "rankings.parquet")


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)
