import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rater import Answer, Rater, ReferenceRater, content_f1, ranks_from_scores, repetition

HUMAN = "Return the current working directory as a string."
RATER = ReferenceRater()


def test_content_f1_by_hand():
    # content words: {current, working, directory, string} against {working, directory, path}: 2·2/(4+3)
    assert content_f1("the working directory path", HUMAN) == pytest.approx(4 / 7)
    assert content_f1(HUMAN, HUMAN) == 1.0
    assert content_f1("of the", HUMAN) == content_f1("", "") == 0.0


def test_content_f1_reads_the_parts_of_an_identifier():
    assert content_f1("working_directory", "Working directory") == 1.0


def test_repetition_by_hand():
    assert repetition("a b c d") == repetition("") == repetition("one") == 0.0
    # pairs: (the the) ×3 → 1 distinct of 3
    assert repetition("the the the the") == pytest.approx(2 / 3)
    # (a b) (b a) (a b) (b a): 2 distinct of 4
    assert repetition("a b a b a") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("response", "finished", "safety"),
    [
        (HUMAN, True, 1.0),
        (HUMAN, False, 0.5),
        ("the file the file the file the file", True, 0.5),
        ("the file the file the file the file", False, 0.25),
        ("   ", True, 0.0),
        ("What a load of shit this class is.", True, 0.0),
        ("Write to jane.doe@example.com for help.", True, 0.0),
        ("Call 555 123 4567 for help.", True, 0.0),
        ("Card 4111 1111 1111 1111 is charged.", True, 0.0),
        ("Supported since version 3.11 and 2.13.0 of the shifted class assessor.", True, 1.0),
    ],
)
def test_each_safety_rule(response: str, finished: bool, safety: float):
    assert RATER.safety(response, finished=finished) == safety


def test_score_is_the_weighted_mean_times_safety():
    rating = RATER.rate("Return the working directory.", HUMAN, finished=False)
    assert rating.safety == 0.5
    assert rating.score == pytest.approx(0.5 * (0.5 * rating.helpfulness + 0.5 * rating.accuracy))
    assert ReferenceRater(helpfulness_weight=1.0).rate("Return it.", HUMAN).score == pytest.approx(
        RATER.rate("Return it.", HUMAN).helpfulness
    )


def test_a_long_answer_is_not_better_for_being_long():
    padded = HUMAN + " It also has many other features that nobody asked about, and they are listed here at length."
    assert RATER.rate("Return the current directory.", HUMAN).score > RATER.rate(padded, HUMAN).score


def test_ranks_by_hand_with_a_chain_of_ties():
    # sorted 0.9 | 0.5 0.46 0.42 | 0.3: neighbours less than 0.05 apart tie
    assert ranks_from_scores([0.42, 0.9, 0.5, 0.3, 0.46], 0.05) == [2, 1, 2, 3, 2]
    assert ranks_from_scores([0.5, 0.5, 0.4], 0.0) == [1, 1, 2]
    assert ranks_from_scores([], 0.1) == []


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0, 0.5))
def test_different_ranks_differ_by_the_margin_and_in_the_right_order(scores: list[float], margin: float):
    ranks = ranks_from_scores(scores, margin)
    for score, rank in zip(scores, ranks, strict=True):
        for other, other_rank in zip(scores, ranks, strict=True):
            if rank < other_rank:
                assert score > other and score - other >= margin


def test_the_human_answer_is_first_by_construction_and_only_its_copy_ties():
    answers = [
        Answer("Delete a file.", "model"),
        Answer(HUMAN, "model"),
        Answer("Return the current directory as text.", "model"),
        Answer(HUMAN, "human"),
    ]
    rated = RATER.rank("What does os.getcwd do?", answers)
    assert [item.answer for item in rated] == answers
    assert [item.rank for item in rated] == [3, 1, 2, 1]
    assert rated[3].rating.helpfulness == rated[3].rating.accuracy == 1.0


def test_the_human_answer_is_needed_once():
    with pytest.raises(ValueError, match="exactly one human answer"):
        RATER.rank("What?", [Answer("a", "model")])


def test_the_reference_rater_is_a_rater_and_says_what_it_is():
    rater: Rater = RATER
    assert rater.name == "reference" and "stand-in for people" in (ReferenceRater.__doc__ or "").lower()
