"""Clusters of copies are drawn from what `deduplicate` left, for its MLflow run and for the report."""

import pytest

from tasks.deduplicate import deduplicate
from tasks.lineage.store import Store
from tasks.report import plots, publication
from tests.unit.tasks.corpora import corpus, document


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def test_the_clusters_of_a_run_are_drawn(tmp_path):
    rows = [document("the same text again and again", f"file:///{number}") for number in range(3)]
    rows += [document("another one of two", f"file:///b{number}") for number in range(2)]
    made = deduplicate(corpus=corpus(rows))
    record = Store().maker(made)
    assert sorted(publication.cluster_sizes(record)) == [2, 3]
    publication.write_plots(record.model_dump(mode="json"), tmp_path / "drawn")
    assert (tmp_path / "drawn" / "plots" / "clusters.png").stat().st_size > 1000


def test_classes_double_and_empty_ones_are_shown():
    axes = plots.cluster_sizes([2, 2, 3, 4, 9]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "3–4", "5–8", "9–16"]
    assert [bar.get_height() for bar in axes.patches] == [2, 2, 0, 1]


def test_without_clusters_nothing_is_drawn(tmp_path):
    made = deduplicate(corpus=corpus([document("only one text")]))
    publication.write_plots(Store().maker(made).model_dump(mode="json"), tmp_path)
    assert not (tmp_path / "plots").exists()
