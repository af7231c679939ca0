import json

import numpy as np
import pytest

from model.export import load_causal
from tasks.finetune import FinetuneConfig, examples_of, finetune, score_figures
from tasks.lineage.errors import DataError
from tasks.lineage.store import Store
from tasks.pairs import HumanPair, read_pairs
from tasks.stage import Resources
from tests.tiny_artifacts import model_artifact, pairs_artifact, sentence

QUICK = {"batch_size": 16, "precision": "fp32", "max_new_tokens": 48, "samples": 4, "lr": 0.01, "adamw_lr": 0.01}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def summary(artifact):
    return next(record for record in Store().records() if record.output.digest == artifact.digest).metrics


def test_it_learns_to_answer():
    pairs = pairs_artifact(finetune=80, validation=20, evaluation=30)
    artifact = finetune(
        model=model_artifact(), pairs=pairs, config=FinetuneConfig(**QUICK, steps=150), resources=Resources()
    )
    metrics = summary(artifact)
    assert metrics["eval/chrf_low"] > 0.8 > 0.2 > metrics["eval/chrf_pretrained_high"]
    assert metrics["eval/chrf_gain_low"] > 0.5
    assert metrics["eval/loss"] < 0.3 and metrics["eval/loss_low"] <= metrics["eval/loss"] <= metrics["eval/loss_high"]
    samples = [json.loads(line) for line in (artifact.path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 4 and samples[0].keys() == {"prompt", "human", "pretrained", "finetuned"}
    assert sum(row["finetuned"] == row["human"] for row in samples) >= 2
    model, tokenizer = load_causal(artifact.path / "model")
    assert model.config.vocab_size == tokenizer.vocab_size


def test_a_rerun_gives_the_same_bytes(tmp_path, monkeypatch):
    artifacts = []
    for number in (0, 1):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / str(number)))
        pairs = pairs_artifact(finetune=40, validation=5, evaluation=5)
        artifacts.append(
            finetune(
                model=model_artifact(), pairs=pairs, config=FinetuneConfig(**QUICK, epochs=2), resources=Resources()
            )
        )
    assert artifacts[0] == artifacts[1]


def test_the_loss_is_on_the_answers_only():
    model, tokenizer = load_causal(model_artifact().path / "model")
    encoded = examples_of([HumanPair("0", "What does f do?", sentence(1))], model, tokenizer)
    example = encoded.examples[0]
    learned = [token for token, counts in zip(example.ids, example.loss_mask, strict=True) if counts]
    assert tokenizer.decode(learned, skip_special_tokens=False) == sentence(1) + "<|im_end|>"


def test_pairs_that_do_not_fit_are_left_out_and_counted():
    model, tokenizer = load_causal(model_artifact(context=32).path / "model")
    pairs = [HumanPair("0", "f?", "Return."), HumanPair("1", "f?", " ".join(map(sentence, range(20))))]
    encoded = examples_of(pairs, model, tokenizer)
    assert len(encoded.examples) == 1 and encoded.too_long == 1


def test_no_pair_says_what_to_do():
    with pytest.raises(DataError, match="add pairs"):
        finetune(
            model=model_artifact(),
            pairs=pairs_artifact(evaluation=3),
            config=FinetuneConfig(**QUICK),
            resources=Resources(),
        )


def test_without_held_out_pairs_it_still_trains():
    artifact = finetune(
        model=model_artifact(),
        pairs=pairs_artifact(finetune=20),
        resources=Resources(),
        config=FinetuneConfig(**QUICK, steps=2),
    )
    assert summary(artifact)["eval/prompts"] == 0 and "eval/chrf" not in summary(artifact)


def test_the_gain_is_over_the_better_way_to_prompt():
    scores = {"finetuned": np.full(4, 0.5), "pretrained": np.full(4, 0.1), "pretrained_plain": np.full(4, 0.2)}
    assert score_figures(scores, 0)["eval/chrf_gain"] == pytest.approx(0.3)


def test_a_limit_draws_pairs_by_seed():
    path = pairs_artifact(finetune=50, rank=5).path
    everything, some, others = (
        read_pairs(path, "finetune", limit, seed) for limit, seed in ((None, 0), (10, 0), (10, 1))
    )
    assert len(everything) == 50 and len(set(some)) == 10 and set(some) < set(everything)
    assert some == read_pairs(path, "finetune", 10, 0) != others


def test_packed_pairs_train_too():
    artifact = finetune(
        model=model_artifact(),
        pairs=pairs_artifact(finetune=40, validation=4, evaluation=4),
        config=FinetuneConfig(**QUICK, packing=True, accumulation=2, steps=60),
        resources=Resources(),
    )
    assert summary(artifact)["eval/loss"] < 3
