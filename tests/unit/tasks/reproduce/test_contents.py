"""One thing is changed in a file of each format, and just that is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from tasks.reproduce.contents import BLOCK, Found, difference, first_byte, sentence


def compared(tmp_path: Path, name: str, old: Any, new: Any) -> Found:
    paths = tmp_path / f"old-{name}", tmp_path / f"new-{name}"
    for path, content in zip(paths, (old, new), strict=True):
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, pa.Table):
            pq.write_table(content, path, row_group_size=1000 if path is paths[0] else 700)
        elif isinstance(content, str):
            path.write_text(content)
        else:
            save_file(content, path)
    found = difference(*paths)
    assert found is not None
    json.dumps(found, allow_nan=False)
    assert sentence(found)
    return found


def test_equal_files_have_no_difference(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x" * (BLOCK + 3))
    assert difference(tmp_path / "a", tmp_path / "b") is None


@pytest.mark.parametrize("place", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 5])
def test_the_first_byte_is_found_wherever_it_is(tmp_path: Path, place: int) -> None:
    content = bytearray(2 * BLOCK + 10)
    (tmp_path / "a").write_bytes(content)
    content[place] ^= 1
    content[-1] ^= 1
    (tmp_path / "b").write_bytes(content)
    assert first_byte(tmp_path / "a", tmp_path / "b") == place
    (tmp_path / "b").write_bytes(bytes(2 * BLOCK + 10)[: place + 1])
    assert first_byte(tmp_path / "a", tmp_path / "b") == place + 1


def test_json_names_the_field(tmp_path: Path) -> None:
    old = {"loss": 2.0, "model": {"layers": [1, 2]}, "name": "a", "flag": True}
    new = {"loss": 2.25, "model": {"layers": [1, 3]}, "name": "a", "flag": 1}
    found = compared(tmp_path, "m.json", json.dumps(old), json.dumps(new))
    assert (found["format"], found["differing"], found["of"]) == ("json", 3, 5)
    parts = {part["name"]: part for part in found["parts"]}
    assert parts["loss"]["max_abs_difference"] == 0.25
    assert (parts["model.layers.1"]["old"], parts["model.layers.1"]["new"]) == (2, 3)
    assert parts["flag"]["max_abs_difference"] is None
    spaced = compared(tmp_path, "m.json", json.dumps(old), json.dumps(old, indent=2))
    assert spaced["parts"] == [] and "the same content" in spaced["note"]


def test_json_lines_name_line_and_field(tmp_path: Path) -> None:
    rows = [{"id": n, "score": n / 2} for n in range(50)]
    old = "".join(json.dumps(row) + "\n" for row in rows)
    rows[30]["score"] = rows[40]["score"] = 0
    new = "".join(json.dumps(row) + "\n" for row in rows[:-1])
    found = compared(tmp_path, "s.jsonl", old, new)
    (part,) = found["parts"]
    assert (part["name"], part["first"], part["differing"], part["max_abs_difference"]) == ("score", 30, 2, 20)
    assert found["note"] == "50 → 49 rows"


def test_parquet_names_column_and_row_whatever_the_row_groups(tmp_path: Path) -> None:
    x = np.arange(20_000, dtype=np.float32)
    old = pa.table({"id": [f"d{n}" for n in range(20_000)], "x": x, "list": [[n] for n in range(20_000)]})
    changed = x.copy()
    changed[12_345] += 2
    changed[19_999] = np.nan
    new = old.set_column(1, "x", pa.array(changed))
    found = compared(tmp_path, "t.parquet", old, new)
    (part,) = found["parts"]
    assert (part["name"], part["first"], part["differing"], part["of"]) == ("x", 12_345, 2, 20_000)
    assert part["max_abs_difference"] == 2
    same = compared(tmp_path, "t.parquet", new, new)
    assert same["parts"] == [] and same["note"] == "the same rows, written in another way"
    shorter = compared(tmp_path, "t.parquet", old, old.slice(0, 150).drop_columns(["list"]))
    assert shorter["parts"] == [] and shorter["note"] == "20,000 → 150 rows; without the column list"


def test_safetensors_name_the_tensor(tmp_path: Path) -> None:
    old = {"embed": torch.zeros(4, 8, dtype=torch.bfloat16), "head": torch.ones(3), "same": torch.ones(2)}
    new = {"embed": old["embed"].clone(), "head": torch.ones(4), "same": torch.ones(2)}
    new["embed"][1, 2] = 0.5
    found = compared(tmp_path, "m.safetensors", old, new)
    assert (found["differing"], found["of"]) == (2, 3)
    embed, head = found["parts"]
    assert (embed["name"], embed["first"], embed["differing"], embed["of"]) == ("embed", 10, 1, 32)
    assert embed["max_abs_difference"] == 0.5
    assert (head["old"], head["new"]) == ("torch.float32 [3]", "torch.float32 [4]")
    assert "2 of 3 tensors differ; embed: 1 of 32 values, by at most 0.5" in sentence(found)


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.parquet", "x.safetensors"])
def test_what_is_broken_is_compared_byte_by_byte(tmp_path: Path, name: str) -> None:
    found = compared(tmp_path, name, b"\x00\xff{", b"\x00\xfe{" + b"[" * 100_000)
    assert found["first_byte"] == 1 and found["parts"] == []
    assert "cannot be read" in found["note"]
