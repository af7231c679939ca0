"""The page about what was cleaned: what documents say stays text, and equal measures give equal bytes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.clean import CleanConfig, clean
from tasks.lineage.store import Store
from tasks.report import cleaning_page, publication
from tasks.report.note import note
from tasks.stage import Resources
from tests.unit.tasks.corpora import corpus, document

PROSE = "The river that runs to the east of the old town is wide, and people have to cross it with a boat (no. {})."
HOSTILE = "<script>alert(1)</script> @@PICTURES@@ </pre>"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def written(folder: Path) -> str:
    rows = [document(PROSE.format(number)) for number in range(20)]
    rows += [document(HOSTILE, "file:///<b>.txt"), document("Copy.", kind="docstring")]
    made = clean(corpus=corpus(rows), config=CleanConfig(), resources=Resources())
    record = Store().record(made.key)
    assert record is not None
    publication.write_plots(record.model_dump(mode="json"), folder)
    return (folder / "cleaning.html").read_text(encoding="utf-8")


def test_counts_examples_and_histograms_are_there_and_hostile_text_is_text(tmp_path: Path) -> None:
    page = written(tmp_path / "one")
    assert "20 of 22 documents were kept and 2 dropped" in page
    assert "<script" not in page and "&lt;script&gt;" in page and "file:///&lt;b&gt;.txt" in page
    assert page.count("@@PICTURES@@") == 1 and page.count("data:image/svg+xml") == 2  # a drawing for each kind
    assert f"measured {len(HOSTILE)}, limit 80" in page
    assert (tmp_path / "one" / "plots" / "measures-docstring.svg").is_file()
    assert written(tmp_path / "two") == page


def test_without_anything_to_look_for_the_page_says_so() -> None:
    measures: dict[str, Any] = {"documents": {}, "dropped": {}, "languages": {}, "personal_data": {}, "histograms": {}}
    figures = dict.fromkeys(("documents_in", "documents_kept", "documents_dropped", "bytes_in", "bytes_out"), 0.0)
    page = cleaning_page.render(measures, [], {**figures, "mended_encodings": 0.0}, [])
    assert "Nothing was looked for" in page and "None." in page


def test_the_note_of_the_run_links_to_the_page() -> None:
    entry = {"role": "stage", "name": "clean", "state": "ran", "run_id": "r1", "prefect": {}, "record": None}
    assert "(http://m/r1/artifacts/cleaning.html)" in note(entry, lambda run: f"http://m/{run}")
    assert "cleaning.html" not in note({**entry, "state": "cached"}, lambda run: f"http://m/{run}")


def test_measures_hold_every_document_and_the_limits() -> None:
    rows = [document(PROSE.format(number)) for number in range(5)] + [document("Short.")]
    made = clean(corpus=corpus(rows), config=CleanConfig(), resources=Resources())
    measures = json.loads((made.path / "measures.json").read_text())
    told = measures["histograms"]["text"]["too_short"]
    assert sum(told["counts"]) == 6 and told["limit"] == 80 and len(told["edges"]) == len(told["counts"]) + 1
    assert measures["dropped"] == {"text": {"too_short": 1}}
