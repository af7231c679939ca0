"""The two pages that a run ends with open in a real browser. Skipped, with the reason, where there is no chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine"),
]

FLAGS = [
    f"--{flag}"
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync",
    )
]  # fmt: skip
PATIENCE = 60_000  # milliseconds; the first page of either server takes its time on a slow machine


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=shutil.which("chromium"),
            args=FLAGS,
            viewport={"width": 1400, "height": 1000},
        )
        yield browser.new_page()
        browser.close()


def test_prefect_s_page_of_the_run_shows_its_stages(pedigree: Any, again: Any, page: Any) -> None:
    run_id = again.json["flows"]["train"]["prefect_flow_run_id"]
    page.goto(f"{pedigree.servers()['prefect'].removesuffix('/api')}/runs/flow-run/{run_id}")
    page.get_by_text("train test").first.wait_for(timeout=PATIENCE)
    page.get_by_text("Task Runs", exact=True).click(timeout=PATIENCE)
    page.get_by_text("Cached").first.wait_for(timeout=PATIENCE)


def test_mlflow_s_page_of_the_run_shows_its_figures(pedigree: Any, again: Any, page: Any) -> None:
    servers = pedigree.servers()
    stage = again.json["flows"]["train"]["stages"]["pretrain"]
    experiment = pedigree.mlflow("GET", "/runs/get", params={"run_id": stage["mlflow_run_id"]})["run"]["info"]
    address = f"{servers['mlflow']}/#/experiments/{experiment['experiment_id']}/runs/{stage['mlflow_run_id']}"
    page.goto(address)
    page.get_by_text("eval/bits_per_byte").first.wait_for(timeout=PATIENCE)
