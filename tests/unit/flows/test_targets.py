"""One thing by each of its names, and what is said of names that fit nothing or several."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import cli
from flows.errors import NothingFound, ServerUnreachable
from flows.targets import resolve, resolve_all
from tasks.lineage import journal
from tasks.lineage.artifact import Artifact
from tasks.lineage.record import Output, Record, StoredFile
from tasks.lineage.store import Store

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def put(
    stage: str, digest: str, *inputs: Artifact, key: str = "", mlflow: str = "", flow: str = "", created: str = "2026"
) -> Artifact:
    """A record alone; what it made is not needed to name it."""
    output = Output(kind=stage, digest=(digest * 64)[:64], files=[StoredFile(path="a", size=1, sha256="a" * 64)])
    record = Record(
        key=((key or digest) * 64)[:64], stage=stage, inputs={made.kind: made for made in inputs},
        config={"lr": [0.1]}, code={"tasks.it:it": "a" * 64}, code_digest="b" * 64, versions={"numpy": "2"},
        output=output, metrics={"eval/gold": 0.5}, documents={"documents_kept": 3}, wall_seconds=1, cpu_seconds=1,
        energy_wh=0, numerics={}, git_commit="c" * 40 + "+changes", mlflow_run_id=mlflow or None,
        flow_run_id=flow or None, created=created,
    )  # fmt: skip
    Store().write_record(record)
    return record.artifact


def test_each_name_of_a_model_finds_it() -> None:
    flow, run = str(uuid.uuid4()), uuid.uuid4().hex
    snapshot = put("snapshot", "1", flow=flow)
    model = put("ppo", "3fa9c1d2", snapshot, key="e5", mlflow=run, flow=flow)
    for name in ("pedigree-aligned", "aligned", "ppo", "3fa9c1", "3FA9C1D2", "e5e5e5", run, flow, run.upper()):
        assert resolve(name).artifact == model, name


def test_a_stage_or_model_means_the_latest_that_a_flow_run_met() -> None:
    old, new = put("ppo", "aa", created="2026-01"), put("ppo", "bb", created="2026-02")
    assert resolve("aligned").artifact == new
    journal.begin_flow("align", "run")
    journal.write_stage("run", "ppo", state="cached", key=old.key, output=old.digest, ended=journal.now())
    assert resolve("aligned").artifact == old


def test_a_flow_run_means_what_nothing_else_in_it_took_also_where_it_was_cached() -> None:
    flow, mlflow = str(uuid.uuid4()), uuid.uuid4().hex
    snapshot = put("snapshot", "1")
    corpus = put("collect", "2", snapshot)
    tokens, pairs = put("tokenize", "3", corpus), put("pair", "4", snapshot)
    put("pretrain", "5", tokens)  # by another flow
    journal.begin_flow("data", flow, mlflow_run_id=mlflow)
    stage_run = uuid.uuid4().hex
    for made in (snapshot, corpus, tokens, pairs):
        ran = {"mlflow_run_id": stage_run} if made == corpus else {}
        journal.write_stage(flow, made.kind, state="cached", key=made.key, output=made.digest, **ran)
    journal.write_stage(flow, "failing", state="failed", key="f" * 64, error="no")
    assert [record.artifact for record in resolve_all(flow)] == [tokens, pairs]
    assert [record.artifact for record in resolve_all(mlflow)] == [tokens, pairs]
    assert resolve(flow).artifact == tokens
    assert resolve(stage_run).artifact == corpus


def test_of_equal_content_the_newest_work_is_meant_and_a_key_that_was_replaced_still_names_both() -> None:
    put("clean", "cc", key="a1", created="2026-01")
    newest = put("clean", "cc", key="a2", created="2026-02")
    assert resolve("cccc").artifact == newest
    first = put("collect", "dd", key="ab")
    second = put("collect", "ee", key="ab")
    assert resolve("dddd").artifact == first
    assert resolve("eeee").artifact == second


def test_names_that_fit_nothing_or_several_say_what_would() -> None:
    put("clean", "abcd1")
    put("collect", "abcd2")
    with pytest.raises(NothingFound, match=r"'abcd'.*clean abcd1.*collect abcd2.*give more"):
        resolve("abcd")
    with pytest.raises(NothingFound, match=r"'nonsense'.*pedigree-aligned.*clean, collect"):
        resolve("nonsense")
    with pytest.raises(NothingFound, match="No finished stage of the flow run"):
        resolve(str(uuid.uuid4()))
    with pytest.raises(NothingFound, match="Nothing is called"):
        resolve(uuid.uuid4().hex)
    with pytest.raises(NothingFound, match="four or more"):
        resolve("abc")
    with pytest.raises(ServerUnreachable, match="pedigree up"):
        resolve("pedigree-aligned@current")


def test_lineage_goes_up_and_down_and_answers_in_the_documented_form(capsys: pytest.CaptureFixture[str]) -> None:
    import jsonschema

    schema = json.loads((DOCS / "schemas" / "lineage.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    snapshot = put("snapshot", "1")
    gone = put("lost", "9")
    corpus = put("collect", "2", snapshot, gone)
    Store().record_path(gone.key).unlink()
    model = put("ppo", "3", corpus)
    put("ppo", "4", key="3")  # the first is superseded now
    put("ppo", "5", snapshot)

    def ask(*options: str) -> tuple[dict[str, str], list[list[str]]]:
        assert cli.main(["lineage", corpus.digest, "--json", *options]) == 0
        answer = json.loads(capsys.readouterr().out)
        jsonschema.validate(answer, schema)
        return {node["stage"]: node["relation"] for node in answer["nodes"]}, answer["edges"]

    up = ask()
    assert up == ask("--up")
    assert up[0] == {"collect": "target", "snapshot": "ancestor"}
    assert up[1] == [[snapshot.key, corpus.key], [gone.key, corpus.key]]
    model_id = f"{model.key}.{model.digest[:12]}"
    assert ask("--down") == ({"collect": "target", "ppo": "descendant"}, [[corpus.key, model_id]])
    both, edges = ask("--up", "--down")
    assert both == {"collect": "target", "snapshot": "ancestor", "ppo": "descendant"} and len(edges) == 3

    assert cli.main(["lineage", corpus.digest, "--up", "--down"]) == 0
    shown = capsys.readouterr().out
    for text in ("Made from 1 piece of work: 1 snapshot", "Made into 1 piece of work: 1 ppo", "3 documents",
                 "0.500 gold score", "lr [0.1]", "1 definitions in 1 modules", "with changes", "numpy 2",
                 "999999999999: its record is gone"):  # fmt: skip
        assert text in shown
