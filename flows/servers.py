"""`pedigree up`, `down`: the Prefect server, the MLflow server and the worker, on loopback, detached.

Servers that PREFECT_API_URL or MLFLOW_TRACKING_URI name are used as they are and never stopped. What runs is
written in `.pedigree/servers.json`; each process logs to `.pedigree/logs/`.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows import deploy, environment, processes
from flows.errors import ServerFailed, ServerUnreachable
from flows.prefect_api import PrefectApi
from flows.processes import Process
from tasks.lineage.home import home

START_SECONDS = 120.0  # a cold start takes 5–15 s here; slow disks take longer
Report = Callable[[str], None]


@dataclass(frozen=True)
class Servers:
    """What runs, and where. A process is None when the server is somebody else's."""

    prefect: str | None = None  # API address, ending in /api
    mlflow: str | None = None
    prefect_process: Process | None = None
    mlflow_process: Process | None = None
    worker: Process | None = None
    worker_serves: tuple[str, str] | None = None  # the two addresses it was started with
    deployed: str | None = None  # fingerprint of what was deployed, see deploy.fingerprint


def read() -> Servers:
    """The recorded state; empty when nothing was started. A damaged file counts as nothing."""
    try:
        raw: dict[str, Any] = json.loads(environment.state_file().read_text())
    except (FileNotFoundError, ValueError):
        return Servers()
    for name in ("prefect_process", "mlflow_process", "worker"):
        if raw.get(name):
            raw[name] = Process(**raw[name])
    if raw.get("worker_serves"):
        raw["worker_serves"] = tuple(raw["worker_serves"])
    return Servers(**raw)


def write(servers: Servers) -> None:
    path = environment.state_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(servers), indent=2) + "\n")
    draft.replace(path)


def up(report: Report) -> Servers:
    """Starts what does not run yet, applies the deployments when they changed, and returns what runs."""
    with _one_at_a_time():
        servers = _worker_begun(_answering(read(), report), report)
        assert servers.prefect and servers.mlflow
        fingerprint = deploy.fingerprint(servers.prefect)
        if servers.deployed != fingerprint or not _deployed(servers.prefect):
            report("Applying deployments/prefect.yaml …")
            deploy.apply(servers.prefect, servers.mlflow)
            servers = replace(servers, deployed=fingerprint)
            write(servers)
        return servers


def down(report: Report) -> None:
    """Ends what `up` started, whole process groups, and nothing else."""
    with _one_at_a_time():
        servers = read()
        named = (("worker", servers.worker), ("MLflow", servers.mlflow_process), ("Prefect", servers.prefect_process))
        if servers.worker is not None:
            processes.end(servers.worker)
            _close_abandoned_runs(servers, "Its worker was stopped by `pedigree down`.")
        for name, process in named:
            if process is not None and (name == "worker" or processes.end(process)):
                report(f"Stopped {name}.")
        if not any(process for _, process in named):
            report("Nothing was running.")
        environment.state_file().unlink(missing_ok=True)


def worker_alive() -> bool:
    return processes.alive(read().worker)


def addresses() -> dict[str, str | None]:
    """The Prefect API and the MLflow server that answer now; None for one that does not."""
    servers = read()
    prefect, mlflow = servers.prefect, servers.mlflow
    return {
        "prefect": prefect if prefect and _answers(f"{prefect}/health") else None,
        "mlflow": mlflow if mlflow and _answers(f"{mlflow}/health") else None,
    }


def name_mlflow() -> str | None:
    """Tells the mirror, in this process, which MLflow server `up` found or started; gives its address if it answers."""
    if address := read().mlflow:
        os.environ.setdefault("MLFLOW_TRACKING_URI", address)
    return addresses()["mlflow"]


def _answering(servers: Servers, report: Report) -> Servers:
    """Both servers, begun and waited for: again on another port where somebody took theirs before they had it."""
    for last in (False, False, True):
        servers = _mlflow_begun(_prefect_begun(servers, report), report)
        try:
            _wait_for(servers.prefect_process, "Prefect", f"{servers.prefect}/health")
            _wait_for(servers.mlflow_process, "MLflow", f"{servers.mlflow}/health")
            break
        except ServerFailed:
            if last or not _ousted(servers):
                raise
    return servers


def _ousted(servers: Servers) -> bool:
    """Whether one has ended and another program listens on its port."""
    own = ((servers.prefect_process, servers.prefect), (servers.mlflow_process, servers.mlflow))
    return any(
        process is not None and not processes.alive(process) and processes.listening(urlsplit(address).port or 0)
        for process, address in own
    )


def _prefect_begun(servers: Servers, report: Report) -> Servers:
    given = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if given and not (given == servers.prefect and servers.prefect_process):
        _require(given, "/health", "PREFECT_API_URL", "Prefect")
        return replace(servers, prefect=given, prefect_process=None)
    if processes.alive(servers.prefect_process):
        return servers
    port = processes.free_port(environment.PREFECT_PORT)
    report(f"Starting the Prefect server on http://127.0.0.1:{port} …")
    process = processes.start(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=environment.prefect_server_environment(port),
        directory=environment.PROJECT,
        log=environment.logs() / "prefect.log",
    )
    servers = replace(servers, prefect=f"http://127.0.0.1:{port}/api", prefect_process=process)
    write(servers)
    return servers


def _mlflow_begun(servers: Servers, report: Report) -> Servers:
    given = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    if given and not (given == servers.mlflow and servers.mlflow_process):
        _require(given, "/health", "MLFLOW_TRACKING_URI", "MLflow")
        return replace(servers, mlflow=given, mlflow_process=None)
    if processes.alive(servers.mlflow_process):
        return servers
    port = processes.free_port(environment.MLFLOW_PORT)
    report(f"Starting the MLflow server on http://127.0.0.1:{port} …")
    folder = home() / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    process = processes.start(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        env=environment.mlflow_server_environment(),
        directory=folder,
        log=environment.logs() / "mlflow.log",
    )
    servers = replace(servers, mlflow=f"http://127.0.0.1:{port}", mlflow_process=process)
    write(servers)
    return servers


def _worker_begun(servers: Servers, report: Report) -> Servers:
    assert servers.prefect and servers.mlflow
    addresses_now = (servers.prefect, servers.mlflow)
    if processes.alive(servers.worker) and servers.worker_serves == addresses_now:
        return servers
    if servers.worker is not None:
        processes.end(servers.worker)  # it serves another server, or is gone
        _close_abandoned_runs(servers, "Its worker is gone.")
    report("Starting the worker …")
    worker = processes.start(
        [
            *(sys.executable, "-m", "prefect", "worker", "start", "--pool", environment.WORK_POOL),
            *("--type", "process", "--install-policy", "never"),
        ],
        env=environment.client_environment(servers.prefect, servers.mlflow),
        directory=environment.PROJECT,
        log=environment.logs() / "worker.log",
    )
    servers = replace(servers, worker=worker, worker_serves=addresses_now)
    write(servers)
    api = PrefectApi(addresses_now[0])
    ready = processes.wait_until(lambda: deploy.pool_ready(api) or not processes.alive(worker), timeout=START_SECONDS)
    if not ready or not processes.alive(worker):
        raise _failed("worker", worker)
    return servers


def _close_abandoned_runs(servers: Servers, why: str) -> None:
    """Marks runs that nobody works on any more as Crashed: left Running they would hold the pool's only place.

    Only on a server of our own: elsewhere another worker may be at it.
    """
    if servers.prefect is None or not processes.alive(servers.prefect_process):
        return
    api = PrefectApi(servers.prefect)
    if api.healthy():
        for run in api.unfinished_runs(environment.WORK_POOL):
            api.set_state(
                run["id"], "CRASHED", f"{why} Start the flow again: it goes on from where it was.", force=True
            )


def _deployed(prefect_url: str) -> bool:
    return PrefectApi(prefect_url).deployment("train", "demo") is not None


def _wait_for(process: Process | None, name: str, health: str) -> None:
    """Until the server answers; raises ServerFailed with the end of its log when it ends or takes too long.

    That somebody answers is not enough: another's server may have the port, and this one be about to notice.
    """
    if process is None:
        return
    port = urlsplit(health).port or 0
    answered = processes.wait_until(
        lambda: not processes.alive(process) or (_answers(health) and processes.serves(process, port)),
        timeout=START_SECONDS,
    )
    if not answered or not processes.alive(process):
        raise _failed(f"{name} server", process)


def _failed(name: str, process: Process) -> ServerFailed:
    state = "does not answer" if processes.alive(process) else "ended by itself"
    return ServerFailed(
        f"The {name} {state}. The end of {process.log}:\n\n{processes.last_lines(Path(process.log))}\n\n"
        "Mend what it complains of, then `pedigree down` and `pedigree up`."
    )


def _require(url: str, path: str, variable: str, name: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise ServerUnreachable(
            f"{variable} is {url!r}, which is no server's address. Give an http(s) address, or unset {variable} "
            f"and Pedigree starts a {name} server of its own."
        )
    if not _answers(f"{url}{path}"):
        raise ServerUnreachable(
            f"{variable} is {url}, but no {name} server answers there. Start it, correct the address, or unset "
            f"{variable} and Pedigree starts a server of its own."
        )


def _answers(address: str) -> bool:
    import httpx  # not needed by most commands, see prefect_api.py

    try:
        return httpx.get(address, timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two `pedigree up` at once would start two of each."""
    home().mkdir(parents=True, exist_ok=True)
    with (home() / "servers.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield
