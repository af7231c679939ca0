"""A course small enough for unit tests: a folder of text and pairs, every data stage, and two models of a few steps."""

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.clean import CleanConfig, clean
from tasks.collect import CollectConfig, collect
from tasks.decontaminate import DecontaminateConfig, decontaminate
from tasks.deduplicate import DeduplicateConfig, deduplicate
from tasks.finetune import FinetuneConfig, finetune
from tasks.lineage.artifact import Artifact
from tasks.pair import PairConfig, pair
from tasks.pretrain import PretrainConfig, pretrain
from tasks.snapshot import SnapshotConfig, snapshot
from tasks.stage import Resources
from tasks.text.sources import Source
from tasks.tokenize import TokenizeConfig, tokenize

WORDS = ["".join(letters) for letters in product("bdgklmnprst", "aeiou", "bdgklmnprst", "aeiou")]
RESOURCES = Resources(threads=1, workers=1)


def text(seed: int, length: int = 80) -> str:
    """Nonsense that passes the rules of `clean`."""
    words = random.Random(seed).choices(WORDS, k=length)
    return " ".join(word if place % 7 else "the" for place, word in enumerate(words)) + "."


def write_sources(folder: Path, documents: int = 60) -> None:
    """texts.jsonl and pairs.jsonl. Which of them are trained on depends on the folder's path, as doc_ids do."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": text(number)} for number in range(documents)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"prompt": f"What does {WORDS[n]} {WORDS[-n]} do?", "response": text(2000 + n, 8)} for n in range(60)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))


def snapshot_config(folder: Path) -> SnapshotConfig:
    sources = (
        Source(kind="files", path=str(folder / "texts.jsonl"), license="CC0-1.0"),
        Source(kind="files", path=str(folder / "pairs.jsonl"), license="MIT", role="pairs"),
    )
    return SnapshotConfig(sources=sources, evaluation_share=0.2)


def make(folder: Path, **changes: Any) -> dict[str, Artifact]:
    """Everything that the sources in `folder` give, by stage; `changes` are configs by stage."""
    configs: dict[str, Any] = {
        "snapshot": snapshot_config(folder),
        "collect": CollectConfig(),
        "clean": CleanConfig(),
        "deduplicate": DeduplicateConfig(),
        "decontaminate": DecontaminateConfig(),
        "tokenize": TokenizeConfig(vocab_size=300, train_bytes=5000, validation_share=0.1),
        "pair": PairConfig(
            ask_packages=False, validation_share=0.1, finetune_share=0.4, rank_share=0.25, ppo_share=0.25
        ),
        "pretrain": PretrainConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32,
            context_length=64, steps=2, batch_size=2, evaluations=1, evaluation_tokens=500, ngram_tokens=500, samples=1,
            precision="fp32",
        ),
        "finetune": FinetuneConfig(
            steps=2, batch_size=2, validation_pairs=2, eval_prompts=2, max_new_tokens=4, samples=1, precision="fp32"
        ),
        **changes,
    }  # fmt: skip
    made: dict[str, Artifact] = {}

    def run(stage: Any, **inputs: Artifact) -> Artifact:
        made[stage.name] = stage(**inputs, config=configs[stage.name], resources=RESOURCES)
        return made[stage.name]

    outside = run(snapshot)
    deduplicated = run(deduplicate, corpus=run(clean, corpus=run(collect, snapshot=outside)))
    pairs = run(pair, snapshot=outside)
    tokens = run(tokenize, corpus=run(decontaminate, corpus=deduplicated, pairs=pairs, snapshot=outside))
    run(finetune, model=run(pretrain, tokens=tokens), pairs=pairs)
    return made


def trained_on(made: dict[str, Artifact]) -> list[dict[str, Any]]:
    """The documents of the training split, with their text, in the corpus's order."""
    index = pq.read_table(made["tokenize"].path / "index.parquet", filters=[("split", "=", "train")])
    ids = set(index["doc_id"].to_pylist())
    rows = pq.read_table(made["decontaminate"].path / "documents-00000.parquet").to_pylist()
    return [row for row in rows if row["doc_id"] in ids]
