import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mlflow import MlflowClient

from tasks.lineage.artifact import Artifact
from tasks.lineage.home import home
from tasks.lineage.record import Output, Record, StoredFile
from tasks.lineage.store import Store
from tasks.tracking import mirror, pending
from tasks.tracking import server as address_book

PREFECT = {
    "flow_run_id": "flow-1",
    "task_run_id": "task-1",
    "flow_run_url": "http://prefect/runs/flow-run/flow-1",
    "task_run_url": "http://prefect/runs/task-run/task-1",
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def artifact(kind: str, text: str) -> Artifact:
    return Artifact(kind=kind, digest=sha(text), key=sha(f"key of {text}"))


def record(stage: str, made: Artifact, run_id: str | None, **inputs: Artifact) -> Record:
    """A record in the store, with an output folder that holds a model and samples."""
    folder = made.path / "model"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / "model.safetensors").write_bytes(made.digest.encode() * 100)
    (made.path / "samples.jsonl").write_text('{"prompt": "Why?", "answer": "<b>So</b>"}\n{"prompt": "How?", "n": 2}\n')
    written = Record(
        key=made.key,
        stage=stage,
        inputs=inputs,
        config={"steps": 3},
        code={},
        code_digest=sha("code"),
        versions={"torch": "2.13.0"},
        output=Output(kind=made.kind, digest=made.digest, files=[StoredFile(path="a", size=1, sha256=sha("a"))]),
        metrics={"eval/bits_per_byte": 1.5, "eval/bits_per_byte_low": 1.4},
        wall_seconds=2,
        cpu_seconds=1,
        energy_wh=0.1,
        numerics={},
        flow_run_id="flow-1",
        mlflow_run_id=run_id,
        created="2026-01-02T03:04:05.000+00:00",
    )
    Store().write_record(written)
    return written


def write_rows(path: Path, steps: range) -> None:
    with path.open("a") as file:
        for step in steps:
            file.write(
                json.dumps({"step": step, "time": 1000.0 + step, "metrics": {"train/loss": 1 / (step + 1)}}) + "\n"
            )


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    address_book.forget_probes()


@pytest.fixture
def client(server: Any) -> MlflowClient:
    return MlflowClient(server.url, server.url)


def opened(stage: str, parent: str | None, made: Artifact, **inputs: Artifact) -> mirror.StageMirror:
    config = {"steps": 3, "optimizer": {"name": "muon"}, "sources": [{"path": "x"}], "long": "x" * 9000}
    return mirror.open_stage(stage, parent, made.key, config, inputs, PREFECT)


def test_a_run_of_two_stages_is_found_in_mlflow_as_people_look_for_it(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "FOLLOW_SECONDS", 0.1)
    parent = mirror.open_flow("train", "flow-1", PREFECT["flow_run_url"], {"preset": "test"})
    tokens, model = artifact("tokens", "tokens A"), artifact("model", "model A")
    stage = opened("pretrain", parent, model, tokens=tokens)
    rows = tmp_path / "metrics.jsonl"
    write_rows(rows, range(1500))
    stage.follow(rows)
    assert stage.run_id is not None
    deadline = time.monotonic() + 300
    while len(client.get_metric_history(stage.run_id, "train/loss")) < 1500 and time.monotonic() < deadline:
        time.sleep(0.2)
    write_rows(rows, range(1500, 1510))
    stage.finish("ran", record("pretrain", model, stage.run_id, tokens=tokens), model.path, None)
    consumer = opened("finetune", parent, artifact("model", "model B"), model=model)
    consumer.finish("failed", None, None, "out of memory")
    mirror.close_flow(parent, "FINISHED")

    run = client.get_run(stage.run_id)
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(stage.run_id, "train/loss")
    assert sorted(metric.step for metric in history) == list(range(1510))
    assert run.data.metrics["eval/bits_per_byte"] == 1.5
    assert run.data.params["optimizer.name"] == "muon"
    assert run.data.params["sources.0.path"] == "x"
    assert len(run.data.params["long"]) == 6000
    tags = run.data.tags
    assert tags["mlflow.parentRunId"] == parent
    assert tags["pedigree.key"] == model.key
    assert tags["pedigree.digest"] == model.digest
    assert tags["pedigree.input.tokens"] == tokens.digest
    assert tags["pedigree.state"] == "ran"
    assert "(http://prefect/runs/task-run/task-1)" in tags["mlflow.note.content"]
    found = client.search_runs([run.info.experiment_id], f"dataset.digest = '{tokens.digest[:36]}'")
    assert [hit.info.run_id for hit in found] == [stage.run_id]
    names = {file.path for file in client.list_artifacts(stage.run_id)}
    assert {"record.json", "lineage.html", "samples.json"} <= names

    version = client.get_model_version_by_alias("pedigree-pretrained", "current")
    assert version.tags["pedigree.digest"] == model.digest
    logged = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert logged.source_run_id == stage.run_id
    assert logged.tags["pedigree.digest"] == model.digest
    downstream = client.get_run(consumer.run_id or "")
    assert [used.model_id for used in downstream.inputs.model_inputs] == [logged.model_id]
    assert downstream.info.status == "FAILED"
    assert "out of memory" in downstream.data.tags["mlflow.note.content"]
    assert client.get_run(parent or "").info.status == "FINISHED"
    assert mirror.run_url(parent) == f"{mirror.experiment_url()}/runs/{parent}"
    assert pending.count() == 0


def test_a_cached_stage_has_a_run_that_leads_to_the_one_that_did_the_work(client: MlflowClient) -> None:
    model = artifact("model", "model of the cached stage")
    first = opened("ppo", None, model)
    made = record("ppo", model, first.run_id)
    first.finish("ran", made, model.path, None)
    again = opened("ppo", None, model)
    again.finish("cached", made, model.path, None)
    run = client.get_run(again.run_id or "")
    assert run.data.tags["pedigree.state"] == "cached"
    assert run.data.tags["pedigree.made_by"] == first.run_id
    assert f"({mirror.run_url(first.run_id)})" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["eval/bits_per_byte"] == 1.5
    same = f"name = 'pedigree-aligned' and tags.`pedigree.digest` = '{model.digest}'"
    assert len(client.search_model_versions(same)) == 1


def test_samples_are_a_table_that_mlflow_reads_back(client: MlflowClient) -> None:
    model = artifact("model", "model with samples")
    stage = opened("pretrain", None, model)
    stage.finish("ran", record("pretrain", model, stage.run_id), model.path, None)
    path = client.download_artifacts(stage.run_id or "", "samples.json")
    table = json.loads(Path(path).read_text())
    assert table == {
        "columns": ["prompt", "answer", "n"],
        "data": [["Why?", "<b>So</b>", None], ["How?", None, 2]],
    }
    tags = client.get_run(stage.run_id or "").data.tags
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [{"path": "samples.json", "type": "table"}]


def test_with_the_server_down_nothing_waits_and_sync_catches_up(
    client: MlflowClient, server: Any, tmp_path: Path
) -> None:
    server.stop()
    address_book.forget_probes()
    began = time.monotonic()
    parent = mirror.open_flow("train", "flow-down", None, {})
    model = artifact("model", "made while MLflow was down")
    stage = mirror.open_stage("pretrain", parent, model.key, {}, {}, {**PREFECT, "flow_run_id": "flow-down"})
    rows = tmp_path / "metrics.jsonl"
    write_rows(rows, range(10))
    stage.follow(rows)
    stage.finish("ran", record("pretrain", model, stage.run_id), model.path, None)
    rows.unlink()  # the next attempt with this key would
    mirror.close_flow(parent, "FINISHED")
    assert parent is None and stage.run_id is None
    assert mirror.sync() == 0
    assert time.monotonic() - began < 150  # its client alone would try for minutes
    assert pending.count() == 2

    server.start()
    address_book.forget_probes()
    assert mirror.sync() == 2
    assert pending.count() == 0
    assert list((home() / "mirror" / "pending").iterdir()) == []
    experiment = client.get_experiment_by_name("pedigree")
    [flow] = client.search_runs(
        [experiment.experiment_id], "tags.`pedigree.flow_run_id` = 'flow-down' and tags.`pedigree.role` = 'flow'"
    )
    [late] = client.search_runs([experiment.experiment_id], f"tags.`pedigree.digest` = '{model.digest}'")
    assert late.data.tags["mlflow.parentRunId"] == flow.info.run_id
    assert len(client.get_metric_history(late.info.run_id, "train/loss")) == 10
    assert (flow.info.status, late.info.status) == ("FINISHED", "FINISHED")


def test_a_server_that_dies_while_a_stage_runs_gets_each_row_once(
    client: MlflowClient, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "FOLLOW_SECONDS", 0.1)
    monkeypatch.setattr(address_book, "TRUST_DOWN_SECONDS", 0.2)
    model = artifact("model", "made through an outage")
    stage = opened("pretrain", None, model)
    rows = tmp_path / "metrics.jsonl"
    write_rows(rows, range(10))
    stage.follow(rows)
    time.sleep(1)
    server.stop()
    write_rows(rows, range(10, 20))
    time.sleep(1)
    server.start()
    write_rows(rows, range(20, 25))
    stage.finish("ran", record("pretrain", model, stage.run_id), model.path, None)
    mirror.sync()
    history = client.get_metric_history(stage.run_id or "", "train/loss")
    assert sorted(metric.step for metric in history) == list(range(25))
    assert client.get_run(stage.run_id or "").info.status == "FINISHED"


def _work_for_ever(ready: Any) -> None:
    mirror.open_stage("pretrain", None, sha("killed"), {}, {}, {})
    ready.set()
    time.sleep(600)


def test_a_killed_process_leaves_a_run_that_sync_ends_but_a_living_one_is_left_alone(client: MlflowClient) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_work_for_ever, args=(ready,))
    process.start()
    assert ready.wait(300)
    assert mirror.sync() == 0
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert mirror.sync() == 1
    experiment = client.get_experiment_by_name("pedigree")
    [run] = client.search_runs([experiment.experiment_id], f"tags.`pedigree.key` = '{sha('killed')}'")
    assert run.info.status == "KILLED"


def test_without_an_address_nothing_is_kept_for_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert mirror.open_flow("train", "flow-2", None, {}) is None
    stage = opened("pretrain", None, artifact("model", "unseen"))
    stage.follow(Path("nowhere"))
    stage.finish("failed", None, None, "no")
    mirror.close_flow(None, "FAILED")
    assert (pending.count(), mirror.sync(), mirror.run_url("x"), mirror.experiment_url()) == (0, 0, "", "")


def test_a_damaged_pending_file_is_put_aside_and_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "mirror" / "pending"
    folder.mkdir(parents=True)
    (folder / "1-1-x.json").write_text('{"id": "1-1-')
    assert mirror.sync() == 0
    assert [path.name for path in folder.iterdir()] == ["1-1-x.damaged"]


class _Sick(BaseHTTPRequestHandler):
    """Says it is healthy and fails everything else, as MLflow does when its database is gone."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None: ...


def test_a_server_that_fails_every_request_is_not_asked_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sick = ThreadingHTTPServer(("127.0.0.1", 0), _Sick)
    threading.Thread(target=sick.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{sick.server_port}")
    began = time.monotonic()
    parent = mirror.open_flow("train", "flow-sick", None, {})
    for number in range(6):
        opened(f"stage{number}", parent, artifact("corpus", f"{number}")).finish("failed", None, None, "x")
    mirror.close_flow(parent, "FAILED")
    sick.shutdown()
    sick.server_close()
    assert time.monotonic() - began < 150  # its client alone would try for minutes
    assert pending.count() == 7
    assert len([path for path in _Sick.asked if path != "/health"]) <= 3


def test_what_mlflow_refuses_for_good_is_put_aside_and_holds_nothing_up() -> None:
    overlong = pending.Input(kind="x" * 600, digest=sha("x"), key=sha("x"))
    bad = pending.new_entry("stage", "bad", state="failed", ended=1, inputs={"corpus": overlong})
    bad.save()
    good = pending.new_entry("stage", "good", state="failed", ended=2, key=sha("good"))
    good.save()
    assert mirror.sync() == 1
    assert pending.count() == 1
    for _ in range(mirror.MOST_REFUSALS):
        mirror.sync()
    assert pending.count() == 0
    assert [path.suffix for path in (home() / "mirror" / "pending").iterdir()] == [".refused"]


def test_a_run_that_mlflow_forgot_is_made_again(client: MlflowClient) -> None:
    lost = pending.new_entry("stage", "lost", state="failed", ended=2, run_id="0" * 32, begun=True, key=sha("lost"))
    lost.save()
    assert mirror.sync() == 0
    assert mirror.sync() == 1
    experiment = client.get_experiment_by_name("pedigree")
    assert len(client.search_runs([experiment.experiment_id], f"tags.`pedigree.key` = '{sha('lost')}'")) == 1
