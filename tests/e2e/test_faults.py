"""What goes wrong on real servers, and that the next run goes on."""

import signal
import time
from typing import Any

import psutil
import pytest

from tests.e2e.command import SLOWER, running_stage, until

pytestmark = pytest.mark.e2e


def test_a_killed_run_is_noticed_and_the_next_one_goes_on(pedigree: Any, killed: Any, trained: Any) -> None:
    assert killed.code == 1
    assert "Crashed" in killed.err
    assert "goes on from there" in killed.err
    stages = trained.json["flows"]["train"]["stages"]
    assert stages["collect"]["state"] == "cached", "what was finished is kept"
    assert stages["pretrain"]["state"] == "ran"
    assert "pretrain: going on from the work of an earlier attempt" in pedigree.worker_log()
    assert pedigree("verify", "--json").code == 0


def test_align_and_retrain_go_on_from_what_is_there(pedigree: Any, again: Any) -> None:
    aligned = pedigree("run", "align", "--preset", "test", "--json")
    assert aligned.code == 0, aligned.err
    states = {name: stage["state"] for name, stage in aligned.json["flows"]["align"]["stages"].items()}
    assert states == dict.fromkeys(("finetune", "rank", "reward", "ppo", "evaluate"), "cached")

    retrained = pedigree("run", "retrain", "--preset", "test", *SLOWER, "--json")
    assert retrained.code == 0, retrained.err
    flow = retrained.json["flows"]["retrain"]
    run = {"flow_runs": {"id": {"any_": [flow["prefect_flow_run_id"]]}}}
    pages = pedigree.prefect("POST", "/artifacts/filter", run)
    assert "Nothing changed" in next(page["data"] for page in pages if page["key"] == "retrain-comparison")
    parent = pedigree.mlflow("GET", "/runs/get", params={"run_id": flow["mlflow_run_id"]})["run"]
    tags = {tag["key"]: tag["value"] for tag in parent["data"]["tags"]}
    assert tags["compared.same_models"] == "true"
    assert "compared.ppo.gold" in tags


def test_a_flipped_byte_is_found_and_mended(pedigree: Any, trained: Any) -> None:
    stage = pedigree("status", "--json").json["flows"]["train"]["stages"]["collect"]
    victim = sorted((pedigree.home / "objects" / stage["output"]).glob("*.parquet"))[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(content)

    found = pedigree("verify", "--json")
    assert found.code == 1
    assert [entry["digest"] for entry in found.json["damaged"]] == [stage["output"]]

    mended = pedigree("run", "data", "--preset", "test", "--json")
    assert mended.code == 0, mended.err
    stages = mended.json["flows"]["data"]["stages"]
    assert stages["collect"]["state"] == "ran"
    assert stages["collect"]["output"] == stage["output"], "the same bytes are back"
    assert stages["clean"]["state"] == "cached"
    assert pedigree("verify", "--json").code == 0


def test_dead_servers_are_started_again(pedigree: Any, trained: Any) -> None:
    before = pedigree.servers()
    for name in ("worker", "mlflow_process"):
        for process in [
            psutil.Process(before[name]["pid"]),
            *psutil.Process(before[name]["pid"]).children(recursive=True),
        ]:
            process.kill()
    finished = pedigree("up")
    assert finished.code == 0, finished.err
    after = pedigree.servers()
    assert after["prefect_process"] == before["prefect_process"], "what lives is left alone"
    assert after["worker"] != before["worker"]
    assert pedigree("status", "--json").json["servers"]["mlflow"] == after["mlflow"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "--preset", "tset"), 2, "Did you mean 'test'?"),
        (("run", "--set", "pretrain.steps=0"), 2, "pretrain.steps"),
        (("lineage", "nothing-like-it"), 1, "Nothing is called"),
    ],
)
def test_what_cannot_be_done_is_said(pedigree: Any, arguments: tuple[str, ...], code: int, said: str) -> None:
    finished = pedigree(*arguments)
    assert (finished.code, finished.out) == (code, "")
    assert said in finished.err
    assert "Traceback" not in finished.err


def test_an_interrupted_run_is_cancelled(pedigree: Any, trained: Any) -> None:
    began = time.time()
    settings = ("--set", "pretrain.steps=100000", "--set", "resources.checkpoint_seconds=0.2")
    with pedigree.begin("run", "train", "--preset", "test", *settings) as command:
        until(lambda: running_stage(pedigree.home, "pretrain", began))
        command.send_signal(signal.SIGINT)
        _, complaint = command.communicate(timeout=300)
    assert command.returncode == 1
    assert "Cancelled" in complaint and "goes on from there" in complaint

    def state() -> str:
        run = pedigree.prefect("POST", "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})[0]
        return str(run["state"]["type"])

    until(lambda: state() == "CANCELLED")  # the process ends first, as crashed; Prefect then says why
