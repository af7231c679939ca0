"""The few calls to Prefect's REST API that the command line needs.

Plain HTTP instead of Prefect's own client: importing that takes longer than everything else the command does.
Addresses and paths: https://docs.prefect.io/v3/api-ref/rest-api
"""

import os
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from flows.errors import FlowError, ServerUnreachable

if TYPE_CHECKING:
    import httpx

TERMINAL_STATES = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
BUSY = (429, 503)  # 503: its SQLite database is locked by another writer for the moment
BUSY_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds
UNFINISHED_STATES = ("PENDING", "RUNNING", "CANCELLING")


class PrefectApi:
    """A Prefect server at `url` (ending in /api)."""

    def __init__(self, url: str) -> None:
        import httpx  # takes as long to load as all else that commands without a server need

        self.url = url.rstrip("/")
        self._unanswered = httpx.HTTPError
        self._client = httpx.Client(base_url=self.url, headers=_authorisation(), timeout=30.0)

    def healthy(self) -> bool:
        """Whether the server answers at all."""
        try:
            return self._client.get("/health", timeout=5.0).status_code == 200
        except self._unanswered:
            return False

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer; None for 204 and for 404. Raises ServerUnreachable, or FlowError when refused."""
        answer = self._request(method, path, body)
        for pause in BUSY_PAUSES:
            if answer.status_code not in BUSY:
                break
            time.sleep(pause)
            answer = self._request(method, path, body)
        if answer.status_code in (204, 404):
            return None
        if answer.is_error:
            raise FlowError(f"Prefect refused {method} {path} ({answer.status_code}): {_detail(answer)}")
        return answer.json()

    def _request(self, method: str, path: str, body: object) -> "httpx.Response":
        try:
            return self._client.request(method, path, json=body)
        except self._unanswered as error:
            raise ServerUnreachable(
                f"The Prefect server at {self.url} does not answer ({error}). "
                "Start it with `pedigree up`; `pedigree status` says what runs."
            ) from error

    def deployment(self, flow: str, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.call("GET", f"/deployments/name/{flow}/{name}")
        return found

    def create_flow_run(self, deployment_id: str, parameters: dict[str, Any], tags: list[str]) -> dict[str, Any]:
        """Starts a deployment, just as the Run button of the UI does."""
        body = {"state": {"type": "SCHEDULED"}, "parameters": parameters, "tags": tags}
        created: dict[str, Any] | None = self.call("POST", f"/deployments/{deployment_id}/create_flow_run", body)
        if created is None:
            raise FlowError("The deployment is gone. `pedigree up` puts it back.")
        return created

    def flow_run(self, flow_run_id: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.call("GET", f"/flow_runs/{flow_run_id}")
        return found

    def set_state(self, flow_run_id: str, state: str, message: str, *, force: bool = False) -> None:
        body = {"state": {"type": state, "message": message}, "force": force}
        self.call("POST", f"/flow_runs/{flow_run_id}/set_state", body)

    def unfinished_runs(self, work_pool: str) -> list[dict[str, Any]]:
        """Flow runs of the pool that some process should be working on."""
        body = {
            "flow_runs": {"state": {"type": {"any_": list(UNFINISHED_STATES)}}},
            "work_pools": {"name": {"any_": [work_pool]}},
        }
        return self.call("POST", "/flow_runs/filter", body) or []

    def task_runs(self, flow_run_id: str) -> list[dict[str, Any]]:
        body = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return self.call("POST", "/task_runs/filter", body) or []

    def close(self) -> None:
        self._client.close()


def ui_address(api_url: str) -> str:
    """Where a person looks: the API's address without /api, unless PREFECT_UI_URL says otherwise."""
    return os.environ.get("PREFECT_UI_URL") or api_url.rstrip("/").removesuffix("/api")


def flow_run_address(api_url: str, flow_run_id: str) -> str:
    return f"{ui_address(api_url)}/runs/flow-run/{flow_run_id}"


def _authorisation() -> dict[str, str]:
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if pair := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}


def _detail(answer: "httpx.Response") -> str:
    try:
        return str(answer.json().get("detail", answer.text))
    except ValueError:
        return answer.text[:500]
