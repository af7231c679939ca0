"""Events on their way to an OpenLineage server (Marquez, DataHub …), named as OpenLineage's own client does:

    OPENLINEAGE_URL       http://marquez:5000; without it events go to the file alone
    OPENLINEAGE_ENDPOINT  where to post there (default: api/v1/lineage)
    OPENLINEAGE_API_KEY   sent as a bearer token; never written down

An event waits as a file in `home()/openlineage/waiting` until the server has taken it. One thread of one process sends
them, the oldest first, so that a dead server costs a stage nothing; `pedigree sync`, or the next flow, tells the rest.
What is sent twice, since a process was killed in between, means the same thing.
"""

import functools
import itertools
import logging
import os
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import httpx

from tasks.lineage.files import write_atomically
from tasks.lineage.lock import locked_now
from tasks.openlineage import log

DEFAULT_ENDPOINT = "api/v1/lineage"
REQUEST_SECONDS = 5.0  # for each step of a request: to connect, to send or to read some bytes
EVENT_SECONDS = 15.0  # for the whole of it
RETRY_SECONDS = 15.0  # between two tries of a server that did not answer
MOST_WAITING = 10_000  # events; what comes then is in the file alone
REFUSED = frozenset({400, 409, 413, 422})  # statuses that mean that sending it again will not help

logger = logging.getLogger("pedigree.openlineage")
_number = itertools.count()


def address() -> str | None:
    """Where events are posted; None where no server is named."""
    base = _named()
    endpoint = os.environ.get("OPENLINEAGE_ENDPOINT", "").strip().strip("/") or DEFAULT_ENDPOINT
    return f"{base}/{endpoint}" if base.startswith(("http://", "https://")) else None


def mistake() -> str | None:
    """What in the environment keeps every event from being sent, and what to do; None where nothing does."""
    if _named() and address() is None:
        return "OPENLINEAGE_URL is no address: give it as http://localhost:5000"
    if not (_key().isascii() and _key().isprintable()):
        return "OPENLINEAGE_API_KEY holds characters that no HTTP header can carry: set it again"
    return None


def waiting() -> list[Path]:
    """The events that no server has been told of, the oldest first."""
    return sorted(_folder().glob("*.json"))


def put(content: bytes) -> None:
    """An event to be sent, where a server is named."""
    if address() is None:
        if (wrong := mistake()) is not None:
            _warn_once(wrong)
        return
    if len(waiting()) >= MOST_WAITING:
        logger.warning("%d OpenLineage events wait already; this one is only in %s", MOST_WAITING, log.path())
        return
    name = f"{time.time_ns()}-{os.getpid()}-{next(_number)}.json"
    write_atomically(_folder() / name, content, durable=False)
    _sender.wake()


def flush(seconds: float) -> None:
    """Gives the sender so long to finish; gives up at once where the server does not answer."""
    if address() is not None and waiting():
        _sender.wake()
        _sender.settled.wait(seconds)


def deliver() -> tuple[int, str | None]:
    """Sends what waits; how many the server took, and why the rest waits. Another process at it is left to it.

    The address is never told: it may hold a password."""
    target, wrong = address(), mistake()
    if target is None or wrong:
        return 0, wrong or ("OPENLINEAGE_URL names no server" if waiting() else None)
    sent = 0
    with locked_now(log.folder() / ".sending") as held:
        if not held:
            return 0, None
        with _client() as client:
            for path in waiting():
                try:
                    answer = _post(client, target, path.read_bytes())
                except FileNotFoundError:
                    continue
                except TimeoutError:
                    took = f"did not take an event in {EVENT_SECONDS:g} seconds"
                    return sent, f"the server that OPENLINEAGE_URL names {took}"
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    return sent, f"the server that OPENLINEAGE_URL names does not answer ({error})"
                if answer.is_success:
                    path.unlink(missing_ok=True)
                    sent += 1
                elif answer.status_code in REFUSED:
                    aside = path.with_suffix(".refused")
                    path.replace(aside)
                    logger.warning("%s refuses an event (%d): %r", target, answer.status_code, answer.text[:200])
                else:
                    return sent, f"the server that OPENLINEAGE_URL names answers {answer.status_code}"
    return sent, None


def _post(client: httpx.Client, target: str, content: bytes) -> httpx.Response:
    """The server's answer. Raises what httpx does, and TimeoutError after EVENT_SECONDS.

    httpx limits each read alone, which a server that answers byte by byte never exceeds; so a thread waits for it, and
    is left behind when it takes too long.
    """
    answer: Future[httpx.Response] = Future()

    def post() -> None:
        try:
            answer.set_result(client.post(target, content=content))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=post, name="openlineage-post", daemon=True).start()
    return answer.result(EVENT_SECONDS)


def _client() -> httpx.Client:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {_key()}"} if _key() else {})}
    return httpx.Client(headers=headers, timeout=REQUEST_SECONDS)


def _named() -> str:
    return os.environ.get("OPENLINEAGE_URL", "").strip().rstrip("/")


def _key() -> str:
    return os.environ.get("OPENLINEAGE_API_KEY", "").strip()


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning("%s; events are only in %s", message, log.path())


def _folder() -> Path:
    return log.folder() / "waiting"


class _Sender:
    """The thread that sends, begun with the first event. settled: nothing waits, or the server does not answer."""

    def __init__(self) -> None:
        self.settled = threading.Event()
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._retry_at = 0.0

    def wake(self) -> None:
        with self._lock:
            if time.monotonic() < self._retry_at:
                return
            self.settled.clear()
            self._wanted.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="openlineage", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                _, trouble = deliver()
            except Exception as error:  # a sender that dies would tell nobody anything any more
                logger.warning("OpenLineage events wait: %s", error)
                trouble = str(error)
            else:
                if trouble:
                    logger.info("OpenLineage events wait: %s", trouble)
            with self._lock:
                if trouble is not None:  # the next event after a while tries again
                    self._retry_at = time.monotonic() + RETRY_SECONDS
                    self._wanted.clear()
                if not self._wanted.is_set():
                    self.settled.set()


_sender = _Sender()
