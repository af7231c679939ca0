import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks import rank as rank_module
from tasks.lineage.errors import DataError
from tasks.lineage.store import Store
from tasks.rank import SCHEMA, RankConfig, choose_prompts, rank
from tasks.rater import ReferenceRater
from tasks.stage import Artifact, Resources
from tests.alignment_world import half_learned_policy, pair_rows, store_model, store_pairs, toy_tokenizer

CONFIG = RankConfig(max_new_tokens=12, num_responses=4, max_prompts=8, validation_fraction=0.25, temperatures=(1.0,))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Artifact, Artifact]:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    tokenizer = toy_tokenizer()
    return store_model(half_learned_policy(tokenizer), tokenizer, tmp_path / "model"), store_pairs(tmp_path / "pairs")


def test_each_rank_prompt_gets_k_model_answers_and_the_human_one_first(world: tuple[Artifact, Artifact]):
    model, pairs = world
    rankings = rank(model=model, pairs=pairs, config=CONFIG, resources=Resources())
    table = pq.read_table(rankings.path / "rankings.parquet")
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    known = {row["prompt"]: row for row in pair_rows() if row["split"] == "rank"}
    assert len(rows) == 8 and all(row["prompt"] in known for row in rows)
    for row in rows:
        authors = [answer["author"] for answer in row["responses"]]
        assert authors == ["model"] * 4 + ["human"]
        human = row["responses"][-1]
        assert human["text"] == known[row["prompt"]]["response"] and human["rank"] == 1
        for answer in row["responses"][:-1]:
            assert (answer["rank"] == 1) == (answer["text"] == human["text"])
            expected = ReferenceRater().rate(answer["text"], human["text"], finished=answer["finished"])
            assert answer["score"] == expected.score and answer["safety"] == expected.safety
        assert row["rater"] == "reference"
    assert {row["split"] for row in rows} == {"train", "validation"}
    assert sum(row["split"] == "validation" for row in rows) == 2
    samples = [json.loads(line) for line in (rankings.path / "samples.jsonl").read_text().splitlines()]
    assert samples[0]["best_score"] >= samples[0]["worst_score"] and samples[0]["human"]


def test_metrics_say_what_the_rankings_look_like(world: tuple[Artifact, Artifact]):
    rankings = rank(model=world[0], pairs=world[1], config=CONFIG, resources=Resources())
    record = Store().record(rankings.key)
    assert record is not None
    metrics = record.metrics
    assert metrics["rank/prompts"] == 8 and metrics["rank/prompts_validation"] == 2
    assert 0 < metrics["rank/score"] < 1 and metrics["rank/score_spread"] > 0
    assert 0 <= metrics["rank/ties_share"] <= 1 and metrics["rank/characters"] > 0


def test_a_broken_off_run_keeps_its_finished_chunks_and_ends_the_same(
    world: tuple[Artifact, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model, pairs = world
    monkeypatch.setattr(rank_module, "CHUNK_PROMPTS", 2)
    calls = []
    generate = rank_module.generate

    def failing(*args, **options):
        calls.append(options["seed"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(*args, **options)

    monkeypatch.setattr(rank_module, "generate", failing)
    with pytest.raises(KeyboardInterrupt):
        rank(model=model, pairs=pairs, config=CONFIG, resources=Resources())
    resumed = rank(model=model, pairs=pairs, config=CONFIG, resources=Resources())
    assert len(calls) == 3 + 2 and len(set(calls)) == 4  # chunks 0 and 1 were not answered again

    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "other"))
    tokenizer = toy_tokenizer()
    model = store_model(half_learned_policy(tokenizer), tokenizer, tmp_path / "again")
    whole = rank(model=model, pairs=store_pairs(tmp_path / "pairs2"), config=CONFIG, resources=Resources())
    assert whole.digest == resumed.digest


def test_temperatures_take_turns_over_the_answers_to_a_prompt(world: tuple[Artifact, Artifact]):
    def texts(*temperatures: float) -> list[list[str]]:
        config = CONFIG.model_copy(update={"temperatures": temperatures})
        rankings = rank(model=world[0], pairs=world[1], config=config, resources=Resources())
        rows = pq.read_table(rankings.path / "rankings.parquet").to_pylist()
        return [[answer["text"] for answer in row["responses"] if answer["author"] == "model"] for row in rows]

    cold, mixed, hot = texts(1e-6), texts(1e-6, 5.0), texts(5.0)
    for greedy, both, random in zip(cold, mixed, hot, strict=True):
        assert len(set(greedy)) == 1 and both[0] == both[2] == greedy[0]
        assert len(set(random)) > 1
    assert any(both[1] != greedy[0] or both[3] != greedy[0] for greedy, both in zip(cold, mixed, strict=True))


def test_the_split_is_by_prompt_and_does_not_depend_on_order():
    rows = [row for row in pair_rows() if row["split"] == "rank"]
    forward = {row["prompt"]: row["split"] for row in choose_prompts(rows, CONFIG)}
    backward = {row["prompt"]: row["split"] for row in choose_prompts(rows[::-1], CONFIG)}
    assert forward == backward and len(forward) == 8
    other = {row["prompt"]: row["split"] for row in choose_prompts(rows, CONFIG.model_copy(update={"seed": 1}))}
    assert other != forward


def test_there_is_always_a_prompt_on_both_sides_of_the_split():
    two = pair_rows()[:2]
    for fraction in (0.01, 0.99):
        config = RankConfig(validation_fraction=fraction)
        assert {row["split"] for row in choose_prompts(two, config)} == {"train", "validation"}
    with pytest.raises(DataError, match="at least 2 are needed"):
        choose_prompts(two[:1], RankConfig())
