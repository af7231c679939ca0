"""The split is a function of names: stable, in the stated shares, with families together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.splits import choose, family, fraction, side, sides

SHARES = {"validation": 0.02, "finetune": 0.5, "rank": 0.3, "ppo": 0.18}


@given(st.integers(0, 2**31), st.text())
def test_a_fraction_is_stable_and_below_one(seed, name):
    assert 0 <= fraction(seed, name) < 1
    assert fraction(seed, name) == fraction(seed, name)


@given(st.sets(st.text(min_size=1), max_size=30), st.text(min_size=1))
def test_a_new_origin_moves_no_old_one(names, new):
    before = {name: side(0, 0.3, name) for name in names}
    after = sides(0, 0.3, [*sorted(names), new]) or before
    assert all(after[name] == before[name] for name in names)


def test_a_golden_side():
    """These may never change: models trained earlier rely on what was kept from them."""
    assert [name for name in map(str, range(40)) if side(0, 0.1, name) == "evaluation"] == ["5", "13", "17", "34", "39"]


def test_shares_are_kept_over_many_names():
    names = [str(number) for number in range(20_000)]
    chosen = [choose(1, name, SHARES) for name in names]
    for label, share in SHARES.items():
        assert chosen.count(label) / len(names) == pytest.approx(share, abs=0.01)
    assert [side(1, 0.1, name) for name in names].count("evaluation") / len(names) == pytest.approx(0.1, abs=0.01)


def test_rounding_in_the_shares_leaves_nothing_over():
    assert choose(0, "x", {"a": 0.0, "b": 1e-300}) == "b"


def test_names_all_on_one_side_are_told():
    assert sides(0, 0.1, ["one"]) is None
    assert sides(0, 0.0, ["one"]) == {"one": "train"}
    found = sides(0, 0.5, map(str, range(50)))
    assert found is not None and set(found.values()) == {"train", "evaluation"}


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("mlflow-skinny", "mlflow"),
        ("mlflow", "mlflow"),
        ("httpx2", "httpx"),
        ("Zope.Interface", "zope"),
        ("7z", "7z"),
        ("3-2", "3"),
    ],
)
def test_families(package, expected):
    assert family(package) == expected
