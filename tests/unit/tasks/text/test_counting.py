"""What is counted by machine code is what numpy counts, on any text."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.text import counting, kernels
from tasks.text.class_scores import BLOCK, LANES, as_magnitudes
from tasks.text.compiled_features import CompiledFeatures
from tasks.text.counting import are_ascii
from tasks.text.features import Features
from tasks.text.language import identifier
from tasks.text.spans import LONG_SPAN, TextBatch
from tests.unit.tasks.text.test_kernels import HOSTILE, unmixed

MEASURES = (
    "num_chars", "num_letters", "num_digits", "num_visible", "num_unspaced", "num_words", "share_worded",
    "word_hashes", "share_unbroken", "share_repeated_words", "share_ellipses", "num_lines", "share_repeated_lines",
    "share_lines_repeated", "mean_word_chars", "share_bullets", "word_offsets",
)  # fmt: skip
pieces = st.sampled_from(["a", "b1", "é", "漢", "ひ", "1٣", " ", "\u3000", "\n", "...", "…", ".", "-", "://", "_", "\0",
                          "x" * 99 + "=", "same line\n", "😀", "\u0301", "\u2028"])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(pieces, max_size=20).map("".join), max_size=6))
@example([*HOSTILE, "a" * (LONG_SPAN + 1), "…\n...\n....\n.. .\n", "é" * 200 + " " + "a" * 101 + "漢" + "b" * 101])
@example(["x:", "//y " + "z" * 120])
@example([])
def test_each_measure_is_that_of_numpy(texts: list[str]) -> None:
    ours, theirs = CompiledFeatures(TextBatch(texts)), Features(TextBatch(texts))
    for name in MEASURES:
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.long_words.documents.tolist() == theirs.long_words.documents.tolist()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=2 * LANES + 5))
@example([f"{number}: some words, then others " * (number % 5) for number in range(BLOCK + LANES + 1)])
@example(["the house is where we live " * 9, "das Haus, in dem wir wohnen", "", "\0\0", "ab" * 2000])
def test_languages_score_as_with_numpy(texts: list[str]) -> None:
    batch, model = TextBatch(texts), identifier()
    (ours, best, chance), theirs = model._classify_at_once(batch), model.scores(batch)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)  # a processor that rounds once where another does twice
    assert ours.argmax(1).tolist() == theirs.argmax(1).tolist()
    expected, probability = model._likeliest(ours.copy(), np.diff(batch.offsets))
    np.testing.assert_allclose(chance, probability, atol=2e-6)
    assert all(one == other for one, other, sure in zip(best, expected, chance, strict=True) if sure > 0.5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=8))
@example(["ÄÖ", "TODO: 1", "ÄÖa", "", "DIE KATZE SITZT AUF DEM DACH", "ǅ"])
def test_languages_are_told_as_with_numpy(texts: list[str]) -> None:
    column = pa.array(texts, pa.large_string())
    (ours, sure), (theirs, certainty) = (identifier().classify(column, compiled) for compiled in (True, False))
    np.testing.assert_allclose(sure, certainty, atol=1e-4)
    assert all(one == other for one, other, at in zip(ours, theirs, sure, strict=True) if at >= 0.5)
    assert are_ascii(TextBatch(texts).data, TextBatch(texts).offsets).tolist() == [text.isascii() for text in texts]


def test_weights_that_are_no_logarithms_of_probabilities_are_refused() -> None:
    for wrong in (np.array([[-1, 0.5]], np.float16), np.array([[-1.0, -2.0]], np.float32)):
        with pytest.raises(ValueError, match="logarithms"):
            as_magnitudes(wrong)


def test_hashes_that_chance_would_not_give_are_left_to_numpy() -> None:
    """All of one slot: as many steps as their number squared, were they counted on."""
    keys = [(step << 16 | 7) << 20 for step in range(2000)]
    hashes = np.array([unmixed(key) for key in keys], np.uint64)
    assert kernels.mix64(hashes[5]) == keys[5]
    words = np.zeros((len(hashes), int(counting.RUN_WORDS)), np.uint64)  # runs that begin with one and go on with none
    words[:, 0] = hashes
    assert not counting.count_repeated_runs(words.ravel(), np.array([0, words.size]))[1]


def test_lines_that_chance_would_not_give_are_left_to_numpy() -> None:
    """Lines of eight bytes whose hashes all want one place."""
    mask = (1 << 64) - 1
    size = 8 * 0x9E3779B97F4A7C15 & mask
    lines = [(unmixed(step << 20 | 5) ^ size).to_bytes(8, "little") for step in range(6000)]
    text = b"\n".join(line for line in lines if b"\n" not in line)
    data = np.frombuffer(text + bytes(8), np.uint8)
    loads = np.ndarray((len(text) + 1,), "<u8", data.tobytes(), strides=(1,))
    assert not counting.count_lines(data, loads, np.array([0, len(text)]))[1]
