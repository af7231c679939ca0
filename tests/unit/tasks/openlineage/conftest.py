from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.openlineage import outbox
from tests.openlineage_receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    for name in ("URL", "ENDPOINT", "API_KEY", "DISABLED", "NAMESPACE"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)
    monkeypatch.setattr(outbox, "_sender", outbox._Sender())
    return tmp_path
