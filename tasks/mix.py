"""Mixes named sources into the text that is trained on: so much of each, repeated or sampled, in an order of chance.

pedigree run train --config mine.yaml     (with a section `mix`; without one the text is trained on as it is)

What comes out has the form of what came in: token shards with an index, in which a document stands as often as it is
read. So training, and every question about it, needs to know nothing of mixtures. The shards cost disk, two bytes a
token; in return training reads in a row, and what a step saw follows from the index as ever. Another mixture is
written without encoding the text again. Documents held out for validation pass unchanged.
"""

import json
import shutil
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import ConfigError, DataError
from tasks.lineage.ledger import Ledger
from tasks.lineage.sorted_ids import short_ids
from tasks.mixture import MixSource, Portions, draw, portions, unique_names
from tasks.stage import Resources, StageConfig, StageRun, stage
from tasks.text.points import points_of
from tasks.text.shards import shard_paths
from tasks.text.token_shards import INDEX, TRAIN, VALIDATION, ShardWriter, index_writer

NO_SOURCE, NOT_DRAWN = "no_source_of_mixture", "not_drawn"
FIELDS = ("source", "origin", "license", "language", "kind")
BATCH_TOKENS = 1 << 22  # gathered at once
BATCH_ROWS = 1 << 16
_NOWHERE = -1


class MixConfig(StageConfig):
    """A mixture of named sources; without any, the text is trained on as it is."""

    sources: tuple[MixSource, ...] = Field(
        (),
        title="Sources",
        max_length=100,
        description="Named groups of documents with weights, epochs and caps. A document belongs to the first whose "
        "patterns it matches; those that match none are left out.",
    )
    tokens: int | None = Field(
        None,
        ge=1,
        title="Tokens",
        description="of the whole mixture. Empty: as many as there can be with every source at its weight.",
    )
    seed: int = Field(0, ge=0, description="chooses the documents that are read, and their order")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        unique_names(self.sources)
        return self


@stage(output="tokens", retries=2, libraries=("numpy", "pyarrow"))
def mix(run: StageRun, tokens: Artifact, corpus: Artifact, config: MixConfig, resources: Resources) -> None:
    """Write token shards of the mixture, their index, a ledger, and mixture.jsonl: what was wanted and what came of it.

    corpus: what was tokenised; it says where documents come from. Raises ConfigError where a source matches nothing,
    DataError where the corpus is another one.
    """
    if not config.sources:
        raise ConfigError("mix.sources names no source: name some, or run without `mix`")
    with pq.ParquetFile(tokens.path / "index.parquet") as file:
        index = file.read()
    heads = short_ids(index["doc_id"])
    described = describe(corpus.path, heads, config)
    in_training = pc.equal(index["split"], TRAIN).to_numpy()
    source_of = np.where(in_training, described.source_of, _NOWHERE)
    lengths = index["length"].to_numpy().astype(np.int64)
    available = np.bincount(source_of[source_of >= 0], lengths[source_of >= 0], len(config.sources)).astype(np.int64)
    refuse_empty(config, available)
    shares = portions(config.sources, available, config.tokens)
    times = np.zeros(len(lengths), np.int64)
    for number, source in enumerate(config.sources):
        rows = np.flatnonzero(source_of == number)
        chance = points_of(heads[rows], config.seed, f"drawn for {source.name}")
        times[rows] = draw(lengths[rows], chance, int(shares.given[number]))
    if not times.any():
        raise ConfigError(
            f"no document fits into the {int(shares.given.sum()):,} tokens that the mixture is to have: raise "
            "mix.tokens, the caps or the epochs"
        )
    write_mixture(run, tokens.path, index, ordered(heads, times, config.seed))
    counts = write_ledger(run.output / "ledger.parquet", index, described, times, in_training, source_of)
    report(run, config, shares, source_of, times, lengths)
    run.log_metrics(counts)


class Described:
    """Of each document of an index (N,): the number of its source in the mixture, and the columns of a ledger."""

    def __init__(self, size: int) -> None:
        self.source_of = np.full(size, _NOWHERE, np.int64)
        self.columns: dict[str, pa.Array] = {}


def describe(corpus: Path, heads: NDArray[np.uint64], config: MixConfig) -> Described:
    """Look up the documents whose ids begin with `heads` (N,) in the corpus."""
    order = np.argsort(heads)
    found = Described(len(heads))
    rows, columns = [], []
    for path in shard_paths(corpus):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["doc_id", *FIELDS], use_threads=False):
                table = pa.Table.from_batches([batch])
                ids = short_ids(table["doc_id"])
                places = np.searchsorted(heads, ids, sorter=order)
                places[places == len(heads)] = 0
                here = order[places]
                known = heads[here] == ids
                table, here = table.filter(pa.array(known)), here[known]
                for number in reversed(range(len(config.sources))):  # the first that matches is written last
                    found.source_of[here[config.sources[number].matches(table)]] = number
                rows.append(here)
                columns.append(table.select(["source", "license", "language"]))
    table, place = pa.concat_tables(columns), np.concatenate(rows)
    if len(place) != len(heads):
        raise DataError(
            f"the corpus describes {len(place)} of the {len(heads)} documents of the tokens: mix the two that "
            "belong together"
        )
    table = table.take(pa.array(np.argsort(place)))
    found.columns = {name: table[name] for name in table.column_names}
    return found


def refuse_empty(config: MixConfig, available: NDArray[np.int64]) -> None:
    """Raises ConfigError where a source has no training document."""
    for source, count in zip(config.sources, available.tolist(), strict=True):
        if not count:
            given = source.model_dump(include={"source", "license", "language", "kind"}, exclude_defaults=True)
            patterns = ", ".join(f"{name} {' or '.join(values)}" for name, values in given.items()) or "every document"
            raise ConfigError(
                f"the source {source.name!r} of the mixture ({patterns}) has no training document that no earlier "
                "source takes: mend its patterns, their order, or leave it out"
            )


def ordered(heads: NDArray[np.uint64], times: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The rows of the index in the order in which they are written, each as often as it is read."""
    rows, chance = [], []
    for number in range(int(times.max())):
        again = np.flatnonzero(times > number)
        rows.append(again)
        chance.append(points_of(heads[again], seed, f"order of pass {number}"))
    return np.concatenate(rows)[np.argsort(np.concatenate(chance), kind="stable")]


def write_mixture(run: StageRun, tokens: Path, index: pa.Table, rows: NDArray[np.int64]) -> None:
    """Shards, index, meta.json and tokenizer.json. rows: of the index, as the training text is to be."""
    meta: dict[str, Any] = json.loads((tokens / "meta.json").read_text(encoding="utf-8"))
    dtype = np.dtype(meta["dtype"]).newbyteorder("<")
    shards = [np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)
              for path in sorted(tokens.glob(f"{TRAIN}-*.bin"))]  # fmt: skip
    shard_of, starts, lengths, sizes = (index[name].to_numpy() for name in ("shard", "offset", "length", "bytes"))
    ends = np.cumsum(lengths[rows], dtype=np.int64)
    cuts = np.searchsorted(ends, np.arange(BATCH_TOKENS, int(ends[-1]) + BATCH_TOKENS, BATCH_TOKENS), side="left") + 1
    with ExitStack() as stack:
        writer = stack.enter_context(closing(ShardWriter(run.output, TRAIN, dtype)))
        written = stack.enter_context(index_writer(run.output))
        doc_ids = index["doc_id"].combine_chunks()
        for begin, end in zip([0, *cuts[:-1].tolist()], np.minimum(cuts, len(rows)).tolist(), strict=True):
            part = rows[begin:end]
            if len(part):
                ids = gather(shards, shard_of[part], starts[part], lengths[part])
                written.write_table(
                    writer.write(doc_ids.take(pa.array(part)), ids, lengths[part].astype(np.int64), sizes[part])
                )
                run.progress(int(ends[end - 1]), int(ends[-1]))
        written.write_table(index.filter(pc.equal(index["split"], VALIDATION)).cast(INDEX))
    for path in [*tokens.glob(f"{VALIDATION}-*.bin"), tokens / "tokenizer.json"]:
        shutil.copyfile(path, run.output / path.name)
    meta |= {f"{TRAIN}_tokens": writer.tokens, f"{TRAIN}_bytes": writer.bytes, f"{TRAIN}_documents": writer.documents}
    (run.output / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    run.log_metrics({name: value for name, value in meta.items() if isinstance(value, int)})


def gather(
    shards: list[NDArray[Any]], shard_of: NDArray[np.integer], starts: NDArray[np.integer], lengths: NDArray[np.integer]
) -> NDArray[Any]:
    """The tokens of documents end to end: of each its shard, its first token there, and how many it has, all (N,)."""
    before = np.cumsum(lengths, dtype=np.int64) - lengths
    places = np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
    result = np.zeros(len(places), shards[0].dtype)
    holder = np.repeat(shard_of, lengths)
    for number in np.unique(shard_of).tolist():
        here = holder == number
        result[here] = shards[number][places[here]]
    return result


def write_ledger(
    path: Path,
    index: pa.Table,
    described: Described,
    times: NDArray[np.int64],
    in_training: NDArray[np.bool_],
    source_of: NDArray[np.int64],
) -> dict[str, float]:
    """What became of each document of the tokens; one that is read n times has n times its bytes. Gives the counts."""
    drawn = ~in_training | (times > 0)
    reasons = np.where(source_of == _NOWHERE, NO_SOURCE, NOT_DRAWN)
    size = index["bytes"].to_numpy().astype(np.int64)
    with Ledger(path, documents_in=index.num_rows) as ledger:
        ledger.add_table(
            pa.table({
                "doc_id": index["doc_id"],
                **described.columns,
                "reason": pa.array(reasons, pa.string(), mask=drawn),
                "duplicate_of": pa.nulls(index.num_rows, pa.string()),
                "bytes_in": pa.array(size),
                "bytes_out": pa.array(np.where(in_training, size * times, size)),
            })
        )  # fmt: skip
        return ledger.close().metrics()


def report(
    run: StageRun,
    config: MixConfig,
    shares: Portions,
    source_of: NDArray[np.int64],
    times: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> None:
    """mixture.jsonl and the figures: for each source what its weight asks for, and what it became."""
    read = times * lengths
    total, wanted = int(read.sum()), int(shares.wanted.sum())
    with (run.output / "mixture.jsonl").open("w", encoding="utf-8") as file:
        for number, source in enumerate(config.sources):
            of_source = source_of == number
            tokens = int(read[of_source].sum())
            row: dict[str, Any] = {
                "name": source.name,
                "weight": source.weight,
                "available_tokens": int(shares.available[number]),
                "most_tokens": int(shares.limit[number]),
                "wanted_tokens": int(shares.wanted[number]),
                "tokens": tokens,
                "wanted_share": float(shares.wanted[number] / wanted) if wanted else 0.0,
                "share": tokens / total,
                "epochs": float(tokens / shares.available[number]),
                "documents": int((times[of_source] > 0).sum()),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            figures = ("wanted_share", "share", "tokens", "epochs", "documents")
            run.log_metrics({f"mix/{source.name}/{name}": row[name] for name in figures})
            if tokens < 0.98 * row["wanted_tokens"]:
                run.logger.warning(
                    "%s: %d tokens are wanted, %d are in the mixture; it may give %d at most (its epochs and caps)",
                    source.name, row["wanted_tokens"], tokens, row["most_tokens"],
                )  # fmt: skip
