"""The hashed classifier: its terms, what it learns, and its figures by hand."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.lineage.errors import DataError
from tasks.text.classifier import Classifier, best_threshold, curve, fit, matrix, terms


def column(*texts: str) -> pa.Array:
    return pa.array(texts, pa.large_string())


def ids_of(text: str) -> list[int]:
    return terms(column(text), 18).ids.tolist()


def test_terms_are_words_signs_and_pairs():
    assert len(ids_of("One word, two")) == 4 + 3  # One, word, the comma, two; three pairs
    assert ids_of("the RIVER") == ids_of("The river")
    assert ids_of("b a") != ids_of("a b") and sorted(ids_of("b a")[:2]) == sorted(ids_of("a b")[:2])
    assert ids_of("") == ids_of(" \n") == []


@given(st.lists(st.text(max_size=20), max_size=6))
def test_terms_of_a_text_depend_on_no_other(texts):
    together = terms(column(*texts), 12)
    alone = [terms(column(text), 12).ids.tolist() for text in texts]
    assert [together.ids[a:b].tolist() for a, b in zip(together.offsets, together.offsets[1:], strict=False)] == alone


def planted(count: int, seed: int) -> tuple[pa.Array, np.ndarray]:
    """Texts of common words, of which half hold a pair of words, and the other half the same words apart."""
    draw, words = random.Random(seed), [f"w{n}" for n in range(40)]
    texts, labels = [], []
    for number in range(count):
        text = draw.choices(words, k=20)
        text[10:10] = ["red", "boat"] if number % 2 else ["boat", "red"]
        texts.append(" ".join(text))
        labels.append(number % 2)
    return column(*texts), np.array(labels)


def learned(bits: int = 14) -> Classifier:
    texts, labels = planted(400, 0)
    weights = fit(matrix(terms(texts, bits), bits), labels, 200, 1e-8, 3.0).astype(np.float32)
    return Classifier(weights, bits, 0.5, 0, 0, curve(np.array([0.0, 1.0]), np.array([0, 1])))


def test_it_learns_what_tells_texts_apart_and_the_same_bits_each_time():
    texts, labels = planted(200, 1)
    scores = learned().scores(texts)
    assert curve(scores, labels).area > 0.9
    assert learned().weights.tobytes() == learned().weights.tobytes()


def test_without_a_difference_there_is_nothing_to_learn():
    texts, labels = planted(400, 2)
    shuffled = np.random.default_rng(0).permutation(labels)
    weights = fit(matrix(terms(texts, 14), 14), shuffled, 50, 1e-8).astype(np.float32)
    none = Classifier(weights, 14, 0.5, 0, 0, curve(np.array([0.0, 1.0]), np.array([0, 1])))
    assert 0.4 < curve(none.scores(planted(400, 3)[0]), planted(400, 3)[1]).area < 0.6


def test_scores_depend_on_no_other_text_and_empty_texts_have_one():
    texts = [*planted(6, 4)[0].to_pylist(), "", "?"]
    together = learned().scores(column(*texts))
    assert together.tolist() == [learned().scores(column(text))[0] for text in texts]
    assert ((together >= 0) & (together <= 1)).all()


def test_area_precision_recall_and_threshold_by_hand():
    scores, labels = np.array([0.1, 0.4, 0.4, 0.8, 0.9]), np.array([0, 0, 1, 0, 1])
    found = curve(scores, labels)
    assert found.area == pytest.approx((1.5 + 3) / 6)  # 0.4 beats 0.1 and ties with 0.4; 0.9 beats all three
    assert found.recall[0] == 1 and found.precision[0] == pytest.approx(2 / 5)
    threshold, precision, recall = best_threshold(curve(np.array([0.1, 0.2, 0.7, 0.9]), np.array([0, 0, 1, 1])))
    assert 0.2 < threshold <= 0.7 and precision == recall == 1


def test_what_is_written_is_read_again(tmp_path):
    ours = learned()
    ours.write(tmp_path, texts=7)
    theirs = Classifier.read(tmp_path)
    assert theirs.weights.tobytes() == ours.weights.tobytes() and theirs.held_out == ours.held_out
    with pytest.raises(DataError, match="is no classifier"):
        Classifier.read(tmp_path / "elsewhere")
