import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF

from tasks.text.chrf import chrf_scores

text = st.text(alphabet=st.one_of(st.sampled_from("abc .\n"), st.characters()), max_size=40)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(text, text), min_size=1, max_size=8), st.sampled_from([1, 2]))
def test_scores_equal_sacrebleu(pairs, beta):
    theirs = CHRF(char_order=6, word_order=0, beta=beta)
    hypotheses, references = [h for h, _ in pairs], [r for _, r in pairs]
    expected = [theirs.sentence_score(h, [r]).score / 100 for h, r in pairs]
    np.testing.assert_allclose(chrf_scores(hypotheses, references, beta), expected, atol=1e-9)


def test_the_same_text_scores_one_and_a_disjoint_one_zero():
    assert chrf_scores(["Return the sum.", "xyz"], ["Return the sum.", "abc"]).tolist() == pytest.approx([1.0, 0.0])


def test_beta_two_rewards_length_more_than_beta_one():
    reference, padded = "Return the sum of two numbers.", "Return the sum of two numbers. Return more and more words."
    by_beta = [chrf_scores([padded], [reference], beta)[0] for beta in (1.0, 2.0)]
    assert by_beta[0] < by_beta[1]


def test_rows_are_independent_across_chunks(monkeypatch):
    monkeypatch.setattr("tasks.text.chrf._ROWS", 3)
    hypotheses = ["aa", "ab", "abc", "", "abcd", "b", "c d e"]
    references = ["ab", "ab", "abd", "x", "abcd", "a", "cde"]
    one_by_one = [chrf_scores([h], [r])[0] for h, r in zip(hypotheses, references, strict=True)]
    assert chrf_scores(hypotheses, references).tolist() == one_by_one


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="2 hypotheses and 1 references"):
        chrf_scores(["a", "b"], ["a"])
