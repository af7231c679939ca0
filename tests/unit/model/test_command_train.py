"""`python -m model train`: the folder it writes, what stops it, and how it goes on."""

import errno
import filecmp
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import torch

from model.checkpoint import Checkpoints
from model.command import folder
from model.command import main as command
from model.command.curve import Curve, last_figures
from model.command.device import step_fits
from model.command.errors import CommandError
from model.command.recipe import given_recipe
from model.command.train import model_config
from model.distributed import Ranks
from model.export import load_causal
from tests.quick_training import QUICK, SMALL

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"


def test_a_finished_model_is_found_and_another_recipe_or_text_is_refused(
    trained: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = ["train", "--text", str(text), "--out", str(trained), *QUICK]
    weights = (trained / "model.safetensors").stat().st_mtime_ns
    assert command.main([*same, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 3
    assert command.main([*same, "--lr", "0.001"]) == 1
    assert "lr=0.006, not 0.001" in capsys.readouterr().err
    (tmp_path / "other.txt").write_text(text.read_text() + "\n\nmore")
    assert command.main(["train", "--text", str(tmp_path / "other.txt"), "--out", str(trained), *QUICK]) == 1
    assert "another text" in capsys.readouterr().err
    assert (trained / "model.safetensors").stat().st_mtime_ns == weights


def test_a_folder_of_something_else_is_left_alone(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "photo.jpg").write_bytes(b"mine")
    for name in ("full/letter.txt", "project/config.json", "project/training/.notes", "beside/important.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "beside" / "training").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    for out in (tmp_path, *(tmp_path / name for name in ("full", "project", "beside", "link")), text):
        assert command.main(["train", "--text", str(text), "--out", str(out), *QUICK]) == 1
        assert "--out" in capsys.readouterr().err
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_finished_model_whose_files_were_changed_is_not_finished(
    trained: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(trained, out)
    weights = out / "model.safetensors"
    for content, expected in ((weights.read_bytes()[:-1] + b"!", "has been changed"), (None, "is gone")):
        weights.unlink() if content is None else weights.write_bytes(content)
        assert command.main(["train", "--text", str(text), "--out", str(out), *QUICK]) == 1
        assert f"{weights} {expected}" in capsys.readouterr().err
        assert command.main(["generate", "--model", str(out), "--prompt", "The"]) == int(content is None)
        assert (f"{weights} has been changed since" in caplog.text) == (content is not None)
        caplog.clear()
    assert command.main(["generate", "--model", str(trained), "--prompt", "The"]) == 0 and not caplog.text


def test_a_full_disk_is_told_and_the_run_goes_on_afterwards(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    arguments = ["train", "--text", str(text), "--out", str(tmp_path / "out"), *QUICK]
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", full)
        assert command.main(arguments) == 1
    assert "disk is full" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", full)
        patch.setattr(Curve, "__exit__", interrupted)
        assert command.main(arguments) == 130
    assert re.search("(?s)disk is full.*interrupted", capsys.readouterr().err)
    assert command.main(["generate", "--model", str(tmp_path / "out")]) == 1
    assert "not finished" in capsys.readouterr().err
    assert command.main(arguments) == 0


def test_a_run_that_ends_while_it_publishes_is_published_by_the_next(
    trained: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    def ended_after(path: Path, content: bytes) -> None:
        whole(path, content)
        if path.name == "training.json":
            raise KeyboardInterrupt

    whole = folder.write_whole
    arguments = ["train", "--text", str(text), "--out", str(tmp_path / "out"), *QUICK]
    for module, name, ending in ((folder.shutil, "copyfile", ended), (folder, "write_whole", ended_after)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, ending)
            assert command.main(arguments) == 130
        assert (tmp_path / "out" / "training").exists()
    assert command.main(arguments) == 0
    names = sorted(path.name for path in trained.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert filecmp.cmpfiles(trained, tmp_path / "out", names, shallow=False) == (names, [], [])


def test_two_processes_do_not_train_in_one_folder(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with folder.TrainingFolder(tmp_path / "out").owned():
        assert command.main(["train", "--text", str(text), "--out", str(tmp_path / "out"), *QUICK]) == 1
    assert "another process" in capsys.readouterr().err


def test_a_curve_goes_on_where_the_checkpoint_is(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    said: list[str] = []
    with Curve(path, said.append) as curve:
        for step in range(1, 6):
            curve.add(step, {"loss": 1 / step, "tokens_per_second": 9.0})
    whole = path.read_bytes()
    lines = whole.splitlines(True)
    for content, lost in (
        (whole[:-5], 0),
        (b"{}garbage\n" + b"".join(lines[1:]), 1),
        (b"\xff\n[]\n", 3),
        (b"", 3),
    ):
        path.write_bytes(content)
        said.clear()
        with Curve(path, said.append) as curve:
            for step in range(4, 6):
                curve.add(step, {"loss": 1 / step})
        assert path.read_bytes() == b"".join(lines[lost:])
        assert said == [f"{path} has lost the figures of {lost} of the 3 steps made"][: bool(lost)]
    assert last_figures(path)["step"] == 5


def test_a_model_of_text_is_read_by_transformers(trained: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs, (ours, tokenizer) = AutoModelForCausalLM.from_pretrained(trained), load_causal(trained)
    ids = torch.tensor([tokenizer.encode("The standard type")])
    assert AutoTokenizer.from_pretrained(trained)("The standard type")["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, ours(ids), atol=2e-4, rtol=1e-4)


def test_a_diverged_step_and_a_skipped_update_are_told_with_their_documents(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "--text", str(text), *SMALL, "--batch-size", "2", "--threads", "1", "--precision", "fp32"]
    assert command.main([*train, "--steps", "3", "--lr", "1e30", "--out", str(tmp_path / "diverged")]) == 1
    told = capsys.readouterr().err
    assert re.search(rf"(?s)diverged at step 1 .*new --out.*documents of this step:\n  {text} line \d+", told)
    for settings in (["--weight-decay", "1e30"], ["--optimizer", "adamw", "--adamw-lr", "1e38"]):
        assert command.main([*train, "--steps", "3", *settings, "--out", str(tmp_path / settings[1])]) == 1
        assert "training diverged" in capsys.readouterr().err
    out = tmp_path / "spikes"
    spikes = ["--steps", "80", "--lr", "1e-9", "--spike-deviations", "0.5", "--out", str(out), "--json"]
    assert command.main([*train, *spikes]) == 0
    told = capsys.readouterr()
    answer = json.loads(told.out)
    jsonschema.validate(answer, json.loads((SCHEMAS / "model-train.json").read_text()))
    curve = list(map(json.loads, (out / "curve.jsonl").open()))
    assert answer["skipped_updates"] == sum(step["skipped"] for step in curve) == curve[-1]["skipped_updates"] > 0
    assert json.loads((out / "training.json").read_text())["result"]["skipped_updates"] == answer["skipped_updates"]
    assert told.err.count("its update is left out. The documents of this step") == answer["skipped_updates"]
    assert "of processor time" in told.err and "updates skipped" in told.err


def test_recomputed_activations_change_no_result(trained: Path, text: Path, tmp_path: Path) -> None:
    again = ["train", "--text", str(text), "--out", str(tmp_path / "model"), *QUICK, "--activation-checkpointing"]
    assert command.main(again) == 0
    weights = ((folder / "model.safetensors").read_bytes() for folder in (trained, tmp_path / "model"))
    assert len(set(weights)) == 1


def test_two_processes_of_torchrun_train_the_model_that_one_does(text: Path, tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2", "-m"]
    one, two = tmp_path / "one", tmp_path / "two"
    options = ["train", "--text", str(text), *QUICK, "--precision", "fp32", "--out"]
    assert command.main([*options, str(one)]) == 0
    told = subprocess.run(
        [sys.executable, *torchrun, "model", *options, str(two), "--shard", "--json"],
        cwd=Path(__file__).parents[3], check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(told.stdout)["steps"] == 3, "the first process alone tells the result"
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    losses = [[json.loads(line)["loss"] for line in (made / "curve.jsonl").open()] for made in (one, two)]
    assert len(losses[1]) == 3 and losses[1] == pytest.approx(losses[0], abs=1e-4)
    ours, theirs = (load_causal(made)[0].state_dict() for made in (two, one))
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-3, msg=name)


def test_sharding_alone_is_refused(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["train", "--shard", "--text", str(text), "--out", str(tmp_path / "model"), *QUICK]) == 1
    assert "start several with torchrun" in capsys.readouterr().err


def test_a_step_needs_memory_for_a_part_of_it_and_a_row_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fits(*more: str, keeps_less: bool = False) -> None:
        options = ["train", "--text", "x", "--out", "y", *SMALL, *more]
        recipe = given_recipe(command.parser().parse_args(options))
        step_fits(recipe, model_config(recipe, 300), "cpu", keeps_less=keeps_less)

    large = ["--num-hidden-layers", "500", "--batch-size", str(1 << 17)]  # 4 TB of activations, 0.1 GB of a batch
    with pytest.raises(CommandError, match="a step on 131,072 rows of 32 tokens at once"):
        fits(*large)
    fits(*large, "--accumulation", "10000")
    fits("--num-hidden-layers", "500", "--batch-size", "10000", keeps_less=True)
    monkeypatch.setattr(Ranks, "here", lambda: Ranks(1, 3))
    fits("--batch-size", "3")
    with pytest.raises(CommandError, match="--batch-size 2 is too small for 3 processes"):
        fits("--batch-size", "2")
