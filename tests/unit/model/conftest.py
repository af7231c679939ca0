"""A text, and a model that `python -m model train` has made of it; tests leave both as they are."""

from pathlib import Path
from pydoc_data.topics import topics

import pytest

from model.command import main as command
from tests.quick_training import QUICK


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "topics.txt"
    path.write_text("\n\n".join(topics[name] for name in sorted(topics)[:6]), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "model"
    assert command.main(["train", "--text", str(text), "--out", str(out), *QUICK]) == 0
    return out
