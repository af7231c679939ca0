"""Where the MLflow server is, whether it answers, the addresses of its pages. Imports no mlflow: that costs 1.5 s."""

import getpass
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from tasks.lineage.home import home

EXPERIMENT = "pedigree"
PROBE_SECONDS = 2.0
# A server that answered is trusted this long; one that did not is asked again only after this long, so that a run of
# twelve stages without a server loses two seconds in all, not two at every stage.
TRUST_UP_SECONDS = 2.0
TRUST_DOWN_SECONDS = 10.0

# By MLflow's defaults a request to a dead server blocks for about four minutes (seven retries of 120 s).
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT", "60")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

_probes: dict[str, tuple[float, bool]] = {}  # address → (monotonic time asked, whether it answered)


def address() -> str | None:
    """The tracking server's address, or None when there is none and nothing is to be mirrored."""
    return os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/") or None


def answers() -> bool:
    """Whether the server can be written to now; takes two seconds at the most. Other stores than servers always do."""
    base = address()
    if base is None:
        return False
    asked, answered = _probes.get(base, (-1e9, False))
    if time.monotonic() - asked < (TRUST_UP_SECONDS if answered else TRUST_DOWN_SECONDS):
        return answered
    if not base.startswith(("http://", "https://")):
        return True
    import httpx

    try:
        answered = httpx.get(f"{base}/health", timeout=PROBE_SECONDS).status_code < 500
    except httpx.HTTPError:
        answered = False
    _probes[base] = (time.monotonic(), answered)
    return answered


def distrust() -> None:
    """After a request that the server failed: it is not asked again for a while."""
    base = address()
    if base is not None:
        _probes[base] = (time.monotonic(), False)


def forget_probes() -> None:
    """The next question asks the server again."""
    _probes.clear()


def remember_experiment(experiment_id: str) -> None:
    """So that the addresses of pages are known without asking the server."""
    known = _experiments()
    base = address()
    if base is None or known.get(base) == experiment_id:
        return
    path = experiments_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps({**known, base: experiment_id}, indent=2, sort_keys=True) + "\n")
    draft.replace(path)


def experiment_url() -> str:
    """The page that lists every run; empty when no server is named."""
    base = address()
    if base is None:
        return ""
    experiment = _experiments().get(base)
    return f"{base}/#/experiments/{experiment}" if experiment else f"{base}/#/experiments"


def run_url(run_id: str | None) -> str:
    """The page of one run; empty when there is none."""
    base = address()
    experiment = _experiments().get(base) if base else None
    return f"{base}/#/experiments/{experiment}/runs/{run_id}" if run_id and experiment else ""


def user() -> str:
    """Who runs this, for MLflow's "Created by"; empty for a user without a name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def experiments_file() -> Path:
    return home() / "mirror" / "experiments.json"


def _experiments() -> dict[str, str]:
    with suppress(FileNotFoundError, ValueError):
        return dict(json.loads(experiments_file().read_text()))
    return {}
