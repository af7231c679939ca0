"""A full disk at every moment of a stage, and bytes that change in the store."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import cli
from tasks.lineage import files, store
from tasks.lineage.errors import StoreFull
from tasks.lineage.files import remove_tree
from tasks.lineage.store import STORED_MTIME, Store
from tasks.stage import Artifact, StageConfig, StageRun, stage

CALLS: list[str] = []
SIZE = 200_000


@stage(output="cake", retries=2)
def bake(run: StageRun, config: StageConfig) -> None:
    CALLS.append("bake")
    piece = run.work / "piece"
    if not piece.exists():
        piece.write_text("from the first attempt" if len(CALLS) == 1 else "from a later attempt")
    (run.output / "cake.bin").write_bytes(b"x" * SIZE)
    run.log_metrics({"weight": SIZE})


@stage(output="slice")
def cut(run: StageRun, cake: Artifact, config: StageConfig) -> None:
    CALLS.append("cut")
    (run.output / "slice.bin").write_bytes((cake.path / "cake.bin").read_bytes()[:10])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    CALLS.clear()
    yield tmp_path / "home"
    remove_tree(tmp_path / "home")


def refuse(number: int) -> Any:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return full


MOMENTS: dict[str, tuple[Any, str]] = {
    "the stage writes": (Path, "write_bytes"),
    "the output is forced to disk": (store, "sync"),
    "the output is moved": (os, "rename"),
    "the record is written": (store, "write_atomically"),
    "the record is put in place": (files.os, "replace"),
}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_disk_is_named_and_leaves_nothing_half_written(home: Path, moment: str, number: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*MOMENTS[moment], refuse(number))
        with pytest.raises(StoreFull, match=r"bake: no space left under .*PEDIGREE_HOME to a larger disk"):
            bake()
    kept = Store()
    assert list(kept.records()) == []
    assert not list((home / "records").glob("*")) and not list((home / "records").glob(".*"))
    assert kept.verify()["damaged"] == []
    assert (kept.work_path(bake.key_for()) / "piece").read_text() == "from the first attempt"
    made = bake()
    assert (made.path / "cake.bin").stat().st_size == SIZE
    assert kept.verify() == {"objects": 1, "damaged": [], "missing": [], "foreign": []}
    assert CALLS == ["bake", "bake"]


def test_a_limit_that_the_kernel_sets_is_named_too(tmp_path: Path) -> None:
    """RLIMIT_FSIZE refuses a real write midway, as a full disk does."""
    script = tmp_path / "limited.py"
    script.write_text(
        "from tasks.stage import StageConfig, StageRun, stage\n"
        "@stage(output='cake')\n"
        "def bake(run: StageRun, config: StageConfig) -> None:\n"
        "    (run.output / 'cake.bin').write_bytes(b'x' * 200_000)\n"
        "if __name__ == '__main__':\n"
        "    print(bake().digest)\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    def run(limited: bool) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300,
            preexec_fn=limit if limited else None,
        )  # fmt: skip

    refused = run(limited=True)
    assert refused.returncode != 0
    assert "StoreFull: bake: no space left under" in refused.stderr
    assert list(Store().records()) == [] and not (Store().root / "objects").exists()
    done = run(limited=False)
    assert done.returncode == 0, done.stderr
    assert Store().verify() == {"objects": 1, "damaged": [], "missing": [], "foreign": []}


@pytest.mark.parametrize("keep_time", [True, False])
def test_a_flipped_byte_is_found_by_verify_and_made_again_by_the_next_run(
    keep_time: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    made = cut(cake=bake())
    whole = Store().record(made.key)
    assert whole is not None
    cake = whole.inputs["cake"]
    file = cake.path / "cake.bin"
    file.chmod(0o644)
    with file.open("r+b") as stream:
        stream.seek(1234)
        stream.write(b"y")
    if keep_time:
        os.utime(file, (STORED_MTIME, STORED_MTIME))
    assert cli.main(["verify", "--json"]) == 1
    [entry] = json.loads(capsys.readouterr().out)["damaged"]
    assert (entry["digest"], entry["problems"]) == (cake.digest, ["cake.bin: content differs from its digest"])
    CALLS.clear()
    assert cut(cake=bake()) == made
    assert CALLS == ["bake"]  # the same bytes again, so what was made from them still stands
    assert "is damaged and is made again" in caplog.text
    assert file.read_bytes() == b"x" * SIZE
    assert cli.main(["verify", "--json"]) == 0
