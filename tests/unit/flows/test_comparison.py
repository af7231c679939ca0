"""A retraining is compared figure by figure with what was there before."""

from flows.comparison import State, compare, markdown

BEFORE = State({"ppo": "a"}, {"ppo": {"eval/gold": 0.2}})
AFTER = State({"ppo": "b"}, {"ppo": {"eval/gold": 0.25, "eval/kl": 3.0}})


def test_changes_and_new_figures_are_shown() -> None:
    page = markdown(compare(BEFORE, AFTER))
    assert "| ppo | gold | 0.2000 | 0.2500 | +0.0500 |" in page
    assert "| ppo | kl | – | 3.0000 | new |" in page
    assert "Nothing changed" not in page


def test_the_same_models_are_called_the_same() -> None:
    comparison = compare(BEFORE, BEFORE)
    assert "Nothing changed" in markdown(comparison)
    assert comparison.tags() == {"compared.ppo.gold": "0.2 → 0.2", "compared.same_models": "true"}
