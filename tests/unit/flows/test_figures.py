"""Figures and times as people read them."""

import pytest

from flows.figures import duration, main_figure, progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.44, "0.4 s"), (12.2, "12 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_the_main_figure_has_its_interval_and_its_baseline() -> None:
    metrics = {
        "eval/bits_per_byte": 1.68,
        "eval/bits_per_byte_low": 1.66,
        "eval/bits_per_byte_high": 1.7,
        "eval/ngram_bits_per_byte": 2.0,
    }
    assert main_figure("pretrain", metrics) == "bits per byte 1.680 [1.660–1.700], 3-gram 2.000"


def test_a_data_stage_says_what_it_kept() -> None:
    metrics = {"documents_in": 1200, "documents_kept": 1000, "documents_dropped": 200}
    assert main_figure("clean", metrics) == "1,000 documents kept, 200 dropped"
    assert main_figure("rank", {}) == ""


def test_what_was_left_out_is_told() -> None:
    seen = {"items": 3, "quarantined": 2, "files_left_out": 1, "hidden_left_out": 4}
    expected = "3 files found; in quarantine: 2 unreadable files, 1 file of unknown format"
    assert main_figure("snapshot", seen) == expected
    assert main_figure("snapshot", {"items": 3, "quarantined": 0, "files_left_out": 0}) == "3 files found"
    read = {"documents_kept": 9, "documents_dropped": 1003, "quarantined_rows": 1001, "quarantined_files": 1}
    expected = "9 documents kept, 1,003 dropped; in quarantine: 1,001 rows, 1 file"
    assert main_figure("collect", read) == expected


def test_progress_shows_step_figures_speed_and_time_left() -> None:
    entry = {"progress": {"step": 30, "total": 600, "eta_seconds": 41.0, "loss": 5.1234, "tokens_per_second": 9312.4}}
    assert progress(entry) == "30/600, loss 5.123, 9,312 tokens/s, 41 s left"
    assert progress({}) == ""
