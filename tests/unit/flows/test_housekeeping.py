"""`pedigree gc` and `forget` on the command line: what is kept, what is shown and asked, schemas, exit codes."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flows import cli
from tasks.forget.exclusions import ExcludeConfig, exclude, prints_of, put_in_force
from tasks.lineage import journal
from tasks.lineage.artifact import Artifact
from tasks.lineage.files import remove_tree
from tasks.lineage.store import Store
from tasks.stage import StageConfig, StageRun, stage

SCHEMAS = Path(__file__).resolve().parents[3] / "docs" / "schemas"


class MixConfig(StageConfig):
    kind: str = "rye"


@stage(output="dough")
def mix(run: StageRun, config: MixConfig) -> None:
    (run.output / "dough.txt").write_text(config.kind)


@stage(output="bread")
def bake(run: StageRun, dough: Artifact, config: StageConfig) -> None:
    (run.output / "bread.txt").write_text((dough.path / "dough.txt").read_text().upper())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "home"
    remove_tree(tmp_path / "home")


def made(kind: str) -> list[Artifact]:
    dough = mix(config=MixConfig(kind=kind))
    return [dough, bake(dough=dough)]


def ran(flow: str, name: str, bread: Artifact) -> None:
    journal.begin_flow(flow, name)
    journal.write_stage(name, "bake", state="ran", key=bread.key, output=bread.digest)
    journal.end_flow(name, "completed")


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, schema: str = "gc", code: int = 0) -> dict[str, Any]:
    assert cli.main([*arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text())).validate(found)
    return found


def test_the_last_runs_of_each_flow_and_pins_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {kind: made(kind) for kind in ("rye", "oat", "corn", "rice", "spelt")}
    for number, (flow, kind) in enumerate((("train", "rye"), ("train", "oat"), ("data", "corn"))):
        ran(flow, f"run-{number}", kinds[kind][1])
    assert cli.main(["gc", "--pin", kinds["rice"][1].digest[:12]]) == 0
    assert "rice" not in capsys.readouterr().out
    old = ("gc", "--keep-days", "0", "--keep-runs", "1")
    shown = answer(capsys, *old, "--dry-run")
    assert {item["name"] for item in shown["objects"]} == {a.digest for kind in ("rye", "spelt") for a in kinds[kind]}
    assert shown["kept"] == {"pins": 2, "recent flow runs": 4} and not shown["deleted"]
    assert answer(capsys, "gc", "--dry-run")["objects"] == [], "all this was made just now"
    gone = answer(capsys, *old, "--yes")
    assert gone["deleted"] and gone["objects"] == shown["objects"]
    assert not kinds["rye"][0].path.exists() and kinds["rice"][0].path.exists()
    assert answer(capsys, "verify", "--deep", schema="verify") == {
        "objects": 6, "damaged": [], "missing": [], "foreign": [],
    }  # fmt: skip
    assert cli.main(["gc", "--unpin", kinds["rice"][1].digest[:12]]) == 0
    assert capsys.readouterr().out == "Nothing is pinned.\n"
    assert len(answer(capsys, *old, "--yes")["objects"]) == 2


def test_it_asks_and_deletes_nothing_where_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    dough, _ = made("rye")
    assert cli.main(["gc", "--keep-days", "0", "--keep-runs", "0"]) == 2
    output = capsys.readouterr()
    assert "2 outputs:" in output.out and "give --yes to go ahead" in output.err
    assert dough.path.exists()


def test_without_mlflow_s_word_nothing_is_deleted_that_it_may_hold_on_to(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made("rye")
    (home / "mirror").mkdir()
    (home / "mirror" / "experiments.json").write_text("{}")
    assert cli.main(["gc", "--keep-days", "0", "--keep-runs", "0", "--yes"]) == 3
    assert "MLflow does not answer" in capsys.readouterr().err
    assert len(Store().verify()["damaged"]) == 0 and Store().verify()["objects"] == 2
    old = ("gc", "--keep-days", "0", "--keep-runs", "0", "--without-mlflow", "--yes")
    assert len(answer(capsys, *old)["objects"]) == 2


def test_a_purge_that_mlflow_must_hear_of_ends_with_3_where_it_does_not_answer(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in_force(exclude(config=ExcludeConfig(texts=prints_of(["Rye grows on poor soil."], 0.8, exact=True))))
    (home / "mirror").mkdir()
    (home / "mirror" / "experiments.json").write_text("{}")
    for arguments in (["--purge", "--yes"], ["--purge", "--dry-run"]):
        assert cli.main(["forget", *arguments]) == 3
        assert "MLflow does not answer" in capsys.readouterr().err
    assert cli.main(["forget", "--purge", "--yes", "--without-mlflow"]) == 0


def test_verify_says_that_there_is_no_store(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "mistyped"))
    assert cli.main(["verify", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["objects"] == 0
    assert f"There is no store at {tmp_path / 'mistyped'}" in told.err
    assert not (tmp_path / "mistyped").exists()
    monkeypatch.setenv("PEDIGREE_HOME", str(home))
    made("rye")
    assert cli.main(["verify"]) == 0
    assert capsys.readouterr().err == ""


def test_a_foreign_file_ends_verify_with_1(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made("rye")
    (home / "records" / "notes.txt").write_text("hello")
    found = answer(capsys, "verify", schema="verify", code=1)
    assert [entry["path"] for entry in found["foreign"]] == ["records/notes.txt"]
    assert cli.main(["verify"]) == 1
    assert "1 foreign" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["forget"], 2, "Say what to forget"),
    (["forget", "--doc", "abcd", "--dry-run"], 1, "no stored output names a document"),
    (["forget", "--text", "absent.txt"], 2, "absent.txt"),
    (["forget", "--purge"], 1, "nothing was forgotten yet"),
])  # fmt: skip
def test_forget_says_what_is_missing(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == code
    assert said in capsys.readouterr().err


def test_a_text_that_nothing_says_is_not_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret.txt").write_text("A text that is to be left out for good, wherever it comes up again.")
    assert cli.main(["forget", "--text", str(tmp_path / "secret.txt")]) == 1
    assert "nothing was forgotten" in capsys.readouterr().err
