"""The steps named are exactly those whose batch holds a token or row of the document, compared with real batches."""

import re
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.chat import render_prompt
from model.data import Span
from model.export import load_causal
from model.ppo import prompt_batch
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from tasks.finetune import FinetuneConfig, examples_of, make_batches
from tasks.impact.census import StoreView
from tasks.impact.steps import num_pretrain_steps, ranges, steps_seeing
from tasks.lineage.record import Record
from tasks.lineage.sorted_ids import short_id
from tasks.pairs import read_pairs
from tasks.pretrain import PretrainConfig, make_windows
from tasks.rankings import read_rankings
from tasks.reward import RankingBatches, RewardConfig, steps_per_epoch, training_pairs
from tasks.tokens import Tokens
from tests.planted_course import Course


def record_of(course: Course, stage: str, **config: object) -> Record:
    """The record of a stage of the course, as if it had been told otherwise."""
    record = next(record for record in course.store.records() if record.stage == stage)
    return record.model_copy(update={"config": {**record.config, **config}})


def seen(course: Course, record: Record, *documents: str) -> list[int]:
    ids = np.array(sorted(short_id(document) for document in documents), np.uint64)
    found = steps_seeing(StoreView(course.store), record, ids)
    assert found is not None and found.unknown is None, found
    return found.steps.tolist()


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_pretraining_reads_a_document_in_the_steps_named(course: Course, data: st.DataObject) -> None:
    changed = {"batch_size": data.draw(st.integers(1, 9)), "steps": data.draw(st.integers(1, 300)),
               "seed": data.draw(st.integers(0, 3)), "context_length": data.draw(st.integers(16, 200))}  # fmt: skip
    record = record_of(course, "pretrain", **changed)
    config = PretrainConfig(**record.config)
    tokens = Tokens(course.made["tokens"].path)
    index = pq.read_table(tokens.path / "index.parquet", filters=[("split", "=", "train")]).to_pylist()
    row = data.draw(st.sampled_from(index))
    windows = make_windows(tokens, config)
    # A token's place tells whose it is, so the brute force looks at the places that each batch was read from.
    inside = set(range(row["offset"], row["offset"] + row["length"]))
    brute = [
        step for step in range(config.num_steps())
        if any(span.shard == row["shard"] and not inside.isdisjoint(range(span.start, span.stop))
               for span in windows.spans_at(step))
    ]  # fmt: skip
    assert seen(course, record, row["doc_id"]) == brute
    if brute:
        span = windows.spans_at(brute[0])[0]
        assert torch.equal(windows(brute[0])["input_ids"][0], torch.from_numpy(tokens.shards("train").read(span)[:-1]))


def test_a_validation_document_is_in_no_step(course: Course) -> None:
    tokens = Tokens(course.made["tokens"].path)
    held_out = pq.read_table(tokens.path / "index.parquet", filters=[("split", "=", "validation")])[
        "doc_id"
    ].to_pylist()
    assert seen(course, record_of(course, "pretrain", steps=500), *held_out) == []


@given(tokens=st.integers(1, 10**6), steps=st.none() | st.integers(1, 99), batch=st.integers(1, 64))
def test_the_number_of_steps_is_that_of_the_stage(tokens: int, steps: int | None, batch: int) -> None:
    config = PretrainConfig(tokens=tokens, steps=steps, batch_size=batch, context_length=48)
    assert num_pretrain_steps(config.model_dump()) == config.num_steps()


def holds(row: list[int], part: list[int]) -> bool:
    """Whether the tokens of `part` stand in the row one after the other."""
    return any(row[start : start + len(part)] == part for start in range(len(row) - len(part) + 1))


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fine_tuning_learns_a_pair_in_the_steps_named(course: Course, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 60))
    changed = {"batch_size": data.draw(st.integers(1, 40)), "steps": steps, "seed": data.draw(st.integers(0, 3)),
               "max_pairs": data.draw(st.none() | st.integers(5, 60)),
               "packing": data.draw(st.booleans())}  # fmt: skip
    record = record_of(course, "finetune", **changed)
    config = FinetuneConfig(**record.config)
    pairs = read_pairs(course.made["pairs"].path, "finetune", config.max_pairs, config.seed)
    model = load(course, "pretrained")
    tokenizer = Tokenizer.load(course.made["pretrained"].path / "model")
    examples = examples_of(pairs, model, tokenizer).examples
    made = make_batches(examples, config, tokenizer.pad_id, model.config.max_position_embeddings)
    pair = data.draw(st.sampled_from(pairs))
    own = examples_of([pair], model, tokenizer).examples
    brute = [
        step for step in range(steps)
        if own and any(holds(row, own[0].ids[:-1]) for row in made(step)["input_ids"].tolist())
    ]  # fmt: skip
    assert seen(course, record, pair.pair_id) == brute


def test_the_reward_model_learns_a_ranking_in_the_steps_named(course: Course) -> None:
    record = record_of(course, "reward", epochs=3, batch_size=5)
    config = RewardConfig(**record.config)
    tokenizer = Tokenizer.load(course.made["finetuned"].path / "model")
    path = course.store.object_path(record.inputs["rankings"].digest) / "rankings.parquet"
    table = pq.read_table(path, filters=[("split", "=", "train")]).to_pylist()
    rankings = read_rankings(table, tokenizer, load(course, "finetuned").config.max_position_embeddings)
    both = [pair for pair in zip(table, rankings, strict=True) if training_pairs(pair[1], config)]
    batch = RankingBatches([ranking for _, ranking in both], config, tokenizer.pad_id)
    steps = [batch(step) for step in range(3 * steps_per_epoch(len(both), config))]
    for row, ranking in both:
        prompt = render_prompt(tokenizer, row["prompt"])
        brute = [
            step for step, found in enumerate(steps)
            if any(ids[: len(prompt)] == prompt for ids in found["input_ids"].tolist())
        ]  # fmt: skip
        assert len(brute) == 3 and ranking.rows
        assert seen(course, record, row["prompt_id"]) == brute
    left_out = {row["prompt_id"] for row in table} - {row["prompt_id"] for row, _ in both}
    assert not left_out or seen(course, record, *left_out) == []


def test_ppo_asks_a_prompt_in_the_iterations_named(course: Course) -> None:
    record = record_of(course, "ppo", iterations=40, batch_size=7)
    rows = pq.read_table(course.made["pairs"].path / "pairs.parquet", filters=[("split", "=", "ppo")]).to_pylist()
    tokenizer = Tokenizer.load(course.made["finetuned"].path / "model")
    room = load(course, "finetuned").config.max_position_embeddings - record.config["max_new_tokens"]
    ordered = sorted(rows, key=lambda row: row["pair_id"])
    fitting = [row["pair_id"] for row in ordered if len(render_prompt(tokenizer, row["prompt"])) <= room]
    asked = [prompt_batch(len(fitting), 7, record.config["seed"], iteration) for iteration in range(40)]
    for place, pair_id in enumerate(fitting):
        assert seen(course, record, pair_id) == [step for step, batch in enumerate(asked) if place in batch]
    too_long = {row["pair_id"] for row in rows} - set(fitting)
    assert not too_long or seen(course, record, *too_long) == []


def test_ten_million_steps_are_not_walked_through(course: Course) -> None:
    tokens = Tokens(course.made["tokens"].path)
    row = pq.read_table(tokens.path / "index.parquet", filters=[("split", "=", "train")]).to_pylist()[3]
    record = record_of(course, "pretrain", steps=10_000_000, batch_size=1)
    windows = make_windows(tokens, PretrainConfig(**record.config))
    span = Span(row["shard"], row["offset"], row["offset"] + row["length"])
    an_epoch = len(windows.steps_reading([span], windows.num_windows))
    found = steps_seeing(StoreView(course.store), record, np.array([short_id(row["doc_id"])], np.uint64))
    assert found is not None and an_epoch > 0
    answer = found.as_json()
    epochs = 10_000_000 // windows.num_windows
    assert epochs * an_epoch <= answer["count"] <= (epochs + 1) * an_epoch
    assert len(answer["steps"]) == len(answer["ranges"]) == 1000


@given(st.sets(st.integers(0, 60)))
def test_ranges_say_the_same_as_the_steps(steps: set[int]) -> None:
    found = ranges(np.array(sorted(steps), np.int64))
    assert sorted(step for first, last in found for step in range(first, last + 1)) == sorted(steps)
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(found))


def test_an_answer_by_other_code_or_libraries_is_in_doubt(course: Course) -> None:
    record = record_of(course, "pretrain")
    changed = record.model_copy(update={"code": {**record.code, "model.data:PackedWindows": "0" * 64}})
    moved = record.model_copy(update={"versions": {**record.versions, "numpy": "1.0"}})
    ids = np.array([7], np.uint64)
    answers = [steps_seeing(StoreView(course.store), one, ids) for one in (record, changed, moved)]
    assert [[re.split("[ :]", doubt)[0] for doubt in one.doubts] for one in answers if one] == [
        [], ["model.data"], ["numpy"],
    ]  # fmt: skip


def test_what_a_training_read_may_be_gone(course: Course, tmp_path) -> None:
    record = record_of(course, "pretrain")
    lost = record.inputs["tokens"].model_copy(update={"digest": "f" * 64})
    found = steps_seeing(
        StoreView(course.store), record.model_copy(update={"inputs": {"tokens": lost}}), np.array([7], np.uint64)
    )
    assert found is not None and found.unknown and found.as_json()["steps"] == []
    assert steps_seeing(StoreView(course.store), record_of(course, "tokenize"), np.array([7], np.uint64)) is None


def load(course: Course, name: str) -> Transformer:
    return load_causal(course.made[name].path / "model")[0]
