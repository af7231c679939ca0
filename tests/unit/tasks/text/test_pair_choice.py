"""Each prompt and answer once, nothing of training in evaluation, and splits that follow from hashes."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.pair_choice import (
    ABOVE_MAX,
    REPEATED_PROMPT,
    REPEATED_RESPONSE,
    TEMPLATE,
    Candidate,
    decide,
    normalised,
)

SHARES = {"validation": 0.02, "finetune": 0.5, "rank": 0.3, "ppo": 0.18}


def candidates(*pairs: tuple[str, str, bool], pattern: str | None = None) -> list[Candidate]:
    return [
        Candidate(
            row, hashlib.sha256(f"{prompt}\0{response}".encode()).hexdigest(), prompt, response, pattern, evaluation
        )
        for row, (prompt, response, evaluation) in enumerate(pairs)
    ]


def test_of_equal_answers_the_one_for_evaluation_is_kept():
    choice = decide(
        candidates(("a", "the same long answer here", False), ("b", "The same long answer, here!", True)),
        SHARES, 0, 20, None,
    )  # fmt: skip
    assert choice.splits == {1: "evaluation"}
    assert choice.dropped[0][0] == REPEATED_RESPONSE


def test_equal_prompts_are_kept_once_and_name_what_is_kept():
    pairs = candidates(("What is it?", "one answer of words", True), ("what  is it", "another answer of words", False))
    choice = decide(pairs, SHARES, 0, 20, None)
    assert choice.dropped == {1: (REPEATED_PROMPT, pairs[0].pair_id)}


def test_short_answers_may_repeat():
    choice = decide(candidates(*((f"is {n} even?", "Yes.", False) for n in range(50))), SHARES, 0, 20, None)
    assert len(choice.splits) == 50


def test_answers_of_one_pattern_are_capped_unless_they_are_all_name():
    pairs = [(f"p{n}", f"Deserializes the thing {n} from a dictionary", False) for n in range(30)]
    capped = decide(candidates(*pairs, pattern="deserializes the _ from a dictionary"), SHARES, 0, 5, None)
    assert Counter(reason for reason, _ in capped.dropped.values()) == {TEMPLATE: 25}
    assert len(decide(candidates(*pairs, pattern="return the _"), SHARES, 0, 5, None).splits) == 30
    assert len(decide(candidates(*pairs), SHARES, 0, 5, None).splits) == 30


def test_max_pairs_keeps_the_smallest_hashes():
    pairs = candidates(*((f"prompt {n}", f"a long answer number {n}", n % 7 == 0) for n in range(100)))
    choice = decide(pairs, SHARES, 0, 20, 10)
    kept = sorted(pair.pair_id for pair in pairs)[:10]
    assert sorted(pairs[row].pair_id for row in choice.splits) == kept
    assert Counter(reason for reason, _ in choice.dropped.values()) == {ABOVE_MAX: 90}


@given(
    st.lists(
        st.tuples(st.text("abc ", min_size=1, max_size=4), st.text("abc ", min_size=1, max_size=12), st.booleans()),
        max_size=40,
    ),
    st.integers(0, 5),
)
def test_every_pair_has_one_fate_and_nothing_leaks(pairs, seed):
    made = candidates(*pairs)
    choice = decide(made, SHARES, seed, 20, None)
    assert choice.splits.keys() | choice.dropped.keys() == set(range(len(made)))
    assert not choice.splits.keys() & choice.dropped.keys()
    prompts = [normalised(made[row].prompt) for row in choice.splits]
    assert len(prompts) == len(set(prompts))
    held_out = {normalised(made[row].response) for row, split in choice.splits.items() if split == "evaluation"}
    trained = {normalised(made[row].response) for row, split in choice.splits.items() if split != "evaluation"}
    assert all(len(answer.split()) <= 3 for answer in held_out & trained)
    assert all((split == "evaluation") == made[row].evaluation for row, split in choice.splits.items())


@given(st.permutations(range(12)))
def test_the_order_of_the_rows_decides_nothing(order):
    pairs = [(f"prompt {n % 5}", f"a long answer of {n % 7}", n % 3 == 0) for n in range(12)]

    def kept(rows):
        made = candidates(*rows)
        return {made[row].pair_id: split for row, split in decide(made, SHARES, 0, 20, None).splits.items()}

    assert kept([pairs[index] for index in order]) == kept(pairs)


def test_shares_are_kept():
    choice = decide(
        candidates(*((f"prompt {n}", f"a long answer {n}", False) for n in range(5000))), SHARES, 3, 20, None
    )
    counts = Counter(choice.splits.values())
    for label, share in SHARES.items():
        assert counts[label] / 5000 == pytest.approx(share, abs=0.02)
