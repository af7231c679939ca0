import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.ngram import KneserNey, discounts, trigrams, window_trigrams


def test_contexts_do_not_cross_documents():
    grams = trigrams(np.array([5, 6, 7, 0, 8, 9, 0]), document_end=0)
    assert grams.tolist() == [[0, 0, 5], [0, 5, 6], [5, 6, 7], [6, 7, 0], [0, 0, 8], [0, 8, 9], [8, 9, 0]]


@given(st.lists(st.integers(0, 3), min_size=3, max_size=30))
def test_trigrams_of_windows_are_those_of_the_stream(tokens):
    rows = np.array([tokens])
    assert window_trigrams(rows, 0).tolist() == trigrams(np.array(tokens), 0)[2:].tolist()


def test_probabilities_by_hand():
    """Text "1 2 1 2 3 <0>", V = 4, every discount 0.5.

    Trigrams: 001 012 121 212 123 230, each once. Distinct pairs: 01 12 21 23 30.
    n(·w): 0←{3} 1, 1←{0,2} 2, 2←{1} 1, 3←{2} 1; total 5, freed 4·0.5, so γ = 0.4 and
      p1(3) = 0.5/5 + 0.4/4 = 0.2; p1(1) = 1.5/5 + 0.1 = 0.4.
    n(·2w): 21 preceded by {1}, 23 by {1}: each 1 of 2; γ(2) = 0.5;
      p2(3|2) = 0.5/2 + 0.5·0.2 = 0.35; p2(1|2) = 0.25 + 0.5·0.4 = 0.45.
    c(12·) = 2: 121 and 123; p3(3|12) = 0.5/2 + 0.5·0.35 = 0.425; p3(1|12) = 0.25 + 0.5·0.45 = 0.475.
    """
    model = KneserNey(trigrams(np.array([1, 2, 1, 2, 3, 0]), 0), 4, discount=(0.5, 0.5, 0.5))
    wanted = np.array([[1, 2, 3], [1, 2, 1], [3, 2, 3], [3, 2, 1], [2, 2, 1]])
    assert model.probabilities(wanted) == pytest.approx([0.425, 0.475, 0.35, 0.45, 0.45])


def test_discounts_by_hand():
    counts = np.array([1] * 10 + [2] * 5 + [3] * 2 + [4] * 1 + [9] * 3)
    share = 10 / 20
    assert discounts(counts) == pytest.approx((1 - 2 * share * 5 / 10, 2 - 3 * share * 2 / 5, 3 - 4 * share * 1 / 2))


def test_no_discount_is_nothing():
    """With n1 = n2 = 1 and n3 = 5, D2 would be negative: what a context lacks would be impossible."""
    assert discounts(np.array([1, 2, *[3] * 5])) == pytest.approx((1 / 3, 1.0, 3.0))
    assert discounts(np.array([1, 2, 3, *[4] * 3])) == pytest.approx((1 / 3, 1.0, 1.25))
    assert discounts(np.array([1, 1, 2, 3, 3])) == pytest.approx((0.5, 1.0, 3.0))


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.integers(0, 6), st.integers(0, 6))
def test_every_distribution_sums_to_one(tokens, first, second):
    model = KneserNey(trigrams(np.array(tokens), 0), 7)
    probabilities = model.probabilities(np.array([[first, second, word] for word in range(7)]))
    assert probabilities.sum() == pytest.approx(1)
    assert (probabilities > 0).all()


def test_text_like_the_training_text_takes_fewer_bits_than_other_text():
    random = np.random.default_rng(0)
    chain = [0]
    for _ in range(5000):
        chain.append((chain[-1] * 3 + int(random.integers(1, 3))) % 11)
    model = KneserNey(trigrams(np.array(chain[:4000]), 0), 11)
    like, unlike = np.array([*chain[4000:], 0]), np.array([*random.integers(0, 11, 1001), 0])
    alike, other = model.document_bits([like, unlike], 0)
    assert alike / len(like) < 1.6 < np.log2(11) < other / len(unlike)


def test_bits_are_split_by_document():
    model = KneserNey(trigrams(np.array([1, 2, 3, 0, 1, 2, 0]), 0), 4)
    documents = [np.array([1, 2, 0]), np.array([3, 0]), np.array([0])]
    together = model.document_bits(documents, 0)
    assert together == pytest.approx([model.document_bits([document], 0)[0] for document in documents])


def test_nothing_to_count_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        KneserNey(np.zeros((0, 3), dtype=np.int64), 4)
