import time
from pathlib import Path

import pytest

from flows.errors import SettingsError
from flows.forget_request import latest_settings
from tasks.lineage import journal


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))


def ran(flow: str, name: str, state: str | None) -> None:
    """A flow run whose settings carry its name; state None: it is still at work."""
    journal.begin_flow(flow, name, settings={"pretrain": {"seed": name}})
    if state == "completed":
        journal.end_flow(name, "completed")
    elif state == "failed":
        journal.end_flow(name, "failed", error="stopped")
    time.sleep(0.005)  # the journal counts milliseconds, and no two begin in the same one


def test_the_settings_are_those_of_the_latest_course_that_completed() -> None:
    ran("train", "old", "completed")
    ran("train", "good", "completed")
    ran("data", "data alone", "completed")
    ran("train", "broken off", "failed")
    assert latest_settings() == ("train", {"pretrain": {"seed": "good"}})


def test_where_none_completed_the_latest_has_to_do() -> None:
    ran("train", "first", "failed")
    ran("train", "second", "failed")
    assert latest_settings() == ("train", {"pretrain": {"seed": "second"}})


def test_without_a_run_the_settings_have_to_be_named() -> None:
    with pytest.raises(SettingsError, match="--preset or --config"):
        latest_settings()
