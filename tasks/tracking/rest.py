"""MLflow's REST API, for what asks a little of it: importing mlflow takes longer than the answers."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tasks.tracking import server

if TYPE_CHECKING:
    import httpx

PATH = "/api/2.0/mlflow"


def base() -> str | None:
    """The address of the tracking server; None where none is named, or one that is no server."""
    address = server.address()
    return address if address is not None and address.startswith(("http://", "https://")) else None


def client(address: str, timeout: float) -> "httpx.Client":
    """A client whose paths begin behind PATH; it logs in as mlflow does.

    https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/
    """
    import httpx  # takes long to load, and most commands find no server to ask

    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    return httpx.Client(
        base_url=f"{address}{PATH}",
        timeout=timeout,
        headers={"Authorization": f"Bearer {token}"} if token else None,
        auth=(user, password) if user and password and not token else None,
    )


def pages(ask: Callable[[dict[str, Any]], Mapping[str, Any]], field: str, size: int) -> Iterator[dict[str, Any]]:
    """The entries of all pages of a search. ask: gives the answer to a question of this page and size."""
    token = ""
    while True:
        answer = ask({"max_results": size, **({"page_token": token} if token else {})})
        yield from answer.get(field, ())
        token = answer.get("next_page_token") or ""
        if not token:
            return


def tags(entry: Mapping[str, Any]) -> dict[str, str]:
    """Tags by name, of anything that MLflow gives with a list of them."""
    return {tag["key"]: tag.get("value", "") for tag in entry.get("tags", ())}
