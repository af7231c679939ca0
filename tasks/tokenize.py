"""Learns a byte-level BPE tokenizer from the kept text and writes the text as token shards with an index.

python -m flows.cli run data   (the stage after `deduplicate`)

Only documents of the corpus split "train" enter. They are split again into training and validation, whole documents,
by the hash of doc_id; near copies are gone already, so none lies across the split. In a shard every document ends with
`<|endoftext|>`; the index says where each document lies, so which step of training saw it can be computed.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from model.tokenizer import SMALLEST_VOCABULARY, SPECIAL_TOKENS, Tokenizer, tokenizer_of_words
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import DataError
from tasks.lineage.ledger import Ledger
from tasks.lineage.parallel import count_workers, in_threads, suited
from tasks.lineage.sorted_ids import short_ids
from tasks.stage import Resources, StageConfig, StageRun, stage
from tasks.text.encoded_groups import Chosen, Encoding, encode_group, encoding_of
from tasks.text.encoder import PlainEncoder
from tasks.text.fertility import Fertility, metrics_of
from tasks.text.least_points import Sample
from tasks.text.machine_code import pays
from tasks.text.points import points_of
from tasks.text.pretokens import count_words
from tasks.text.shards import count_bytes, read_corpus, row_groups, shard_paths
from tasks.text.spans import TextBatch
from tasks.text.token_shards import TRAIN, VALIDATION, ShardWriter, index_writer, token_dtype

HELD_OUT = "evaluation_split"  # why a document of the evaluation split is not in the shards
MANY_CHARACTERS = 1000  # of a script; so many that are written in parts are worth a warning
BATCH_TEXTS = 2048  # whose words are counted at once


class TokenizeConfig(StageConfig):
    """Byte-level BPE (Sennrich et al. 2016) learnt from the training text, and token shards."""

    vocab_size: int = Field(
        4096,
        ge=SMALLEST_VOCABULARY,
        le=1 << 20,
        title="Vocabulary",
        description="tokens, with the 256 bytes and the four special tokens",
    )
    validation_share: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        title="Validation share",
        description="share of training documents held out to measure pretraining",
    )
    train_bytes: int = Field(
        4_000_000,
        ge=1000,
        title="Bytes to learn from",
        description="text that the tokenizer is learnt from, at most; documents chosen by hash "
        "(4,096 tokens from 4 MB compress within 0.4% of those from 30 MB)",
    )
    seed: int = Field(0, ge=0, description="chooses validation documents and the text that is learnt from")


def assign_splits(heads: np.ndarray, trained_on: np.ndarray, config: TokenizeConfig) -> np.ndarray:
    """True for each document that goes to validation: a share of those trained on, by hash, and at least one."""
    points = np.where(trained_on, points_of(heads, config.seed, VALIDATION), np.inf)
    chosen = points < config.validation_share
    if not chosen.any():
        chosen[np.argmin(points)] = True
    return chosen


def draw(corpus: Path, config: TokenizeConfig, workers: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each document, (N,): the head of its id (sorted_ids.py), whether it is trained on or held out for validation,
    and whether the latter. workers: threads that read. Raises DataError where there are too few."""

    def read(shard: Path) -> tuple[np.ndarray, np.ndarray]:
        with pq.ParquetFile(shard, pre_buffer=False) as file:
            table = file.read(["doc_id", "split"], use_threads=False)
        return short_ids(table["doc_id"]), pc.equal(table["split"], TRAIN).to_numpy()

    found = list(in_threads(workers)(read, shard_paths(corpus)))
    heads = np.concatenate([np.zeros(0, np.uint64), *(heads for heads, _ in found)])
    trained_on = np.concatenate([np.zeros(0, bool), *(trained_on for _, trained_on in found)])
    if trained_on.sum() < 2:
        raise DataError(
            f"the corpus has {int(trained_on.sum())} training document(s) and at least 2 are needed, one "
            "of them for validation: add text, cut long files into documents, or loosen the rules of "
            "`clean`"
        )
    return heads, trained_on, assign_splits(heads, trained_on, config)


def learn(run: StageRun, corpus: Path, heads: np.ndarray, chosen: np.ndarray, config: TokenizeConfig) -> Tokenizer:
    """Train the tokenizer on documents chosen by hash among some. heads: of the ids, (N,), in corpus order; chosen:
    whether it may be learnt from each, (N,)."""
    points = np.where(chosen, points_of(heads, config.seed, "vocabulary"), np.inf)
    sample, begin = Sample(config.train_bytes), 0
    for table in read_corpus(corpus, ["text"]):
        sample.add(points[begin : begin + table.num_rows], table["text"])
        begin += table.num_rows
    texts = sample.texts()
    run.logger.info("learning a vocabulary of %d from %d documents", config.vocab_size, len(texts))
    batches = (TextBatch(texts[row : row + BATCH_TEXTS]) for row in range(0, len(texts), BATCH_TEXTS))
    return tokenizer_of_words(count_words(batches, pays(count_bytes(corpus))), config.vocab_size)


@stage(output="tokens", retries=2, libraries=("numba", "numpy", "pyarrow", "tokenizers"))
def tokenize(
    run: StageRun,
    corpus: Artifact,
    config: TokenizeConfig,
    resources: Resources,
    tokenizer: Artifact | None = None,
) -> None:
    """Learn a tokenizer, then write token shards, their index and a ledger.

    tokenizer: one that is there already, or a model whose tokenizer it is; then none is learnt.
    """
    heads, trained_on, validation = draw(corpus.path, config, count_workers(resources.workers))
    if tokenizer is None:
        known = learn(run, corpus.path, heads, trained_on & ~validation, config)
    else:
        known = given_tokenizer(tokenizer.path)
    known.save(run.output / "tokenizer.json")
    write_shards(run, corpus.path, known, trained_on, validation, resources)


def given_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of an output: of a tokenizer, or of a model."""
    return Tokenizer.load(folder / "model" if (folder / "model").is_dir() else folder)


def write_shards(
    run: StageRun,
    corpus: Path,
    tokenizer: Tokenizer,
    trained_on: np.ndarray,
    validation: np.ndarray,
    resources: Resources,
) -> None:
    """Encode all training documents; write shards, index, ledger and meta.json."""
    dtype = token_dtype(tokenizer.vocab_size)
    num_bytes, workers = count_bytes(corpus), count_workers(resources.workers)
    compiled, mapper = pays(num_bytes), suited(run.map, resources, num_bytes)
    fertility: Fertility | None = None
    began, done = time.monotonic(), 0
    groups = list(row_groups(corpus))
    ends = np.cumsum([group.rows for group in groups]).tolist()
    splits = (trained_on & ~validation, validation)
    chosen = [
        Chosen(group, tuple(split[end - group.rows : end] for split in splits))
        for group, end in zip(groups, ends, strict=True)
    ]

    with ExitStack() as stack:
        shards = {
            split: stack.enter_context(closing(ShardWriter(run.output, split, dtype))) for split in (TRAIN, VALIDATION)
        }
        ledger = stack.enter_context(Ledger(run.output / "ledger.parquet", len(trained_on), workers))
        index = stack.enter_context(index_writer(run.output))
        encoded = mapper(partial(encode_group, folder=run.output, compiled=compiled), chosen)
        for one, end, made in zip(chosen, ends, encoded, strict=True):
            if fertility is None:  # not before: others encode while this process gets ready for it
                fertility = begin_fertility(run, encoding_of(run.output, compiled))
            table = one.group.read(["doc_id", "source", "license", "language"])
            if made.tally is not None:
                fertility.merge(made.tally)
            for shard, rows, tokens in zip(shards.values(), one.splits, made.tokens, strict=True):
                if len(tokens):
                    doc_ids = table["doc_id"].filter(pa.array(rows))
                    index.write_table(shard.write(doc_ids, tokens, made.lengths[rows], made.sizes[rows]))
                    done += int(made.sizes[rows].sum())
            ledger.add_table(ledger_rows(table, made.sizes, trained_on[end - one.group.rows : end]))
            run.progress(end, len(trained_on), megabytes_per_second=done / 1e6 / (time.monotonic() - began))
        counts = ledger.close()
    meta: dict[str, Any] = {"vocab_size": tokenizer.vocab_size, "dtype": "uint16" if dtype.itemsize == 2 else "uint32"}
    for split, shard in shards.items():
        meta |= {f"{split}_tokens": shard.tokens, f"{split}_bytes": shard.bytes, f"{split}_documents": shard.documents}
    present = [token for token in SPECIAL_TOKENS if tokenizer.backend.token_to_id(token) is not None]
    meta["special_tokens"] = {token: tokenizer.token_id(token) for token in present}
    (run.output / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    figures = {name: value for name, value in meta.items() if isinstance(value, int)}
    bytes_per_token = meta["train_bytes"] / max(meta["train_tokens"], 1)
    run.log_metrics({**counts.metrics(), **figures, "bytes_per_token": bytes_per_token})
    assert fertility is not None  # there are documents
    report_fertility(run, fertility)


def begin_fertility(run: StageRun, encoding: Encoding) -> Fertility:
    """What is added up of all documents; says so where they are encoded slowly."""
    if isinstance(encoding.encoder, PlainEncoder):
        run.logger.info("%s: encoding with tokenizers itself, many times more slowly", encoding.encoder.reason)
    return Fertility(encoding.pieces)


def report_fertility(run: StageRun, fertility: Fertility) -> None:
    """fertility.jsonl, its figures, and a warning for each script that the tokenizer knows badly."""
    rows = fertility.rows()
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (run.output / "fertility.jsonl").write_text("".join(lines), encoding="utf-8")
    run.log_metrics(metrics_of(rows))
    for row in rows:
        if row.get("characters", 0) >= MANY_CHARACTERS and row["whole_share"] < 0.5:
            run.logger.warning(
                "the tokenizer has no token for %.0f%% of the %d characters of the script %s and writes them in parts",
                100 * (1 - row["whole_share"]), row["characters"], row["name"],
            )  # fmt: skip


def ledger_rows(table: pa.Table, sizes: np.ndarray, trained_on: np.ndarray) -> pa.Table:
    """Ledger rows of documents of so many bytes, (N,): kept if they are in the shards."""
    return pa.table(
        {
            "doc_id": table["doc_id"],
            "source": table["source"],
            "license": table["license"],
            "language": table["language"],
            "reason": pc.if_else(pa.array(trained_on), pa.scalar(None, pa.string()), HELD_OUT),
            "duplicate_of": pa.nulls(table.num_rows, pa.string()),
            "bytes_in": sizes.astype(np.int64),
            "bytes_out": np.where(trained_on, sizes, 0).astype(np.int64),
        }
    )
