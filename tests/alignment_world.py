"""A world small enough to align in seconds: a tokenizer, a fine-tuned model that half knows its answers, and pairs."""

import hashlib
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from model.answers import encode_answer, pad_rows
from model.config import ModelConfig
from model.export import save_pretrained
from model.scalar import ScalarModel
from model.tokenizer import Tokenizer, train_tokenizer
from model.training import TrainingConfig, train
from model.transformer import Transformer
from tasks.lineage.artifact import Artifact
from tasks.lineage.store import Store
from tasks.rank import SCHEMA

VERBS = ["open", "close", "read", "write", "copy", "move", "list", "sort"]
NOUNS = ["file", "table", "stream", "folder", "socket", "record"]
WORSE = ["Write a long text about it.", "It is not known.", "file file file file", "Of the"]
SPLITS = ["finetune", "finetune", "rank", "ppo", "evaluation"]


def pair_rows() -> list[dict[str, str]]:
    """48 questions with their human answers, spread over the splits."""
    rows = []
    for number, (verb, noun) in enumerate(product(VERBS, NOUNS)):
        prompt = f"What does {verb}_{noun} do?"
        rows.append(
            {
                "pair_id": hashlib.sha256(prompt.encode()).hexdigest()[:32],
                "prompt": prompt,
                "response": f"{verb.capitalize()} the {noun}.",
                "source": f"pypi://toy/1.0/{noun}.py#{verb}",
                "origin": f"toy-{noun}",
                "license": "MIT",
                "split": SPLITS[number % len(SPLITS)],
            }
        )
    return rows


def toy_tokenizer() -> Tokenizer:
    rows = pair_rows()
    return train_tokenizer([row["prompt"] + " " + row["response"] for row in rows] * 2, 320)


def toy_config(tokenizer: Tokenizer, **sizes: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=tokenizer.vocab_size,
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, **sizes},
        max_position_embeddings=64,
    )


def half_learned_policy(tokenizer: Tokenizer, steps: int = 40) -> Transformer:
    """A model after a short fine-tuning on all pairs: its samples are sometimes right."""
    model = Transformer(toy_config(tokenizer))
    rows = [
        encode_answer(tokenizer, row["prompt"], row["response"], finished=True, max_tokens=64) for row in pair_rows()
    ]
    input_ids, _ = pad_rows([row.ids for row in rows], -1)
    batch = {"input_ids": input_ids.clamp(min=0), "targets": torch.where(input_ids < 0, -100, input_ids)}

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor | float]]:
        logits = model(batch["input_ids"])[:, :-1]
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch["targets"][:, 1:].flatten()), {}

    train(model, lambda step: batch, loss, TrainingConfig(steps=steps, lr=1e-2, optimizer="adamw"))
    return model


def store(folder: Path, kind: str) -> Artifact:
    """A folder put into the store of PEDIGREE_HOME, as if a stage had made it."""
    output = Store().commit(folder, kind)
    return Artifact(kind=kind, digest=output.digest, key=output.digest)


def store_pairs(folder: Path) -> Artifact:
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(pair_rows()), folder / "pairs.parquet")
    return store(folder, "pairs")


def store_model(model: Transformer | ScalarModel, tokenizer: Tokenizer, folder: Path, kind: str = "model") -> Artifact:
    save_pretrained(model, tokenizer, folder / "model")
    return store(folder, kind)


def answer(text: str, author: str, rank: int, score: float) -> dict[str, object]:
    return {
        "text": text, "author": author, "finished": True, "rank": rank, "helpfulness": score, "accuracy": score,
        "safety": 1.0, "score": score,
    }  # fmt: skip


def ranking_rows() -> list[dict[str, object]]:
    """Rankings in which a fixed taste decides: the right answer, then the four texts in the order of WORSE."""
    rows = []
    for number, pair in enumerate(pair_rows()):
        responses = [
            answer(text, "model", place + 2, 0.8 - place / 5)
            for place, text in enumerate(WORSE[number % 4 :] + WORSE[: number % 4])
        ]
        order = {text: place for place, text in enumerate(WORSE)}
        for item in responses:
            item["rank"], item["score"] = order[str(item["text"])] + 2, 0.8 - order[str(item["text"])] / 5
        responses.append(answer(pair["response"], "human", 1, 1.0))
        rows.append(
            {
                "prompt_id": pair["pair_id"], "prompt": pair["prompt"], "origin": pair["origin"],
                "split": "train" if number % 5 else "validation", "rater": "reference",
                "annotator": "toy", "responses": responses,
            }
        )  # fmt: skip
    return rows


def store_rankings(folder: Path, rows: list[dict[str, object]] | None = None) -> Artifact:
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows or ranking_rows(), SCHEMA), folder / "rankings.parquet")
    return store(folder, "rankings")
