import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from model.config import ModelConfig
from model.export import save_pretrained
from model.preference import Pair
from model.scalar import ScalarModel
from model.tokenizer import Tokenizer, train_tokenizer
from model.transformer import Transformer
from tasks.evaluate import EvaluateConfig, evaluate
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import ConfigError, DataError
from tasks.lineage.store import Store
from tasks.rankings import Ranking
from tasks.scores import calibration, distinct

TEXT = ["The function returns the number of rows in the table.", "It closes the file and frees what it held."]
CONFIG = EvaluateConfig(
    eval_prompts=6, samples=2, eval_tokens=10_000, max_new_tokens=8, overlap_words=5, precision="fp32"
)


def pair(number: int, split: str, response: str | None = None) -> dict[str, str]:
    return {
        "pair_id": f"{number:04d}",
        "prompt": f"What does thing {number} do?",
        "response": response or f"Answer number {number} about rows {number} of table {number}.",
        "split": split,
    }


class Course:
    """The smallest course: random models, a few pairs, rankings and documents, all in the store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer = train_tokenizer(TEXT * 20, 300)
        self.artifacts: dict[str, Artifact] = {}
        for seed, name in enumerate(("pretrained", "finetuned", "aligned")):
            self.put_model(name, Transformer(self.config()), seed)
        self.put_model("reward_model", ScalarModel(self.config(layers=1)), 9)
        self.put_tokens()
        self.put_pairs([pair(n, "evaluation") for n in range(8)] + [pair(n, "finetune") for n in range(20, 30)])
        self.put_rankings()
        self.put_corpus([TEXT[0], "Nothing in common."])

    def config(self, layers: int = 2) -> ModelConfig:
        return ModelConfig(
            vocab_size=self.tokenizer.vocab_size,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=96,
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=3,
        )

    def store(self, name: str, kind: str, folder: Path) -> None:
        output = Store().commit(folder, kind)
        self.artifacts[name] = Artifact(kind=kind, digest=output.digest, key=output.digest)

    def draft(self, name: str) -> Path:
        folder = self.folder / "drafts" / f"{name}-{len(self.artifacts)}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def put_model(self, name: str, model: Any, seed: int, tokenizer: Tokenizer | None = None) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.2, generator=generator)
        folder = self.draft(name)
        save_pretrained(model, tokenizer or self.tokenizer, folder / "model")
        self.store(name, "reward_model" if name == "reward_model" else "model", folder)

    def put_tokens(self) -> None:
        folder = self.draft("tokens")
        rows, ids = [], []
        for number, text in enumerate(TEXT * 3):
            encoded = [*self.tokenizer.encode(f"{text} {number}"), 0]
            rows.append(
                {"doc_id": f"{number:032x}", "split": "validation", "shard": 0, "offset": len(ids),
                 "length": len(encoded), "bytes": len(f"{text} {number}")}
            )  # fmt: skip
            ids += encoded
        np.array(ids, "<u2").tofile(folder / "validation-00000.bin")
        pq.write_table(pa.Table.from_pylist(rows), folder / "index.parquet")
        self.tokenizer.save(folder / "tokenizer.json")
        (folder / "meta.json").write_text(json.dumps({"dtype": "uint16", "vocab_size": self.tokenizer.vocab_size}))
        self.store("tokens", "tokens", folder)

    def put_pairs(self, rows: list[dict[str, str]]) -> None:
        folder = self.draft("pairs")
        schema = pa.schema([(name, pa.string()) for name in ("pair_id", "prompt", "response", "split")])
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / "pairs.parquet")
        self.store("pairs", "pairs", folder)

    def put_rankings(self) -> None:
        folder = self.draft("rankings")
        rows = []
        for number in range(10):
            responses = [
                {"text": f"Answer {place} {'long ' * place}", "author": "human" if place == 0 else "model",
                 "rank": place + 1, "score": 1.0 - place / 5}
                for place in range(5)
            ]  # fmt: skip
            split = "validation" if number < 5 else "train"
            rows.append({"prompt": f"What of {number}?", "split": split, "responses": responses})
        pq.write_table(pa.Table.from_pylist(rows), folder / "rankings.parquet")
        self.store("rankings", "rankings", folder)

    def put_corpus(self, texts: list[str], split: str = "train") -> None:
        folder = self.draft("corpus")
        table = pa.table({"text": pa.array(texts, pa.large_string()), "split": [split] * len(texts)})
        pq.write_table(table, folder / "documents-00000.parquet")
        ledger = {"reason": [None, None, "near_duplicate", "near_duplicate"]}
        pq.write_table(pa.table(ledger), folder / "ledger.parquet")
        self.store("corpus", "corpus", folder)

    def evaluate(self, config: EvaluateConfig = CONFIG) -> Path:
        return evaluate(**self.artifacts, config=config).path


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Course(tmp_path)


def metrics_of(course: Course) -> dict[str, float]:
    record = next(record for record in Store().records() if record.stage == "evaluate")
    return record.metrics


def test_all_models_are_compared_on_the_same_held_out_prompts(course: Course) -> None:
    output = course.evaluate()
    rows = pq.read_table(output / "scores.parquet").to_pylist()
    expected = [f"{number:04d}" for number in range(6)]
    for model in ("pretrained", "finetuned", "aligned"):
        for mode, samples in (("greedy", 1), ("sampled", 2)):
            asked = [row["pair_id"] for row in rows if (row["model"], row["mode"]) == (model, mode)]
            assert asked == [pair_id for pair_id in expected for _ in range(samples)]
    metrics = metrics_of(course)
    aligned = [row["gold"] for row in rows if (row["model"], row["mode"]) == ("aligned", "sampled")]
    assert metrics["eval/aligned/gold_sampled"] == pytest.approx(np.mean(aligned))
    for name in ("eval/aligned/gold_sampled", "eval/finetuned/bits_per_byte", "eval/pair_accuracy_model_model"):
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]
    gain = metrics["eval/aligned/reward_greedy"] - metrics["eval/finetuned/reward_greedy"]
    assert metrics["eval/aligned-finetuned/reward_greedy"] == pytest.approx(gain)
    assert metrics["eval/prompts"] == 6 and metrics["eval/documents"] == 6


def test_samples_plots_and_report_show_the_models_side_by_side(course: Course) -> None:
    output = course.evaluate()
    samples = [json.loads(line) for line in (output / "samples.jsonl").read_text().splitlines()]
    assert [list(row) for row in samples] == [["prompt", "human", "pretrained", "finetuned", "aligned"]] * 6
    assert samples[0]["human"] == "Answer number 0 about rows 0 of table 0."
    names = sorted(path.name for path in (output / "plots").iterdir())
    assert names == [f"{name}.{kind}" for name in ("calibration", "funnel", "models") for kind in ("png", "svg")]
    report = (output / "report.html").read_text()
    assert "No person judged these answers" in report
    assert "What does thing 0 do?" in report
    assert "near duplicate 2" in report


def test_the_same_inputs_give_the_same_bytes(course: Course) -> None:
    first = course.evaluate()
    digest = first.name
    Store().record_path(next(r for r in Store().records() if r.stage == "evaluate").key).unlink()
    assert course.evaluate().name == digest


def test_held_out_answers_in_training_text_and_training_pairs_are_counted(course: Course) -> None:
    assert course.evaluate() and metrics_of(course)["eval/contaminated"] == 0
    leak = "answer number 3, about rows"
    course.put_corpus([f"We read: {leak}", "Nothing in common."])
    course.put_pairs(
        [pair(n, "evaluation") for n in range(6)]
        + [pair(20, "ppo", "It gives: answer NUMBER 4 about rows!"), pair(21, "finetune")]
    )
    Store().record_path(next(r for r in Store().records() if r.stage == "evaluate").key).unlink()
    course.evaluate()
    metrics = metrics_of(course)
    assert metrics["eval/contaminated_text"] == 1
    assert metrics["eval/contaminated_pairs"] == 1
    assert metrics["eval/contaminated"] == 2
    assert "eval/aligned/gold_sampled_clean" in metrics


def test_text_of_held_out_origins_is_no_training_text(course: Course) -> None:
    course.put_corpus(["Answer number 3 about rows 3 of table 3."], split="evaluation")
    course.evaluate()
    assert metrics_of(course)["eval/contaminated"] == 0


def test_nothing_to_evaluate_on_is_an_error_that_says_what_to_do(course: Course) -> None:
    course.put_pairs([pair(1, "finetune")])
    with pytest.raises(DataError, match="more origins"):
        course.evaluate()
    course.put_pairs([pair(1, "evaluation") | {"prompt": "Why? " * 100}])
    with pytest.raises(DataError, match=r"none of 1 pairs.*max_new_tokens"):
        course.evaluate()


def test_models_of_different_tokenizers_are_not_compared(course: Course) -> None:
    other = train_tokenizer(["quite other words are learnt from here"] * 20, 290)
    course.put_model("aligned", Transformer(course.config()), 3, other)
    with pytest.raises(ConfigError, match="another tokenizer"):
        course.evaluate()


def test_distinct_counts_each_word_pair_once() -> None:
    assert distinct(["a b c", "a b"]) == pytest.approx(2 / 3)
    assert distinct(["", "one"]) == 0.0


def test_calibration_bins_model_pairs_by_gap() -> None:
    rankings, scores = [], []
    for number in range(20):
        gap = 0.1 if number < 10 else 2.0
        right = number % 2 == 0 or number >= 10
        rankings.append(Ranking("p", ["x", "y", "h"], [], [False, False, True], [1, 0, 2], [Pair(0, 1), Pair(2, 0)]))
        scores.append([gap, 0.0, 9.0] if right else [0.0, gap, 9.0])
    assert calibration(rankings, scores) == [
        {"gap": pytest.approx(0.1), "right": 0.5, "pairs": 10},
        {"gap": pytest.approx(2.0), "right": 1.0, "pairs": 10},
    ]
    assert calibration([], []) == []
