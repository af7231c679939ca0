import json
import math

import pytest
import torch
from pydantic import ValidationError

from flows.session import recorded
from flows.settings import Settings
from model.data import Span
from model.export import load_causal
from model.precision import resolve_precision
from tasks.finetune import FinetuneConfig
from tasks.lineage.errors import ConfigError, DataError
from tasks.lineage.store import Store
from tasks.pretrain import PretrainConfig, pretrain
from tasks.stage import Resources
from tasks.tokens import Tokens
from tests.tiny_artifacts import tokens_artifact

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
    "context_length": 32,
    "batch_size": 8,
    "precision": "fp32",
    "evaluations": 2,
    "samples": 3,
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def summary(artifact):
    return next(record for record in Store().records() if record.output.digest == artifact.digest).metrics


def test_it_learns_more_than_the_3_gram_and_writes_what_it_says():
    config = PretrainConfig(**TINY, steps=250, lr=0.01, adamw_lr=0.01)
    artifact = pretrain(tokens=tokens_artifact(), config=config, resources=Resources())
    metrics = summary(artifact)
    assert metrics["eval/bits_per_byte_high"] < metrics["eval/ngram_bits_per_byte"]
    assert metrics["eval/bits_saved_per_byte_low"] > 0
    for name in ("eval/bits_per_byte", "eval/ngram_bits_per_byte"):
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]
    assert metrics["train_tokens"] == 250 * 8 * 32
    written = json.loads((artifact.path / "metrics.json").read_text())
    assert written["eval/bits_per_byte"] == metrics["eval/bits_per_byte"] and written["steps"] == 250
    samples = [json.loads(line) for line in (artifact.path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 3 and samples[0].keys() == {"document", "prefix", "continuation", "truth"}
    model, tokenizer = load_causal(artifact.path / "model")
    assert model.config.hidden_size == 32 and tokenizer.vocab_size == model.config.vocab_size
    with torch.no_grad():
        ids = torch.tensor([[0, *tokenizer.encode("Return the file and")]])
        assert torch.softmax(model(ids)[0, -1], 0).max() > 0.1


def test_held_out_bits_of_the_exported_model_are_those_reported():
    tokens = tokens_artifact()
    artifact = pretrain(tokens=tokens, config=PretrainConfig(**TINY, steps=3), resources=Resources())
    model, _ = load_causal(artifact.path / "model")
    held_out = Tokens(tokens.path).held_out(10**9, 0)
    assert len(held_out.documents) == 30
    nats = 0.0
    for document in held_out.documents:
        ids = [0, *document.tolist()]
        for start in range(0, len(ids) - 1, 32):
            piece = torch.tensor([ids[start : start + 33]])
            nats += torch.nn.functional.cross_entropy(model(piece[:, :-1])[0], piece[0, 1:], reduction="sum").item()
    reported = summary(artifact)["eval/bits_per_byte"]
    assert reported == pytest.approx(nats / math.log(2) / held_out.num_bytes.sum(), rel=1e-4)


def test_a_rerun_gives_the_same_bytes_and_resources_do_not_change_the_key(tmp_path, monkeypatch):
    digests = []
    for number, resources in enumerate((Resources(), Resources(checkpoint_seconds=0.01))):
        monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / str(number)))
        digests.append(pretrain(tokens=tokens_artifact(), config=PretrainConfig(**TINY, steps=4), resources=resources))
    assert digests[0] == digests[1]


def test_document_masks_train():
    config = PretrainConfig(**TINY, steps=3, document_mask=True)
    artifact = pretrain(tokens=tokens_artifact(), config=config, resources=Resources())
    assert math.isfinite(summary(artifact)["eval/bits_per_byte"])


def test_too_little_text_says_what_to_do():
    with pytest.raises(DataError, match="add text or shorten the context"):
        pretrain(tokens=tokens_artifact(documents=1), config=PretrainConfig(**TINY, steps=3), resources=Resources())


def test_no_held_out_document_says_what_to_do():
    with pytest.raises(DataError, match=r"raise tokenize\.validation_share"):
        pretrain(tokens=tokens_artifact(validation=0), config=PretrainConfig(**TINY, steps=3), resources=Resources())


def test_documents_of_a_span_are_named():
    source = Tokens(tokens_artifact().path)
    shard = source.shards("train").shards[0]
    end = int((shard == source.document_end).nonzero()[0][0])
    assert source.documents_in([Span(0, 0, end + 1)]) == ["train-0"]
    assert source.documents_in([Span(0, end, end + 2)]) == ["train-0", "train-1"]


def test_sizes_that_do_not_fit_are_refused_before_anything_runs():
    with pytest.raises(ValidationError, match="hidden_size 30 is not a multiple of num_attention_heads 4"):
        PretrainConfig(hidden_size=30, num_attention_heads=4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_missed_before_anything_runs():
    on_gpu = recorded("train", Settings(resources=Resources(device="cuda")))
    with pytest.raises(ConfigError, match=r"resources\.device is cuda"), on_gpu:
        pass


@pytest.mark.parametrize("config", [PretrainConfig, FinetuneConfig])
def test_more_parts_than_rows_are_refused(config):
    with pytest.raises(ValidationError, match="accumulation 8 is more than batch_size 4"):
        config(batch_size=4, accumulation=8)


def test_budgets():
    assert PretrainConfig(tokens=1000, batch_size=2, context_length=100).num_steps() == 5
    assert PretrainConfig(tokens=1001, batch_size=2, context_length=100).num_steps() == 6
    assert PretrainConfig(steps=7).num_steps() == 7


def test_precision_is_made_concrete_before_the_key():
    assert PretrainConfig().resolved().precision == resolve_precision("auto") != "auto"
    assert PretrainConfig(precision="bf16").resolved().precision == "bf16"
