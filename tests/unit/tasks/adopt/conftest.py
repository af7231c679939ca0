import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.config import ModelConfig
from model.export import save_pretrained
from model.transformer import Transformer
from tests import tiny_artifacts
from tests.small_course import text


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "home"
    monkeypatch.setenv("PEDIGREE_HOME", str(folder))
    for name in ("MLFLOW_TRACKING_URI", "OPENLINEAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    for stored in (folder / "objects").glob("*"):
        stored.chmod(0o755)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A model in Hugging Face's layout."""
    tokenizer = tiny_artifacts.tokenizer()
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=96,
    )  # fmt: skip
    save_pretrained(Transformer(config), tokenizer, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """40 documents with ids and 20 without in two files, and a note."""
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    with_ids = [{"text": text(5000 + number), "id": number} for number in range(40)]
    without = [{"text": text(6000 + number)} for number in range(20)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in with_ids))
    (folder / "more" / "b c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in without))
    (folder / "about.docx").write_bytes(b"%PDF")
    return folder
