"""Lineage pages on a real MLflow server: on every run and model, with what came later, found and clicked."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from tasks.lineage.artifact import Artifact
from tasks.lineage.record import Output, Record, StoredFile
from tasks.lineage.store import Store
from tasks.tracking import mirror, page_queue, pages
from tasks.tracking import server as address_book

PATIENCE = 300_000  # milliseconds, on a machine that does much else besides


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any) -> Iterator[None]:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setattr(mirror, "PAGES_SECONDS", 600.0)
    address_book.forget_probes()
    yield


@pytest.fixture
def client(server: Any) -> MlflowClient:
    return MlflowClient(server.url, server.url)


class Flow:
    """A flow run whose stages make what they are told to."""

    def __init__(self) -> None:
        self.id = str(uuid.uuid4())
        self.url = f"http://prefect/runs/flow-run/{self.id}"
        self.run = mirror.open_flow("train", self.id, self.url, {})
        self.runs: dict[str, str] = {}

    def stage(self, stage: str, kind: str, *inputs: Artifact, made: Artifact | None = None, fails: bool = False) -> Any:
        """made: found in the store rather than made anew."""
        new = Artifact(kind=kind, digest=uuid.uuid4().hex * 2, key=uuid.uuid4().hex * 2)
        output = made or new
        given = {artifact.kind: artifact for artifact in inputs}
        prefect = {"flow_run_id": self.id, "flow_run_url": self.url}
        opened = mirror.open_stage(stage, self.run, output.key, {"steps": 3}, given, prefect)
        self.runs[stage] = opened.run_id or ""
        if fails:
            opened.finish("failed", None, None, "out of memory")
            return None
        (output.path / "model").mkdir(parents=True, exist_ok=True)
        (output.path / "model" / "config.json").write_text("{}")
        record = Store().maker(output) or Record(
            key=output.key, stage=stage, inputs=given, config={"steps": 3}, code={}, code_digest="c" * 64, versions={},
            output=Output(kind=kind, digest=output.digest, files=[StoredFile(path="a", size=1, sha256="a" * 64)]),
            metrics={"eval/gold": 0.25}, wall_seconds=1, cpu_seconds=1, energy_wh=0, numerics={},
            flow_run_id=self.id, mlflow_run_id=opened.run_id, created="2026-01-02T03:04:05.000+00:00",
        )  # fmt: skip
        if made is None:
            Store().write_record(record)
        opened.finish("ran" if made is None else "cached", record, output.path, None)
        return output

    def close(self) -> None:
        mirror.close_flow(self.run, "FINISHED")


def shown(client: MlflowClient, run_id: str | None = None, model_id: str | None = None) -> list[str]:
    """The stages on a run's, or a model's, lineage page."""
    if model_id:
        place = f"{client.get_logged_model(model_id).artifact_location}/lineage.html"
        path = download_artifacts(artifact_uri=place, tracking_uri=client.tracking_uri)
    else:
        path = client.download_artifacts(run_id or "", "lineage.html")
    data = Path(path).read_text().partition('id="data">')[2].partition("</script>")[0]
    return sorted(node["stage"] for node in json.loads(data)["nodes"])


def test_every_run_and_model_has_a_page_and_older_ones_show_what_came_later(client: MlflowClient) -> None:
    first = Flow()
    corpus = first.stage("collect", "corpus")
    model = first.stage("pretrain", "model", corpus)
    first.stage("finetune", "model", model, fails=True)
    assert shown(client, first.runs["collect"]) == ["collect"]
    first.close()
    assert page_queue.waiting() == []
    whole = ["collect", "pretrain"]
    assert shown(client, first.runs["collect"]) == shown(client, first.run) == whole
    assert shown(client, first.runs["finetune"]) == ["collect", "finetune", "pretrain"]
    logged = client.get_run(first.runs["pretrain"]).data.tags["pedigree.model_id"]
    assert shown(client, model_id=logged) == whole

    second = Flow()
    second.stage("collect", "corpus", made=corpus)
    aligned = second.stage("ppo", "model", model)
    second.stage("evaluate", "evaluation", aligned, corpus)
    second.close()
    later = ["collect", "evaluate", "ppo", "pretrain"]
    assert shown(client, first.runs["collect"]) == shown(client, first.runs["pretrain"]) == later
    assert shown(client, second.runs["collect"]) == shown(client, second.run) == later
    assert shown(client, model_id=logged) == later

    experiment = client.get_run(first.run or "").info.experiment_id

    def found(condition: str) -> list[str]:
        return sorted(run.info.run_id for run in client.search_runs([experiment], condition))

    assert found(f"tags.`pedigree.digest` = '{model.digest}'") == [first.runs["pretrain"]]
    assert found(f"tags.`pedigree.digest` LIKE '{model.digest[:10]}%'") == [first.runs["pretrain"]]
    assert found(f"tags.`pedigree.inputs` LIKE '%{model.digest[:10]}%'") == sorted(
        [first.runs["finetune"], second.runs["ppo"]]
    )
    assert found(f"tags.`pedigree.input.corpus` = '{corpus.digest}'") == sorted(
        [first.runs["pretrain"], second.runs["evaluate"]]
    )
    note = client.get_run(second.runs["evaluate"]).data.tags["mlflow.note.content"]
    assert f"[this run]({mirror.run_url(first.runs['collect'])})" in note


def test_pages_that_did_not_fit_into_the_flow_s_second_are_drawn_by_the_next_sync(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "PAGES_SECONDS", -1.0)
    flow = Flow()
    corpus = flow.stage("collect", "corpus")
    flow.stage("clean", "corpus", corpus)
    flow.close()
    assert page_queue.waiting() == [flow.id]
    assert shown(client, flow.runs["collect"]) == ["collect"]
    mirror.sync()
    assert page_queue.waiting() == []
    assert shown(client, flow.runs["collect"]) == ["clean", "collect"]


def test_a_deleted_run_keeps_no_other_page_back(client: MlflowClient, server: Any) -> None:
    first = Flow()
    corpus = first.stage("collect", "corpus")
    kept = first.stage("clean", "corpus", corpus)
    first.close()
    record = Store().record(corpus.key)
    assert record is not None
    Store().write_record(record.model_copy(update={"mlflow_run_id": "0" * 32}))
    second = Flow()
    second.stage("tokenize", "tokens", kept)
    second.close()
    assert page_queue.waiting() == []
    assert shown(client, first.runs["clean"]) == ["clean", "collect", "tokenize"]


def test_the_runs_whose_pages_follow_are_bounded(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_RUNS", 1)
    first = Flow()
    corpus = first.stage("collect", "corpus")
    kept = first.stage("clean", "corpus", corpus)
    first.close()
    second = Flow()
    second.stage("tokenize", "tokens", kept)
    second.close()
    assert "tokenize" in shown(client, first.runs["clean"])
    assert "tokenize" not in shown(client, first.runs["collect"])


def test_in_mlflow_s_own_page_a_node_is_clicked_and_its_run_opens(
    client: MlflowClient, server: Any, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here; `apt-get install chromium` to check the page in MLflow")
    from playwright.sync_api import sync_playwright

    flow = Flow()
    corpus = flow.stage("collect", "corpus")
    flow.stage("pretrain", "model", corpus)
    flow.close()
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=chromium, args=flags.split(), timeout=PATIENCE
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{mirror.run_url(flow.runs['collect'])}/artifacts", wait_until="domcontentloaded")
        page.get_by_text("lineage.html").first.click()
        frame = page.frame_locator("iframe.mlflow-html-iframe")
        node = frame.locator(".node", has_text="pretrain")
        node.hover()
        assert "0.25" in frame.locator("#details").inner_text()
        node.click()  # MLflow's frame lets nothing open by a plain click, so the address is copied
        address = mirror.run_url(flow.runs["pretrain"])
        assert frame.locator(".address").input_value() == address
        assert "Address copied" in frame.locator(".hint").inner_text()
        with browser.expect_page(timeout=PATIENCE) as opened:
            node.click(modifiers=["Control"])
        assert opened.value.url == address
        opened.value.get_by_text("eval/gold").first.wait_for()
        browser.close()
