"""Exported models under the lm-evaluation-harness: its figures on a local task are those of `python -m model`.

    python -m pytest tests/benchmarks/training/test_harness.py

Offline but for the first run, which installs the harness beside the project's packages: too much for `make test`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch

from model.config import ModelConfig
from model.evaluation import example_losses
from model.export import load_causal, save_pretrained
from model.questions import parse_choice, parse_question, read_rows
from model.scoring import answer, choice_examples, choose, matches
from model.tokenizer import train_tokenizer
from model.transformer import Transformer
from tests.benchmarks.rows import environment

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
TEXTS = [topics[name] for name in sorted(topics)]

# The harness reads <|endoftext|> in a prompt as the token, which in training stands before each document.
CHOICES = """
task: local_choices
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: multiple_choice
doc_to_text: "<|endoftext|>{{prompt}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
QUESTIONS = """
task: local_questions
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: generate_until
doc_to_text: "<|endoftext|>{{prompt}}"
doc_to_target: answer
generation_kwargs: {until: ["\\n"], max_gen_toks: 12, do_sample: false}
filter_list: [{name: stripped, filter: [{function: regex, regex_pattern: "(?s).+"}, {function: take_first}]}]
metric_list: [{metric: exact_match}]
"""


def words(source: random.Random, fewest: int, most: int) -> str:
    taken = source.choice(TEXTS).split()
    start = source.randrange(max(1, len(taken) - most))
    return " ".join(taken[start : start + source.randint(fewest, most)]) or "nothing"


def test_the_harness_finds_the_same_figures(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 600)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=48, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2,
    )  # fmt: skip
    save_pretrained(Transformer(config, generator=torch.Generator().manual_seed(1)), tokenizer, tmp_path / "model")
    model, tokenizer = load_causal(tmp_path / "model")
    source = random.Random(0)
    rows = [
        {"prompt": words(source, 3, 12), "choices": [words(source, 1, 6) for _ in range(3)], "answer": number % 3}
        for number in range(60)
    ]
    (tmp_path / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    choices = read_rows(tmp_path / "choices.jsonl", parse_choice)
    right, normalised = choose(model, tokenizer, choices)
    assert 0 < right.mean() < 1 and (right != normalised).any()

    prompts = [words(source, 3, 12) for _ in range(20)]
    unanswered = [{"prompt": prompt, "answer": "?"} for prompt in prompts]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unanswered))
    questions = read_rows(tmp_path / "questions.jsonl", parse_question)
    written = answer(model, tokenizer, questions, max_new_tokens=12, stop=["\n"])
    keys = [text if number % 2 and text else "something else" for number, text in enumerate(written)]
    known = [{"prompt": prompt, "answer": key} for prompt, key in zip(prompts, keys, strict=True)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in known))
    exact, _ = matches(read_rows(tmp_path / "questions.jsonl", parse_question).rows, written)
    assert 0 < exact.mean() < 1

    figures, samples = in_harness(tmp_path)
    assert figures["local_choices"]["acc,none"] == pytest.approx(right.mean(), abs=1e-9)
    assert figures["local_choices"]["acc_norm,none"] == pytest.approx(normalised.mean(), abs=1e-9)
    assert figures["local_questions"]["exact_match,stripped"] == pytest.approx(exact.mean(), abs=1e-9)
    for row, sample in zip(choices.rows, samples, strict=True):
        losses, _ = example_losses(model, choice_examples(tokenizer, row, chat=False))
        assert [float(one[0]) for one in sample["filtered_resps"]] == pytest.approx((-losses).tolist(), abs=1e-3)


def in_harness(folder: Path) -> tuple[dict[str, dict[str, float]], list[dict[str, list[list[str]]]]]:
    """The harness's figures by task, and its samples of the choices in the order of the rows."""
    python = environment("lm-eval", ["lm-eval==0.4.13", "accelerate==1.15.0"], packages_of_project=True)
    (folder / "tasks").mkdir()
    for name, task in (("choices", CHOICES), ("questions", QUESTIONS)):
        (folder / "tasks" / f"{name}.yaml").write_text(task.replace("FILE", str(folder / f"{name}.jsonl")))
    command = [
        str(python), "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={folder / 'model'},dtype=float32",
        "--tasks", "local_choices,local_questions", "--include_path", str(folder / "tasks"), "--device", "cpu",
        "--batch_size", "8", "--output_path", str(folder / "out"), "--log_samples",
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "huggingface")}
    done = subprocess.run(command, env={**os.environ, **offline}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    (results,) = (folder / "out").rglob("results_*.json")
    (sampled,) = (folder / "out").rglob("samples_local_choices_*.jsonl")
    samples = [json.loads(line) for line in sampled.read_text().splitlines()]
    return json.loads(results.read_text())["results"], sorted(samples, key=lambda sample: sample["doc_id"])
