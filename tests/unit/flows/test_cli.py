"""The command's answers, errors and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows import cli, servers


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


COMMANDS = (
    "up",
    "down",
    "status",
    "run",
    "adopt",
    "why",
    "accept",
    "lineage",
    "diff",
    "impact",
    "trace",
    "reproduce",
    "forget",
    "verify",
    "gc",
    "sync",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    assert f"pedigree {command}" in capsys.readouterr().out.partition("examples:")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--preset", "tset"], "There is no preset 'tset'. Did you mean 'test'?"),
        (["run", "trian"], "There is no flow 'trian'. Did you mean 'train'?"),
        (["run", "data", "--set", "pretrain.steps=3"], "The flow `data` has no section 'pretrain'"),
        (["run", "--set", "pretrain"], "is not of the form stage.field=value"),
        (["run", "--config", "absent.yaml"], "cannot be read: No such file"),
    ],
)
def test_a_wrong_setting_ends_with_2_before_anything_starts(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "up", lambda _: pytest.fail("servers were started"))
    assert cli.main(arguments) == 2
    output = capsys.readouterr()
    assert said in output.err
    assert output.out == ""


def test_a_server_that_is_down_ends_with_3(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert cli.main(["run"]) == 3
    assert "no Prefect server answers there" in capsys.readouterr().err


def test_status_and_verify_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"flows": {}, "servers": {"prefect": None, "mlflow": None}}
    assert cli.main(["verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"objects": 0, "damaged": [], "missing": [], "foreign": []}


def test_sync_without_a_server_ends_with_3(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "marquez:5000")
    assert cli.main(["sync"]) == 3
    told = capsys.readouterr().err
    assert "`pedigree up` starts one" in told and "OPENLINEAGE_URL is no address" in told and "marquez" not in told


def test_an_unknown_model_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lineage", "pedigree-aligned", "--json"]) == 1
    output = capsys.readouterr()
    assert "Nothing is called 'pedigree-aligned'" in output.err
    assert output.out == ""


def test_what_the_system_refuses_ends_with_1_and_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file\x1b[31m").write_text("no folder")
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "file\x1b[31m"))
    assert cli.main(["lineage", "tokenize"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("pedigree: Not a directory (") and "file\\x1b[31m/records)" in output.err


def test_questions_load_no_library_that_takes_longer_than_the_answer() -> None:
    code = """
import sys
import flows.cli, tasks.impact.impact
from tasks.impact.similar import Copies, likeness
assert likeness("rye and oats", ["rye and oats"], Copies(1, 0.8, 16, 4, 4, 1)) == [1.0]
print(sorted({"torch", "mlflow", "prefect", "transformers", "scipy", "pandas", "httpx", "numba"} & sys.modules.keys()))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
