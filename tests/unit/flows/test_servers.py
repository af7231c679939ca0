"""Servers that are given are respected; records of dead ones are not believed."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from flows import deploy, environment, processes, servers
from flows.errors import ServerFailed, ServerUnreachable
from flows.processes import Process


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PEDIGREE_RETRAIN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@contextmanager
def answering() -> Iterator[str]:
    """A server that says 200 to everything."""

    class Yes(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Yes)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("variable", ["PREFECT_API_URL", "MLFLOW_TRACKING_URI"])
def test_a_given_server_that_is_down_is_named(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as other:
        monkeypatch.setenv("PREFECT_API_URL", f"{other}/api")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
        with pytest.raises(ServerUnreachable, match=f"{variable} is http://127.0.0.1:9, but no .* unset {variable}"):
            servers.up(print)
    assert not environment.state_file().exists(), "nothing was started"


def test_a_given_store_that_is_no_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as other:
        monkeypatch.setenv("PREFECT_API_URL", f"{other}/api")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
        with pytest.raises(ServerUnreachable, match="no server's address"):
            servers.up(print)


def test_a_process_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    log.write_text("address already in use")
    dead = Process(pid=2**22 + 1, started=0.0, log=str(log))
    with pytest.raises(ServerFailed, match=r"(?s)ended by itself.*address already in use.*pedigree down"):
        servers._wait_for(dead, "Prefect", "http://127.0.0.1:9/health")


def test_a_port_that_somebody_took_meanwhile_costs_another_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "server"  # in MLflow's place: it binds its port, or ends
    started.write_text(
        f"#!{sys.executable}\nimport sys\nfrom http.server import HTTPServer, SimpleHTTPRequestHandler\n"
        "port = int(sys.argv[sys.argv.index('--port') + 1])\nopen('health', 'w').close()\n"
        "HTTPServer(('127.0.0.1', port), SimpleHTTPRequestHandler).serve_forever()\n"
    )
    started.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(started))
    with answering() as other, answering() as prefect:
        taken = urlsplit(other).port
        assert taken is not None
        ports = iter([taken, processes.free_port(taken)])
        monkeypatch.setattr(processes, "free_port", lambda _: next(ports))
        monkeypatch.setenv("PREFECT_API_URL", f"{prefect}/api")
        told: list[str] = []
        found = servers._answering(servers.Servers(), told.append)
        assert found.mlflow_process is not None and processes.alive(found.mlflow_process)
        processes.end(found.mlflow_process)
        assert len(told) == 2 and found.mlflow is not None and urlsplit(found.mlflow).port != taken


def test_down_leaves_a_stranger_under_a_recycled_number_alone() -> None:
    ours = Process(pid=os.getpid(), started=1.0, log="")
    servers.write(servers.Servers(prefect="http://127.0.0.1:9/api", mlflow_process=ours, worker=ours))
    servers.down(lambda _: None)
    assert not environment.state_file().exists()


def test_a_damaged_state_file_counts_as_nothing() -> None:
    environment.state_file().write_text("{half")
    assert servers.read() == servers.Servers()
    assert servers.addresses() == {"prefect": None, "mlflow": None}


def test_the_state_survives_being_written(tmp_path: Path) -> None:
    process = Process(1, 2.0, "log")
    state = servers.Servers("p", "m", process, None, process, ("p", "m"), "f")
    servers.write(state)
    assert servers.read() == state
    assert json.loads((tmp_path / "servers.json").read_text())["worker"]["pid"] == 1


def test_children_do_not_inherit_the_users_prefect_or_mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "mine")
    monkeypatch.setenv("PREFECT_PROFILE", "work")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "mine")
    child = environment.client_environment("http://p/api", "http://m")
    assert not {"MLFLOW_RUN_ID", "PREFECT_PROFILE", "PREFECT__FLOW_RUN_ID"} & child.keys()
    assert child["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert child["DO_NOT_TRACK"] == "1"


def test_the_schedule_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deploy._switch([{"active": False}]) is False
    assert deploy._switch([{"active": True}]) is True, "a toggle made in the UI outlives the next deployment"
    monkeypatch.setenv("PEDIGREE_RETRAIN", "on")
    assert deploy._switch([]) is True
    monkeypatch.setenv("PEDIGREE_RETRAIN", "off")
    assert deploy._switch([{"active": True}]) is False
    monkeypatch.setenv("PEDIGREE_RETRAIN", "weekly")
    with pytest.raises(ServerFailed, match="takes `on` or `off`"):
        deploy._switch([])
