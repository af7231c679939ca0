"""Figures of fertility, worked out by hand."""

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from model.tokenizer import Tokenizer, train_tokenizer
from tasks.text.encoder import encoder_of
from tasks.text.fertility import BY, Fertility, Pieces, metrics_of, pieces_of
from tasks.text.spans import TextBatch


def measured(tokenizer: Tokenizer, *documents: tuple[str, str | None, str, str]) -> list[dict]:
    """The table of documents (text, language, kind, origin)."""
    names = ("text", "language", "kind", "origin")
    columns = {
        name: pa.chunked_array([[row[place] for row in documents]], pa.string()) for place, name in enumerate(names)
    }
    batch = TextBatch(columns["text"])
    found = []
    for compiled in (False, True):
        fertility = Fertility(Pieces.of(tokenizer), compiled)
        ids, lengths = encoder_of(tokenizer.backend, compiled).encode(batch)
        fertility.add(pa.table(columns), batch, ids, lengths)
        found.append(fertility.rows())
    assert found[0] == found[1]
    return found[0]


def row_of(rows: list[dict], by: str, name: str) -> dict:
    (row,) = [row for row in rows if (row["by"], row["name"]) == (by, name)]
    return row


def test_tokens_are_counted_by_language_kind_and_origin():
    tokenizer = train_tokenizer(["the the the the the"], 264)  # learns "the" and " the"
    rows = measured(
        tokenizer, ("the the the", "en", "text", "a"), ("the xyz", None, "code", "a"), ("", "en", "code", "b")
    )
    assert row_of(rows, "all", "all") == {
        "by": "all", "name": "all", "documents": 3, "bytes": 18, "words": 5, "tokens": 8, "tokens_per_word": 8 / 5,
        "bytes_per_token": 18 / 8, "part_token_share": 0.0,
    }  # fmt: skip
    assert row_of(rows, "language", "en")["tokens_per_word"] == 1
    assert row_of(rows, "language", "unknown")["tokens"] == 5  # "the", " ", "x", "y", "z"
    assert row_of(rows, "kind", "code")["documents"] == 2 and row_of(rows, "origin", "a")["words"] == 5
    figures = metrics_of(rows)
    assert figures["fertility/language/en/bytes_per_token"] == 11 / 3
    assert not any("origin" in name for name in figures)


def test_scripts_that_are_written_in_parts_are_told():
    tokenizer = train_tokenizer(["добро добро добро"], 280)
    rows = measured(tokenizer, ("добро 東京 naïve", "ru", "text", "a"))
    assert row_of(rows, "script", "CYRILLIC") == {
        "by": "script", "name": "CYRILLIC", "characters": 5, "whole_share": 1.0
    }  # fmt: skip
    assert row_of(rows, "script", "CJK")["whole_share"] == 0 and row_of(rows, "script", "LATIN")["characters"] == 1
    parts = 6 + 2  # of 東京 three bytes each, and two of ï
    assert row_of(rows, "all", "all")["part_token_share"] == pytest.approx(parts / row_of(rows, "all", "all")["tokens"])


def test_scripts_as_frequent_stand_in_the_order_in_which_parts_are_added():
    tokenizer = train_tokenizer(["text"], 260)
    texts, first = ["д д", "text", "", "東 あ", "あ东"], np.array([False, True, True, True, False])
    documents = pa.table({"text": texts, **{column: ["a"] * len(texts) for column in BY.values()}})

    def names(parts: list[np.ndarray], first: np.ndarray | None) -> list[str]:
        whole = Fertility(Pieces.of(tokenizer))
        for rows in parts:
            part, fertility = documents.filter(pa.array(rows)), Fertility(Pieces.of(tokenizer))
            batch = TextBatch(part["text"])
            fertility.add(part, batch, *encoder_of(tokenizer.backend).encode(batch), first)
            whole.merge(fertility.tally())
        return [row["name"] for row in whole.rows() if row["by"] == "script"]

    apart, together = names([first, ~first], None), names([first | ~first], first)
    assert apart == together != names([first | ~first], None)


def test_other_tokenizers_are_measured_as_well():
    words = models.WordPiece({"[UNK]": 0, "добро": 1, "the": 2, "##s": 3}, unk_token="[UNK]")
    backend = tokenizers.Tokenizer(words)
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = Tokenizer(backend)
    rows = measured(tokenizer, ("добро thes", "ru", "text", "a"), ("東", "ja", "text", "a"))
    assert row_of(rows, "script", "CYRILLIC")["whole_share"] == 1 and row_of(rows, "script", "CJK")["whole_share"] == 0
    assert row_of(rows, "all", "all")["tokens"] == 4


def test_tokens_of_single_bytes_write_nothing_by_themselves():
    backend = tokenizers.Tokenizer(models.BPE({"<0xE6>": 0, "a": 1, "é": 2}, [], byte_fallback=True))
    assert pieces_of(Tokenizer(backend)) == [b"", b"a", "é".encode()]
    assert pieces_of(train_tokenizer(["x"], 260))[4:7] == [b"!", b'"', b"#"]
