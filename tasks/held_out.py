"""The frozen held-out set of an evaluation: what it is, and how much of it stands in the training data."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.chat import render_prompt
from model.data import Span, TokenShards
from model.tokenizer import Tokenizer
from tasks.assessment import Question
from tasks.contamination import contaminated
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import DataError
from tasks.text.shards import read_corpus


@dataclass(frozen=True)
class HeldOut:
    """What nothing was trained on."""

    questions: list[Question]
    pair_ids: list[str]
    documents: list[np.ndarray]
    document_bytes: np.ndarray


def read_held_out(
    pairs: Artifact, tokens: Artifact, tokenizer: Tokenizer, *, room: int, num_prompts: int, num_documents: int
) -> HeldOut:
    """Questions in the order of pair_id whose prompts have at most `room` tokens; documents in the order of doc_id.

    Ids are hashes, so the first ones are a fixed draw. DataError if there are no questions or no documents.
    """
    columns = ["pair_id", "prompt", "response"]
    table = pq.read_table(pairs.path / "pairs.parquet", columns=columns, filters=[("split", "=", "evaluation")])
    questions: list[Question] = []
    pair_ids: list[str] = []
    for row in sorted(table.to_pylist(), key=lambda row: str(row["pair_id"])):
        ids = render_prompt(tokenizer, row["prompt"])
        if len(ids) <= room and len(questions) < num_prompts:
            questions.append(Question(row["prompt"], ids, row["response"].strip()))
            pair_ids.append(row["pair_id"])
    if not questions:
        raise DataError(
            f"there is nothing to evaluate on: none of {table.num_rows} pairs in the evaluation split leaves room for "
            "an answer. Give `pair` pairs of more origins, or lower evaluate.max_new_tokens"
        )
    documents, document_bytes = _read_documents(tokens.path, num_documents)
    return HeldOut(questions, pair_ids, documents, document_bytes)


def _read_documents(folder: Path, limit: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Tokens and UTF-8 bytes of the validation documents with the smallest ids, which are hashes."""
    index = pq.read_table(folder / "index.parquet", filters=[("split", "=", "validation"), ("bytes", ">", 0)])
    index = index.sort_by("doc_id").slice(0, limit)
    if not index.num_rows:
        raise DataError("the tokens hold no validation document to read: raise tokenize.validation_share")
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    shards = TokenShards(sorted(folder.glob("validation-*.bin")), meta["dtype"])
    rows = index.to_pylist()
    documents = [shards.read(Span(row["shard"], row["offset"], row["offset"] + row["length"])) for row in rows]
    return documents, np.array([row["bytes"] for row in rows], dtype=np.float64)


def contamination(held_out: HeldOut, corpus: Artifact, pairs: Artifact, num_words: int) -> dict[str, NDArray[np.bool_]]:
    """For each question whether its prompt or answer stands in the training text, or in training pairs."""
    texts = [text for question in held_out.questions for text in (question.prompt, question.human)]

    def training_text() -> Iterator[pa.ChunkedArray]:
        for table in read_corpus(corpus.path, ["text", "split"]):
            yield table.filter(pc.equal(table["split"], "train"))["text"]

    rest = pq.read_table(
        pairs.path / "pairs.parquet", columns=["prompt", "response"], filters=[("split", "!=", "evaluation")]
    )
    in_text = contaminated(texts, training_text(), num_words)
    in_pairs = contaminated(texts, [rest["prompt"], rest["response"]], num_words)
    return {
        "in_text": in_text[0::2] | in_text[1::2],
        "in_pairs": in_pairs[0::2] | in_pairs[1::2],
    }
