"""Rank: the fine-tuned model answers prompts several times, and a rater orders the answers from best to worst."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from model.answers import answer_text, is_finished
from model.chat import render_prompt
from model.export import load_causal
from model.generation import generate
from model.precision import resolve_device, use_threads
from model.sampling import Sampling
from model.seeding import derive
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from tasks.lineage.errors import DataError
from tasks.rater import Answer, RatedAnswer, Rater, ReferenceRater
from tasks.stage import Artifact, Resources, StageConfig, StageRun, stage

CHUNK_PROMPTS = 64  # prompts answered between two writes to the work folder
NUM_SAMPLES = 50  # rows of samples.jsonl

_ANSWER = pa.struct(
    [
        ("text", pa.string()),
        ("author", pa.string()),
        ("finished", pa.bool_()),
        ("rank", pa.int32()),
        ("helpfulness", pa.float64()),
        ("accuracy", pa.float64()),
        ("safety", pa.float64()),
        ("score", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("origin", pa.string()),
        ("split", pa.string()),
        ("rater", pa.string()),
        ("annotator", pa.string()),
        ("responses", pa.list_(_ANSWER)),
    ]
)


Temperature = Annotated[float, Field(gt=0, le=5)]


class RankConfig(StageConfig):
    """Rankings of the fine-tuned model's answers. The default rater, `reference`, is a stand-in for people."""

    num_responses: int = Field(4, ge=4, le=64, description="answers the model gives to each prompt")
    max_prompts: int | None = Field(None, ge=2, description="prompts to rank, chosen by hash; empty for all there are")
    max_new_tokens: int = Field(40, ge=1, description="tokens after which an answer is cut off")
    temperatures: tuple[Temperature, ...] = Field(
        (0.5, 0.8, 1.0, 1.3),
        min_length=1,
        description="of sampling, one answer after the other in turn; 1 draws from the model as it is. Several make "
        "answers that differ more in worth, so that more pairs can be told apart",
    )
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="share of prompts the reward model never sees")
    rater: ReferenceRater = Field(
        default_factory=ReferenceRater, description="who ranks; `reference` is a formula that stands in for people"
    )
    seed: int = Field(0, ge=0, description="of sampling and of the split")


def _order(seed: int, purpose: str, prompt: str) -> str:
    return hashlib.sha256(f"{seed}\0{purpose}\0{prompt}".encode()).hexdigest()


def choose_prompts(pairs: list[dict[str, Any]], config: RankConfig) -> list[dict[str, Any]]:
    """At most `max_prompts` rows, those with the smallest hash, each with its "split"; in the order given.

    Validation are the smallest of another hash, at least one prompt and never all. DataError below two prompts."""
    if len(pairs) < 2:
        raise DataError(f"{len(pairs)} prompts to rank, and at least 2 are needed: give more pairs to `pair`")
    by_hash = sorted(pairs, key=lambda pair: _order(config.seed, "choose", pair["prompt"]))
    chosen = {pair["prompt"] for pair in by_hash[: config.max_prompts]}
    ordered = sorted(chosen, key=lambda prompt: _order(config.seed, "validation", prompt))
    num_validation = min(max(1, round(config.validation_fraction * len(chosen))), len(chosen) - 1)
    validation = set(ordered[:num_validation])
    return [
        {**pair, "split": "validation" if pair["prompt"] in validation else "train"}
        for pair in pairs
        if pair["prompt"] in chosen
    ]


def that_fit(
    pairs: list[dict[str, Any]], tokenizer: Tokenizer, max_new_tokens: int, max_tokens: int
) -> list[dict[str, Any]]:
    """The rows whose prompt leaves room for an answer, each with its "prompt_ids"."""
    encoded = [{**pair, "prompt_ids": render_prompt(tokenizer, pair["prompt"])} for pair in pairs]
    return [pair for pair in encoded if len(pair["prompt_ids"]) + max_new_tokens <= max_tokens]


def _answer_chunk(
    model: Transformer, tokenizer: Tokenizer, pairs: list[dict[str, Any]], config: RankConfig, seed: int
) -> list[list[Answer]]:
    """`num_responses` answers to each prompt, those of one temperature drawn together."""
    places: dict[float, list[int]] = {}
    for place in range(config.num_responses):
        places.setdefault(config.temperatures[place % len(config.temperatures)], []).append(place)
    answers: list[dict[int, Answer]] = [{} for _ in pairs]
    for temperature, taken in places.items():
        responses = generate(
            model,
            [pair["prompt_ids"] for pair in pairs for _ in taken],
            max_new_tokens=config.max_new_tokens,
            sampling=Sampling(temperature),
            eos_token_id=tokenizer.im_end_id,
            pad_token_id=tokenizer.pad_id,
            seed=derive(seed, "temperature", taken[0]),
            batch_size=4 * CHUNK_PROMPTS,
        )
        for number, ids in enumerate(responses):
            row, place = divmod(number, len(taken))
            answers[row][taken[place]] = Answer(answer_text(tokenizer, ids), "model", is_finished(tokenizer, ids))
    return [[given[place] for place in range(config.num_responses)] for given in answers]


def _answers(
    run: StageRun, model: Transformer, tokenizer: Tokenizer, pairs: list[dict[str, Any]], config: RankConfig
) -> Iterator[tuple[dict[str, Any], list[Answer]]]:
    """Each prompt with its answers. Prompts of like length share a chunk; a finished chunk is read back on resume."""
    by_length = sorted(pairs, key=lambda pair: (len(pair["prompt_ids"]), pair["pair_id"]))
    starts = range(0, len(by_length), CHUNK_PROMPTS)
    for number, start in enumerate(starts):
        chunk = by_length[start : start + CHUNK_PROMPTS]
        path = run.work / f"answers-{number:05d}.json"
        if not path.exists():
            found = _answer_chunk(model, tokenizer, chunk, config, derive(config.seed, "rank", number))
            _write_whole(path, [[(answer.text, answer.finished) for answer in answers] for answers in found])
        saved = json.loads(path.read_text(encoding="utf-8"))
        run.progress(number + 1, len(starts), prompts=min(start + CHUNK_PROMPTS, len(pairs)))
        for pair, answers in zip(chunk, saved, strict=True):
            yield pair, [Answer(text, "model", finished) for text, finished in answers]


def _write_whole(path: Path, content: Any) -> None:
    temporary = path.with_suffix(".writing")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _row(pair: dict[str, Any], rated: list[RatedAnswer], rater: Rater) -> dict[str, Any]:
    responses = [
        {
            "text": item.answer.text,
            "author": item.answer.author,
            "finished": item.answer.finished,
            "rank": item.rank,
            "helpfulness": item.rating.helpfulness,
            "accuracy": item.rating.accuracy,
            "safety": item.rating.safety,
            "score": item.rating.score,
        }
        for item in rated
    ]
    return {
        "prompt_id": pair["pair_id"],
        "prompt": pair["prompt"],
        "origin": pair["origin"],
        "split": pair["split"],
        "rater": rater.name,
        "annotator": rater.annotator,
        "responses": responses,
    }


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What the rankings look like, over the model's answers alone; scores are the rater's."""
    ours = [[answer for answer in row["responses"] if answer["author"] == "model"] for row in rows]
    flat = [answer for answers in ours for answer in answers]
    scores = np.array([[answer["score"] for answer in answers] for answers in ours])
    pairs = [(a, b) for answers in ours for i, a in enumerate(answers) for b in answers[i + 1 :]]
    return {
        "rank/score": float(scores.mean()),
        "rank/score_spread": float(scores.std(axis=1).mean()),
        "rank/helpfulness": float(np.mean([answer["helpfulness"] for answer in flat])),
        "rank/accuracy": float(np.mean([answer["accuracy"] for answer in flat])),
        "rank/safety": float(np.mean([answer["safety"] for answer in flat])),
        "rank/safe_share": float(np.mean([answer["safety"] == 1.0 for answer in flat])),
        "rank/finished_share": float(np.mean([answer["finished"] for answer in flat])),
        "rank/ties_share": float(np.mean([a["rank"] == b["rank"] for a, b in pairs])),
        "rank/characters": float(np.mean([len(answer["text"]) for answer in flat])),
    }


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    ours = sorted((a for a in row["responses"] if a["author"] == "model"), key=lambda a: (-a["score"], a["text"]))
    human = next(a for a in row["responses"] if a["author"] == "human")
    return {
        "prompt": row["prompt"],
        "human": human["text"],
        "best": ours[0]["text"],
        "best_score": round(ours[0]["score"], 4),
        "worst": ours[-1]["text"],
        "worst_score": round(ours[-1]["score"], 4),
        "rater": row["rater"],
    }


@stage(output="rankings", retries=2, libraries=("numba", "torch", "pyarrow", "tokenizers"))
def rank(run: StageRun, model: Artifact, pairs: Artifact, config: RankConfig, resources: Resources) -> None:
    """Answers the "rank" prompts `num_responses` times each and writes rankings.parquet, a row a prompt.

    The human answer stands in every ranking, as author "human" and always first: by construction, since the
    reference rater measures agreement with it. Where the model says the same word for word, it ties.
    """
    use_threads(resources.threads)
    policy, tokenizer = load_causal(model.path / "model", device=resolve_device(resources.device))
    policy.eval()
    table = pq.read_table(pairs.path / "pairs.parquet", filters=[("split", "=", "rank")])
    found: list[dict[str, Any]] = table.to_pylist()
    fitting = that_fit(found, tokenizer, config.max_new_tokens, policy.config.max_position_embeddings)
    chosen = choose_prompts(fitting, config)
    run.logger.info("Answering %d of %d prompts, %d times each", len(chosen), len(found), config.num_responses)

    rows = {}
    for pair, answers in _answers(run, policy, tokenizer, chosen, config):
        rated = config.rater.rank(pair["prompt"], [*answers, Answer(pair["response"].strip(), "human")])
        rows[pair["pair_id"]] = _row(pair, rated, config.rater)
    in_order = [rows[pair["pair_id"]] for pair in chosen]

    pq.write_table(pa.Table.from_pylist(in_order, SCHEMA), run.output / "rankings.parquet", compression="zstd")
    with (run.output / "samples.jsonl").open("w", encoding="utf-8") as file:
        for row in in_order[:NUM_SAMPLES]:
            file.write(json.dumps(_sample(row), ensure_ascii=False) + "\n")
    run.log_metrics(
        {
            **figures(in_order),
            "rank/prompts": len(in_order),
            "rank/prompts_validation": sum(row["split"] == "validation" for row in in_order),
            "rank/prompts_too_long": len(found) - len(fitting),
        }
    )
