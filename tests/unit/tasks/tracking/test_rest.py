import pytest

from tasks.tracking import rest

LOGIN = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOGIN:
        monkeypatch.delenv(name, raising=False)


def sent(monkeypatch: pytest.MonkeyPatch, **login: str) -> str | None:
    """The Authorization that a request carries."""
    for name, value in login.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name.upper()}", value)
    with rest.client("http://127.0.0.1:9", 1.0) as client:
        request = client.build_request("GET", "/runs/get")
        auth = client.auth
        if auth is not None:
            request = next(auth.sync_auth_flow(request))
        assert str(request.url) == "http://127.0.0.1:9/api/2.0/mlflow/runs/get"
        return request.headers.get("Authorization")


def test_requests_log_in_as_mlflow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sent(monkeypatch) is None
    assert sent(monkeypatch, username="ann") is None  # without a password mlflow sends nothing either
    assert sent(monkeypatch, password="secret") == "Basic YW5uOnNlY3JldA=="
    assert sent(monkeypatch, token="abc") == "Bearer abc"


@pytest.mark.parametrize(
    ("address", "found"), [("http://here:5000/", "http://here:5000"), ("sqlite:///mlflow.db", None), ("", None)]
)
def test_only_a_server_has_an_address(address: str, found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert rest.base() == found


def test_every_page_of_a_search_is_asked_for_once() -> None:
    answers = [{"runs": [1, 2], "next_page_token": "a"}, {"runs": [3], "next_page_token": ""}]
    asked = []

    def ask(page: dict[str, object]) -> dict[str, object]:
        asked.append(page)
        return answers[len(asked) - 1]

    assert list(rest.pages(ask, "runs", 2)) == [1, 2, 3]
    assert asked == [{"max_results": 2}, {"max_results": 2, "page_token": "a"}]
