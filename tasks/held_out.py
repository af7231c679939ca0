"""The frozen held-out prompts of an evaluation: which they are, and how many stand in the training data."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.chat import render_prompt
from model.tokenizer import Tokenizer
from tasks.assessment import Question
from tasks.contamination import contaminated
from tasks.lineage.artifact import Artifact
from tasks.lineage.errors import DataError
from tasks.text.shards import read_corpus


@dataclass(frozen=True)
class HeldOutPrompts:
    """Prompts of origins that nothing was trained on, with the human answers."""

    questions: list[Question]
    pair_ids: list[str]


def read_prompts(pairs: Artifact, tokenizer: Tokenizer, *, room: int, limit: int) -> HeldOutPrompts:
    """The first `limit` prompts of at most `room` tokens in the order of pair_id, a hash, so they are a fixed draw.

    Raises DataError if there are none.
    """
    columns = ["pair_id", "prompt", "response"]
    table = pq.read_table(pairs.path / "pairs.parquet", columns=columns, filters=[("split", "=", "evaluation")])
    questions: list[Question] = []
    pair_ids: list[str] = []
    for row in sorted(table.to_pylist(), key=lambda row: str(row["pair_id"])):
        ids = render_prompt(tokenizer, row["prompt"])
        if len(ids) <= room and len(questions) < limit:
            questions.append(Question(row["prompt"], ids, row["response"].strip()))
            pair_ids.append(row["pair_id"])
    if not questions:
        raise DataError(
            f"there is nothing to evaluate on: none of {table.num_rows} pairs in the evaluation split leaves room for "
            "an answer. Give `pair` pairs of more origins, or lower evaluate.max_new_tokens"
        )
    return HeldOutPrompts(questions, pair_ids)


def as_plain_text(questions: list[Question], tokenizer: Tokenizer) -> list[Question]:
    """The prompts as a text to continue, for a model that knows no chat format."""
    return [
        replace(question, ids=[tokenizer.endoftext_id, *tokenizer.encode(f"{question.prompt}\n")])
        for question in questions
    ]


def contamination(
    prompts: HeldOutPrompts, corpus: Artifact, pairs: Artifact, num_words: int
) -> dict[str, NDArray[np.bool_]]:
    """For each question whether its prompt or answer stands in the training text, or in training pairs."""
    texts = [text for question in prompts.questions for text in (question.prompt, question.human)]

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
