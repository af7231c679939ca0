"""Where the project and its state are, and the environment its servers and flows run in."""

import os
import sys
from pathlib import Path

from tasks.lineage.home import home

PROJECT = Path(__file__).resolve().parents[1]
WORK_POOL = "pedigree"
PREFECT_PORT = 4200
MLFLOW_PORT = 5000
HEARTBEAT_SECONDS = 30  # the least Prefect allows
# A run that has not been heard of for this long is marked Crashed: two beats may be lost, not three.
HEARTBEAT_LIMIT_SECONDS = 3 * HEARTBEAT_SECONDS

# A user's own profile, active run or flow context must not leak into the servers started here.
_NOT_INHERITED = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "PREFECT_PROFILE")
_SILENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}

# For computing on a processor; what the user has set wins.
# A thread that waits spins for some 100 µs, then sleeps; else every product wakes a sleeping thread. A bf16 step on two
# cores of a Xeon took 135 ms with 3,000 turns, 125 with 10,000, 114 with 30,000 and 116 with 100,000; one with Muon,
# beside a process that kept one core busy, 270, 330, 460 and 850. libgomp's own limit is 300,000. Large blocks are
# kept and used again, not given back to the kernel and faulted in page by page at the next step; and they are asked for
# in pages of 2 MB (glibc 2.35 or later), Arrow's with them, since arrays of some megabytes otherwise miss the
# processor's memory of addresses again and again: the data stages take 0.87 of their time so, a bf16 step 0.94. Of what
# glibc keeps for use again each of its arenas has its own; threads share two of them, or two workers of the data stages
# hold a fifth more memory in as much time.
COMPUTING = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "10000",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 29),
    "MALLOC_ARENA_MAX": "2",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def state_file() -> Path:
    return home() / "servers.json"


def logs() -> Path:
    return home() / "logs"


def base_environment() -> dict[str, str]:
    """What every child process gets: this virtual environment first, state under home(), no telemetry."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and not name.startswith("PREFECT__")
    }
    return {
        **kept,
        **_SILENT,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PEDIGREE_HOME": str(home()),
        "PEDIGREE_PROJECT": str(PROJECT),
        "PREFECT_HOME": str(home() / "prefect"),
    }


def prefect_server_environment(port: int) -> dict[str, str]:
    """The Prefect server answers only pages that it serves itself (its default answers every web site)."""
    environment = base_environment()
    environment.pop("PREFECT_API_URL", None)
    return {
        **environment,
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }


def mlflow_server_environment() -> dict[str, str]:
    return {**base_environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def serverless_environment(folder: Path) -> dict[str, str]:
    """For a process that runs stages by themselves, in a home of its own: no server is known to it."""
    environment = {**COMPUTING, **base_environment(), "PEDIGREE_HOME": str(folder.absolute())}
    return {name: value for name, value in environment.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}


def client_environment(prefect_url: str, mlflow_url: str) -> dict[str, str]:
    """For the worker, the flows it starts, and `prefect deploy`."""
    return {
        **COMPUTING,
        **base_environment(),
        "PREFECT_API_URL": prefect_url,
        "MLFLOW_TRACKING_URI": mlflow_url,
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
