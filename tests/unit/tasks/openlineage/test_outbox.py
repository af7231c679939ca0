"""Events on their way to a server: each taken once it answers, in order, and nothing waits for one that does not."""

import json
import socket
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from tasks.openlineage import outbox


def test_events_arrive_in_order_with_the_key(receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    for number in range(20):
        outbox.put(json.dumps({"number": number}).encode())
    outbox.flush(20)
    assert [event["number"] for event in receiver.events] == list(range(20))
    assert set(receiver.requests) == {("/api/v1/lineage", "Bearer secret")}
    assert outbox.waiting() == []


def test_the_endpoint_can_be_named(receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", f"{receiver.url}/")
    monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "/openapi/openlineage/api/v1/lineage")
    outbox.put(b"{}")
    outbox.flush(20)
    assert receiver.requests == [("/openapi/openlineage/api/v1/lineage", None)]


def test_a_dead_server_costs_nothing_and_is_told_later(receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:1")
    began = time.monotonic()
    for number in range(5):
        outbox.put(json.dumps({"number": number}).encode())
    assert time.monotonic() - began < 60
    outbox.flush(20)
    assert len(outbox.waiting()) == 5
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    assert outbox.deliver() == (5, None)
    assert [event["number"] for event in receiver.events] == list(range(5))


def test_a_server_that_answers_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "EVENT_SECONDS", 0.5)
    monkeypatch.setattr(outbox._sender, "wake", lambda: None)

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 201 Created\r\nX-Slow: ")
            for _ in range(100):
                connection.sendall(b"x")
                dripped.append(1)
                time.sleep(0.05)

    dripped: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=(server,))
        dripping.start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        outbox.put(b"{}")
        assert outbox.deliver() == (0, "the server that OPENLINEAGE_URL names did not take an event in 0.5 seconds")
        assert len(dripped) < 100, "it waited for the end of the answer"
        dripping.join()
    assert len(outbox.waiting()) == 1


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_what_may_pass_is_sent_again(receiver: Any, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    receiver.answers = [status]
    outbox.put(b'{"number": 1}')
    outbox.flush(20)
    outbox.flush(20)
    assert len(receiver.requests) == 1, "a server that fails is left alone for a while"
    assert receiver.events == [] and len(outbox.waiting()) == 1
    assert outbox.deliver() == (1, None)


def test_what_is_refused_is_set_aside_and_holds_nothing_up(receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    receiver.answers = [422]
    monkeypatch.setattr(outbox._sender, "wake", lambda: None)
    for number in range(2):
        outbox.put(json.dumps({"number": number}).encode())
    assert outbox.deliver() == (1, None)
    assert receiver.events == [{"number": 1}]
    assert [path.suffix for path in (outbox._folder()).iterdir()] == [".refused"]


def test_without_a_server_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox.put(b"{}")
    monkeypatch.setenv("OPENLINEAGE_URL", "ftp://somewhere")
    outbox.put(b"{}")
    assert outbox.waiting() == [] and outbox.deliver()[0] == 0


def test_waiting_events_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(outbox, "MOST_WAITING", 3)
    for _ in range(5):
        outbox.put(b"{}")
    assert len(outbox.waiting()) == 3


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENLINEAGE_URL", "me:secret@localhost:5000"),
        ("OPENLINEAGE_API_KEY", "secret schlüssel"),
        ("OPENLINEAGE_API_KEY", "secret\nlines"),
    ],
)
def test_what_can_never_be_sent_is_told(
    receiver: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", receiver.url)
    monkeypatch.setattr(outbox._sender, "wake", lambda: None)
    outbox.put(b"{}")
    monkeypatch.setenv(variable, value)
    sent, why = outbox.deliver()
    assert sent == 0 and why is not None and variable in why
    assert "secret" not in why, "neither a key nor a password is ever written down"
    assert len(outbox.waiting()) == 1 and receiver.requests == []


def test_an_address_without_a_scheme_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "marquez:5000")
    outbox._warn_once.cache_clear()
    for _ in range(2):
        outbox.put(b"{}")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["OPENLINEAGE_URL is no address"]
