"""A model whose weights overflow: each of the four trainers stops and names the documents of the step."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from model.scalar import ScalarModel
from model.transformer import Transformer
from tasks.finetune import FinetuneConfig, finetune
from tasks.lineage.errors import DataError
from tasks.lineage.store import Store
from tasks.ppo import PPOConfig, ppo
from tasks.pretrain import PretrainConfig, pretrain
from tasks.reward import RewardConfig, reward
from tasks.stage import FINAL_ERRORS, Resources
from tasks.watching import BatchDocument, Watch, documents_where
from tests.alignment_world import pair_rows, store_model, store_pairs, store_rankings, toy_config, toy_tokenizer
from tests.tiny_artifacts import tokens_artifact

QUICK = Resources(threads=1, device="cpu")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def overflowing(model: torch.nn.Module) -> torch.nn.Module:
    """Weights that are finite, while what they compute is not."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layernorm" in name or "up_proj" in name:
                parameter.fill_(1e17)  # more, and a model is refused as it is read
    return model


def named(error: pytest.ExceptionInfo[DataError]) -> dict[str, str]:
    """The documents that a message names, with their sources."""
    message = str(error.value)
    assert "diverged at step 0" in message and "lower the learning rate" in message
    assert isinstance(error.value, FINAL_ERRORS), "Prefect would try again"
    return dict(re.findall(r"([\w-]+) \(([^()]+)\)", message.partition("Its documents: ")[2]))


def test_pretraining_that_overflows_names_the_documents_and_their_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.pretrain import build_model

    monkeypatch.setattr("tasks.pretrain.build_model", lambda *sizes: overflowing(build_model(*sizes)))
    tokens = tokens_artifact()
    config = PretrainConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, intermediate_size=64,
        context_length=16, batch_size=2, precision="fp32", steps=3,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"^pretrain: training diverged") as error:
        pretrain(tokens=tokens, config=config, resources=QUICK)
    found = named(error)
    assert 2 <= len(found) <= 12
    assert all(found[doc_id] == f"tiny://{doc_id}" for doc_id in found)
    assert list(Store().records()) == []


def test_fine_tuning_that_overflows_names_the_pairs(tmp_path: Path) -> None:
    tokenizer = toy_tokenizer()
    model = store_model(overflowing(Transformer(toy_config(tokenizer))), tokenizer, tmp_path / "model")
    with pytest.raises(DataError, match=r"^finetune: training diverged") as error:
        finetune(
            model=model, pairs=store_pairs(tmp_path / "pairs"), resources=QUICK,
            config=FinetuneConfig(batch_size=4, steps=2, precision="fp32"),
        )  # fmt: skip
    sources = {row["pair_id"]: row["source"] for row in pair_rows() if row["split"] == "finetune"}
    found = named(error)
    assert len(found) == 4 and all(sources[pair] == source for pair, source in found.items())


def test_a_reward_model_that_overflows_names_the_prompts(tmp_path: Path) -> None:
    tokenizer = toy_tokenizer()
    model = store_model(overflowing(Transformer(toy_config(tokenizer))), tokenizer, tmp_path / "model")
    rankings = store_rankings(tmp_path / "rankings")
    config = RewardConfig(num_hidden_layers=2, batch_size=3, precision="fp32")
    with pytest.raises(DataError, match=r"^reward: training diverged") as error:
        reward(model=model, rankings=rankings, config=config, resources=QUICK)
    origins = {row["pair_id"]: row["origin"] for row in pair_rows()}
    found = named(error)
    assert len(found) == 3 and all(origins[prompt] == origin for prompt, origin in found.items())


def test_ppo_that_overflows_names_the_prompts(tmp_path: Path) -> None:
    tokenizer = toy_tokenizer()
    policy = Transformer(toy_config(tokenizer))
    scorer = overflowing(ScalarModel.from_causal(policy, 2))
    with pytest.raises(DataError, match=r"^ppo: training diverged") as error:
        ppo(
            model=store_model(policy, tokenizer, tmp_path / "model"),
            reward_model=store_model(scorer, tokenizer, tmp_path / "reward", "reward_model"),
            pairs=store_pairs(tmp_path / "pairs"), resources=QUICK,
            config=PPOConfig(iterations=1, batch_size=4, max_new_tokens=4, minibatches=1, precision="fp32"),
        )  # fmt: skip
    sources = {row["pair_id"]: row["source"] for row in pair_rows() if row["split"] == "ppo"}
    found = named(error)
    assert len(found) == 4 and all(sources[pair] == source for pair, source in found.items())


class Told:
    """What a Watch says of a run."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.shown: list[dict[str, float]] = []
        self.warnings: list[str] = []
        self.logger = self

    def log_metrics(self, figures: dict[str, float], step: int) -> None:
        self.rows[step] = figures

    def progress(self, step: float, total: float, **figures: float) -> None:
        self.shown.append(figures)

    def warning(self, text: str, *values: object) -> None:
        self.warnings.append(text % values)


def watch(told: Told, steps: int, documents: list[BatchDocument]) -> Watch:
    return Watch(told, "pretrain", steps, lambda step: documents, device=torch.device("cpu"))  # type: ignore[arg-type]


def test_each_step_is_logged_and_what_changes_slowly_now_and_then() -> None:
    told = Told()
    tell = watch(told, 1000, [])
    for step in range(1, 1001):
        tell(step, {"loss": 2.0, "mfu": 0.5, "eval/loss": 3.0})
    assert told.rows[1] == {"train/loss": 2.0, "train/mfu": 0.5, "eval/loss": 3.0}
    slow = [row for row in told.rows.values() if "train/energy_wh" in row]
    assert len(slow) == 200 and slow[-1]["train/energy_wh"] >= slow[0]["train/energy_wh"] >= 0
    assert 0.05 < told.rows[1000]["train/peak_memory_gb"] < 100
    assert told.shown[0] == {"loss": 2.0, "mfu": 0.5}


def test_a_skipped_update_is_told_with_its_documents_and_foreign_text_is_harmless() -> None:
    told = Told()
    documents = [BatchDocument(f"d{number}", "file:///a\x1b[2Jb") for number in range(25)]
    watch(told, 10, documents)(4, {"loss": 9.0, "grad_norm": 2.0, "skipped": 1.0})
    (line,) = told.warnings
    assert "step 3 (counted from 0)" in line and "d0 (file:///a\\x1b[2Jb)" in line
    assert "\x1b" not in line and "and 5 more" in line and "d20" not in line


def test_documents_are_found_in_the_order_asked_and_unknown_ones_stand_for_themselves(tmp_path: Path) -> None:
    import pyarrow as pa

    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"doc_id": ["a", "b", "c"], "prompt": ["x", "y", "x"], "source": ["1", "2", "3"]}), table)
    assert documents_where(table, "doc_id", ["c", "z", "a"]) == [("c", "3"), ("z", ""), ("a", "1")]
    assert documents_where(table, "prompt", ["y", "x"]) == [("b", "2"), ("a", "1"), ("c", "3")]
    assert documents_where(tmp_path / "none.parquet", "doc_id", ["a"]) == [("a", "")]
