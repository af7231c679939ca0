"""Small artifacts for the tests of training stages, stored as the engine stores them."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.config import ModelConfig
from model.export import save_pretrained
from model.tokenizer import Tokenizer, train_tokenizer
from model.transformer import Transformer
from tasks.lineage.artifact import Artifact
from tasks.lineage.home import home
from tasks.lineage.ledger import DROPPED, KEPT, SCHEMA
from tasks.lineage.store import Store

VERBS = ["Return", "Compute", "Write", "Read", "Close", "Open", "Sort", "Merge"]
NOUNS = ["the file", "a list of names", "the sum of two numbers", "each row", "the table", "the result", "an index"]


def sentence(number: int) -> str:
    """One of the regular sentences this text is made of."""
    return f"{VERBS[number % 8]} {NOUNS[number * 5 % 7]} and {VERBS[number * 3 % 8].lower()} {NOUNS[number * 2 % 7]}."


def store(write, kind: str) -> Artifact:
    """What `write(folder)` writes, as an artifact."""
    home().mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=home()))
    write(folder)
    output = Store().commit(folder, kind)
    return Artifact(kind=kind, digest=output.digest, key="0" * 64)


def tokenizer() -> Tokenizer:
    """300 ids learned from the sentences."""
    return train_tokenizer([sentence(number) for number in range(300)], 300)


def tokens_artifact(documents: int = 300, validation: int = 30) -> Artifact:
    """`documents` training and `validation` held-out documents of a few sentences."""

    def write(folder: Path) -> None:
        learned = tokenizer()
        learned.save(folder / "tokenizer.json")
        rows = []
        random = np.random.default_rng(0)
        for split, count in (("train", documents), ("validation", validation)):
            ids: list[int] = []
            for number in range(count):
                text = " ".join(sentence(int(n)) for n in random.integers(0, 1000, 1 + number % 4))
                encoded = [*learned.encode(text), learned.endoftext_id]
                rows.append(
                    {
                        "doc_id": f"{split}-{number}",
                        "split": split,
                        "shard": 0,
                        "offset": len(ids),
                        "length": len(encoded),
                        "bytes": len(text.encode()),
                    }
                )
                ids += encoded
            np.array(ids, dtype="<u2").tofile(folder / f"{split}-00000.bin")
        schema = pa.schema(
            [
                ("doc_id", pa.string()),
                ("split", pa.string()),
                ("shard", pa.int32()),
                ("offset", pa.int64()),
                ("length", pa.int32()),
                ("bytes", pa.int32()),
            ]
        )
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "index.parquet")
        ledger = [
            {
                "doc_id": row["doc_id"],
                "source": f"tiny://{row['doc_id']}",
                "decision": KEPT if row["split"] == "train" else DROPPED,
                "reason": None if row["split"] == "train" else "held_out",
                "duplicate_of": None,
                "bytes_in": row["bytes"],
                "bytes_out": row["bytes"] if row["split"] == "train" else 0,
            }
            for row in rows
        ]
        pq.write_table(pa.Table.from_pylist(ledger, schema=SCHEMA), folder / "ledger.parquet")
        (folder / "meta.json").write_text(json.dumps({"vocab_size": learned.vocab_size, "dtype": "uint16"}))

    return store(write, "tokens")


def model_artifact(context: int = 96) -> Artifact:
    """An untrained causal model."""
    config = ModelConfig(
        vocab_size=tokenizer().vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
    )
    return store(lambda folder: save_pretrained(Transformer(config), tokenizer(), folder / "model"), "model")


def pairs_artifact(**splits: int) -> Artifact:
    """So many pairs of each split: "What does f3 do?" is answered by sentence 3."""

    def write(folder: Path) -> None:
        rows = []
        for split, count in splits.items():
            for _ in range(count):
                number = len(rows)
                rows.append(
                    {
                        "pair_id": str(number),
                        "prompt": f"What does f{number % 5} do?",
                        "response": sentence(number % 5),
                        "source": "test",
                        "origin": "test",
                        "license": "MIT",
                        "split": split,
                    }
                )
        names = ("pair_id", "prompt", "response", "source", "origin", "license", "split")
        table = pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in names]))
        pq.write_table(table, folder / "pairs.parquet")

    return store(write, "pairs")
