"""Which training steps saw a document: computed from the functions of (seed, step) that drew the batches, not logged.

A step is the number that the batch was drawn with, counted from 0; what the stage logged of it stands at the next
number. Only what a stage reads itself counts: a fine-tuned model inherits from the text its base was pretrained on,
but none of its own steps saw that text.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.impact.census import StoreView
from tasks.lineage.artifact import Artifact
from tasks.lineage.codebase import codebase
from tasks.lineage.cost import library_versions
from tasks.lineage.document_rows import rows_of
from tasks.lineage.errors import PedigreeError
from tasks.lineage.fates import fates_of
from tasks.lineage.fingerprint import digest_of, reach
from tasks.lineage.record import Record
from tasks.lineage.resolve import Node
from tasks.lineage.sorted_ids import Ids, short_ids
from tasks.lineage.store import Store

if TYPE_CHECKING:
    from model.tokenizer import Tokenizer
    from model.transformer import Transformer

MOST_STEPS = 1000  # named one by one; `ranges` tell of all
MOST_RANGES = 1000

DRAWN_BY = {
    "pretrain": (("model.data", "PackedWindows"), ("model.data", "TokenShards")),
    "finetune": (("model.data", "ExampleBatches"), ("tasks.finetune", "examples_of"), ("tasks.pairs", "read_pairs")),
    "reward": (
        ("tasks.reward", "epoch_order"),
        ("tasks.reward", "training_pairs"),
        ("tasks.reward", "steps_per_epoch"),
    ),
    "ppo": (("model.ppo", "prompt_batch"), ("tasks.ppo", "read_questions")),
}
"""Stage → the definitions that decide what is in a batch."""

PACKED = (("model.packing", "PackedExamples"),)
"""Those that decide it besides where fine-tuning packed its pairs."""

LIBRARIES = {"pretrain": ("numpy",), "finetune": ("numpy",), "reward": ("torch",), "ppo": ("torch",)}
"""Stage → the library whose random numbers order its batches."""


@dataclass(frozen=True)
class Seen:
    """The steps of one training that saw any of some documents.

    of: steps in all. doubts: why the answer may not be what was drawn then (the code or a library is another now).
    unknown: why nothing can be said; the steps are then empty.
    """

    steps: NDArray[np.int64]
    of: int
    doubts: list[str] = field(default_factory=list)
    unknown: str | None = None

    def as_json(self) -> dict[str, Any]:
        """count, of, steps (the first MOST_STEPS), ranges ([first, last], the first MOST_RANGES), doubts, unknown."""
        return {
            "count": len(self.steps),
            "of": self.of,
            "steps": self.steps[:MOST_STEPS].tolist(),
            "ranges": ranges(self.steps)[:MOST_RANGES],
            "doubts": self.doubts,
            "unknown": self.unknown,
        }


NOT_COMPUTED = Seen(np.zeros(0, np.int64), 0, unknown="not computed for so old a training; --all-steps does it")


def ranges(steps: NDArray[np.int64]) -> list[list[int]]:
    """Runs of steps in a row, as [first, last]."""
    if not len(steps):
        return []
    cuts = np.flatnonzero(np.diff(steps) > 1)
    firsts, lasts = steps[np.append(0, cuts + 1)], steps[np.append(cuts, len(steps) - 1)]
    return [list(pair) for pair in zip(firsts.tolist(), lasts.tolist(), strict=True)]


def steps_seeing(view: StoreView, record: Record, ids: Ids) -> Seen | None:
    """The steps of a training that saw any of the documents; None for a stage that does not train."""
    counted = COUNTED.get(record.stage)
    if counted is None:
        return None
    try:
        steps, of = counted(view, record, ids)
    except (OSError, KeyError, ValueError, PedigreeError) as error:  # what it read is gone, or of another version
        reason = f"{type(error).__name__}: {error}"
        return Seen(np.zeros(0, np.int64), 0, unknown=reason)
    return Seen(steps, of, doubts(record))


def doubts(record: Record) -> list[str]:
    """What may have drawn other batches then than it does now: definitions and libraries that have changed since."""
    code = codebase(Path(__file__).resolve().parents[2])
    drawn_by = DRAWN_BY[record.stage] + (PACKED if record.config.get("packing") else ())
    now = reach(code, [Node("definition", module, name) for module, name in drawn_by])
    changed = [name for name, source in now.items() if record.code.get(name) != digest_of(source)]
    libraries = [name for name in LIBRARIES[record.stage] if name in record.versions]
    versions = library_versions(libraries)
    moved = [f"{name} was {record.versions[name]} and is {versions[name]} now" for name in libraries
             if record.versions[name] != versions[name]]  # fmt: skip
    return [f"{name} is not the code that drew the batches" for name in changed] + moved


def num_pretrain_steps(config: Mapping[str, Any]) -> int:
    """As `PretrainConfig.num_steps`, whose module takes seconds to import."""
    per_step = config["batch_size"] * config["context_length"]
    return int(config.get("steps") or -(-config["tokens"] // per_step))


_Counted = tuple[NDArray[np.int64], int]


def _pretrain(view: StoreView, record: Record, ids: Ids) -> _Counted:
    from model.data import PackedWindows, Span, TokenShards

    tokens = record.inputs["tokens"]
    folder = view.store.object_path(tokens.digest)
    spans = [Span(*place) for place in _places(view.store, tokens.digest, tuple(ids.tolist()))]
    config = record.config
    dtype = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["dtype"]
    windows = PackedWindows(
        TokenShards(sorted(folder.glob("train-*.bin")), dtype),
        context=config["context_length"], batch_size=config["batch_size"], seed=config["seed"],
    )  # fmt: skip
    steps = num_pretrain_steps(config)
    return windows.steps_reading(spans, steps), steps


@lru_cache(maxsize=16)
def _places(store: Store, digest: str, ids: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(shard, first token, end) of the documents' training text in an output of `tokenize`."""
    fates = fates_of(store, digest)
    rows = np.zeros(0, np.int64) if fates is None else fates.rows("index.parquet", np.array(ids, np.uint64))
    found = rows_of(store.object_path(digest) / "index.parquet", rows, ("split", "shard", "offset", "length"))
    return [(row["shard"], row["offset"], row["offset"] + row["length"]) for row in found if row["split"] == "train"]


def _finetune(view: StoreView, record: Record, ids: Ids) -> _Counted:
    from tasks.finetune import FinetuneConfig, examples_of, make_batches
    from tasks.pairs import read_pairs

    config = FinetuneConfig.model_validate(record.config)
    model, tokenizer = _reader(view, record.inputs["model"])
    pairs = read_pairs(view.store.object_path(record.inputs["pairs"].digest), "finetune", config.max_pairs, config.seed)
    examples: list[Any] = []
    rows: list[int] = []
    wanted = _among([pair.pair_id for pair in pairs], ids)
    for pair, is_wanted in zip(pairs, wanted.tolist(), strict=True):
        fitting = examples_of([pair], model, tokenizer).examples
        rows += [len(examples)] if is_wanted and fitting else []
        examples += fitting
    batches = make_batches(examples, config, tokenizer.pad_id, model.config.max_position_embeddings)
    steps = config.steps or config.epochs * batches.steps_per_epoch
    return batches.steps_with(rows, steps), steps


def _reward(view: StoreView, record: Record, ids: Ids) -> _Counted:
    from tasks.rankings import read_rankings
    from tasks.reward import RewardConfig, epoch_order, steps_per_epoch, training_pairs

    config = RewardConfig.model_validate(record.config)
    model, tokenizer = _reader(view, record.inputs["model"])
    path = view.store.object_path(record.inputs["rankings"].digest) / "rankings.parquet"
    table = pq.read_table(path, filters=[("split", "=", "train")]).to_pylist()
    rankings = read_rankings(table, tokenizer, model.config.max_position_embeddings)
    learned = [row["prompt_id"] for row, ranking in zip(table, rankings, strict=True)
               if training_pairs(ranking, config)]  # fmt: skip
    wanted = _among(learned, ids)
    per_epoch = steps_per_epoch(len(learned), config)
    found = [
        epoch * per_epoch + np.flatnonzero(wanted[epoch_order(len(learned), config.seed, epoch)]) // config.batch_size
        for epoch in range(config.epochs if wanted.any() else 0)
    ]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *found])), config.epochs * per_epoch


def _ppo(view: StoreView, record: Record, ids: Ids) -> _Counted:
    from model.ppo import prompt_batch
    from tasks.ppo import PPOConfig, read_questions

    config = PPOConfig.model_validate(record.config)
    readers = {name: _reader(view, record.inputs[name]) for name in ("model", "reward_model")}
    tokenizer = readers["model"][1]
    room = min(model.config.max_position_embeddings for model, _ in readers.values()) - config.max_new_tokens
    path = view.store.object_path(record.inputs["pairs"].digest) / "pairs.parquet"
    questions = read_questions(path, "ppo", tokenizer, room)
    columns = ["pair_id", "prompt", "response"]
    table = pq.read_table(path, columns=columns, filters=[("split", "=", "ppo")]).to_pylist()
    asked: list[str] = []  # the questions are the rows in this order, less those that are too long
    for row in sorted(table, key=lambda row: row["pair_id"]):
        following = questions[len(asked)] if len(asked) < len(questions) else None
        if following is not None and (row["prompt"], row["response"].strip()) == (following.prompt, following.human):
            asked.append(row["pair_id"])
    wanted = _among(asked, ids)
    passes = range(-(-config.iterations * config.batch_size // len(asked)) if wanted.any() else 0)
    # A batch as long as a pass over all prompts is that pass, so that the pass and not its batches is drawn.
    found = [
        number * len(asked) + np.flatnonzero(wanted[prompt_batch(len(asked), len(asked), config.seed, number)])
        for number in passes
    ]
    steps = np.unique(np.concatenate([np.zeros(0, np.int64), *found]) // config.batch_size)
    return steps[steps < config.iterations], config.iterations


COUNTED: dict[str, Callable[[StoreView, Record, Ids], _Counted]] = {
    "pretrain": _pretrain,
    "finetune": _finetune,
    "reward": _reward,
    "ppo": _ppo,
}


def _among(names: Sequence[str], ids: Ids) -> NDArray[np.bool_]:
    """Which of the names (N,) are those of the documents."""
    return np.isin(short_ids(pa.array(names, pa.string())), ids)


def _reader(view: StoreView, artifact: Artifact) -> "tuple[Transformer, Tokenizer]":
    """What tells how a model reads: its sizes, without its weights, and its tokenizer."""
    from model.config import ModelConfig
    from model.tokenizer import Tokenizer

    folder = view.store.object_path(artifact.digest) / "model"
    config = ModelConfig.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    return cast("Transformer", SimpleNamespace(config=config)), Tokenizer.load(folder)
