"""`python -m model`: training, writing and measuring, and what a person is told when something is wrong."""

import dataclasses
import errno
import filecmp
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import jsonschema
import pytest
import torch

from model.checkpoint import Checkpoints
from model.command import folder
from model.command import main as command
from model.command.curve import Curve, last_figures
from model.command.device import step_fits
from model.command.errors import CommandError
from model.command.generate import pieces_of
from model.command.progress import duration
from model.command.recipe import MOST_THREADS, PRESETS, PRESETS_HELP, Recipe, given_recipe
from model.command.text import batches
from model.command.train import model_config
from model.config import ModelConfig
from model.distributed import Ranks
from model.export import load_causal
from model.generation import generate, stream
from model.sampling import Sampling
from model.tokenizer import Tokenizer, train_tokenizer

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
SMALL = ["--hidden-size", "16", "--num-hidden-layers", "1", "--vocab-size", "300", "--context-length", "32"]
QUICK = [*SMALL, "--steps", "3", "--batch-size", "2", "--held-out-bytes", "2000", "--threads", "1", "--quiet"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "topics.txt"
    path.write_text("\n\n".join(topics[name] for name in sorted(topics)[:6]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "model"
    assert command.main(["train", "--text", str(text), "--out", str(out), *QUICK]) == 0
    return out


def test_presets_are_models_of_the_size_that_the_help_tells() -> None:
    for name, recipe in PRESETS.items():
        filled = given_recipe(command.parser().parse_args(["train", "--text", "x", "--out", "y", "--preset", name]))
        names = {field.name for field in dataclasses.fields(ModelConfig)} & {f.name for f in dataclasses.fields(Recipe)}
        parameters = ModelConfig(**{field: getattr(filled, field) for field in names}).num_parameters()
        (told,) = re.findall(rf"^  {name} +([\d.]+) million", PRESETS_HELP, re.MULTILINE)
        assert float(told) == pytest.approx(parameters / 1e6, rel=0.06)
        assert recipe.context_length == filled.context_length


def test_an_option_changes_one_field_of_a_preset_and_what_follows_from_it() -> None:
    options = ["train", "--text", "x", "--out", "y", "--preset", "test", "--hidden-size", "96", "--lr", "0.004"]
    recipe = given_recipe(command.parser().parse_args(options))
    assert (recipe.hidden_size, recipe.intermediate_size, recipe.steps) == (96, 256, PRESETS["test"].steps)
    assert recipe.adamw_lr == pytest.approx(0.003)


def test_a_stream_is_what_generate_gives_and_cuts_no_character(trained: Path) -> None:
    model, tokenizer = load_causal(trained)
    end, prompt = tokenizer.endoftext_id, [0, *tokenizer.encode("The")]
    for seed in range(5):
        settings = {"sampling": Sampling(top_p=0.9), "eos_token_id": end, "pad_token_id": 3, "seed": seed}
        (expected,) = generate(model, [prompt], max_new_tokens=20, **settings)
        written: list[int] = []
        steps = stream(model, [prompt], max_new_tokens=20, **settings)
        pieces = list(pieces_of((step[0] for step in steps), tokenizer, written))
        assert written == expected and "".join(pieces) == tokenizer.decode(expected)


def test_questions_give_shares_with_intervals_and_count_what_is_left_out(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"prompt": "The", "choices": [" def", " class", " if"], "answer": number % 3} for number in range(6)]
    lines = [*map(json.dumps, [*rows, {"prompt": "The " * 40, "choices": ["a", "b"], "answer": 0}]), "{"]
    (tmp_path / "choices.jsonl").write_text("\n".join(lines))
    (tmp_path / "quiz.jsonl").write_text('{"prompt": "The", "answer": "no model writes this"}\n{"prompt": 1}\n')
    for kind, file in (("choices", "choices.jsonl"), ("questions", "quiz.jsonl")):
        capsys.readouterr()
        options = ["--max-new-tokens", "8", "--stop", "\n", "--json"] if kind == "questions" else ["--json"]
        assert command.main(["eval", "--model", str(trained), f"--{kind}", str(tmp_path / file), *options]) == 0
        answer = json.loads(capsys.readouterr().out)
        jsonschema.validate(answer, json.loads((SCHEMAS / f"model-eval-{kind}.json").read_text()))
        if kind == "choices":
            assert (answer["rows"], answer["left_out"]) == (6, 2)
            assert answer["accuracy"] == pytest.approx(1 / 3) == answer["chance"]
            assert answer["accuracy_low"] < answer["accuracy"] < answer["accuracy_high"]
        else:
            assert (answer["rows"], answer["left_out"], answer["contains"]) == (1, 1, 0)
    assert "1 × it is not JSON (first in line 8)" in caplog.text
    assert "1 × answer is neither a text nor a list of texts (first in line 2)" in caplog.text


def test_sampling_ends_at_a_stop_string(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def sample(*options: str) -> dict[str, object]:
        assert command.main(["generate", "--model", str(trained), "--prompt", "The", "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    capsys.readouterr()
    whole = str(sample()["text"])
    mark = next(character for character in whole[3:] if character.isascii())
    cut = sample("--stop", "never written", "--stop", mark)
    assert cut["ended"] and mark in str(cut["text"]) and whole.startswith(str(cut["text"])[:-1])
    assert len(str(cut["text"])) < len(whole)
    assert str(sample("--repetition-penalty", "5")["text"]) != whole


def test_a_character_of_several_tokens_is_shown_when_it_is_whole() -> None:
    tokenizer: Tokenizer = train_tokenizer(["abc"], 300)
    ids = tokenizer.encode("a€")
    assert len(ids) == 4
    assert list(pieces_of(iter(ids), tokenizer, [])) == ["a", "€"]
    assert list(pieces_of(iter(ids[:-1]), tokenizer, [])) == ["a", "\ufffd"]


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


def test_mistakes_are_told_with_what_to_do(
    trained: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").touch()
    empty, out = str(tmp_path / "empty.txt"), ["--out", str(tmp_path / "out"), *QUICK]
    for arguments, told in [
        (["train", "--text", empty, *out], "no text"),
        (["train", "--text", str(text), *out, "--hidden-size", "400000000"], "--hidden-size (400000000)"),
        (["train", "--text", str(text), *out, "--intermediate-size", "9" * 12], "--intermediate-size (999999999999)"),
        (["train", "--text", str(text), *out, "--batch-size", "9" * 12], "a batch of 999,999,999,999 rows"),
        (["train", "--text", str(text), "--one-document-per-file", *out], "one document only"),
        (["train", "--text", str(tmp_path / "none.txt"), *out], "does not exist"),
        (["train", "--text", str(tmp_path), *out], "is a folder"),
        (["train", "--text", "not read", "--num-attention-heads", "3", *out], "--num-attention-heads 3"),
        (["train", "--text", "not read", "--hidden-size", "17", *out[:2]], "--hidden-size 17"),
        (["train", "--text", "not read", "--hidden-size", "12", *out[:2]], "use a multiple of 8"),
        (["train", "--text", "not read", "--num-key-value-heads", "3", *out], "--num-key-value-heads 3"),
        (["train", "--text", "not read", *out, "--context-length", "100000000"], "--context-length 100000000"),
        (["train", "--text", str(text), "--device", "cuda:99", *out], "--device cuda:99"),
        (["train", "--text", str(text), "--device", "toaster", *out], "--device toaster"),
        (["train", "--text", str(text), "--device", "meta", *out], "--device meta is none to compute on"),
        (["train", "--text", str(text), "--device", "hpu", *out], "--device hpu is none to compute on"),
        (["train", "--text", str(text), "--document-separator", "", *out], "--document-separator"),
        (["train", "--text", str(text), *out, "--context-length", "1000000"], "--context-length"),
        (["train", "--text", str(text), *out, "--batch-size", "100000"], "so a step of 100,000 would read some of it"),
        (["train", "--text", str(text), *out, "--batch-size", "4", "--accumulation", "9"], "a part needs a row"),
        (["train", "--text", str(text), *out[:2], *QUICK, "--lr", "1e30"], "diverged"),
        (["generate", "--model", str(tmp_path)], "config.json does not exist"),
        (["generate", "--model", str(trained), "--prompt", "word " * 40], "at once: shorten the prompt.\n"),
        (["generate", "--model", str(trained), "--max-new-tokens", "32"], "31 new tokens at most"),
        (["generate", "--model", str(trained), "--prompt", "\udcff", "--max-new-tokens", "40"], "new tokens at most"),
        (["eval", "--model", str(trained), "--text", empty], "no text"),
        (["eval", "--model", str(trained)], "name what to measure on"),
        (["eval", "--model", str(trained), "--text", str(text), "--choices", empty], "name what to measure on"),
        (["eval", "--model", str(trained), "--questions", empty], "it is empty"),
        (["eval", "--model", str(trained), "--choices", str(tmp_path / "missing")], "does not exist"),
        (["generate", "--model", str(trained), "--stop", ""], "a stop string is empty"),
        (
            ["eval", "--model", str(trained), "--text", str(text), "--context-length", "64", "--quiet"],
            "--context-length is 64",
        ),
        (["eval", "--model", str(trained), "--text", "/dev/null", "--context-length", "33"], "reads 32 tokens at once"),
    ]:
        assert command.main(arguments) == 1, arguments
        errors = capsys.readouterr().err
        assert told in errors and "Traceback" not in errors, errors


def test_a_full_memory_is_told_with_options_that_the_command_has() -> None:
    assert "lower --hidden-size" in str(command.explain(MemoryError(), "train"))
    for name in ("generate", "eval", "import"):
        assert command.explain(MemoryError(), name) == "memory is full: end other programs, or use a smaller model"


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


@pytest.mark.parametrize(
    "wrong",
    [
        ["--preset", "huge"],
        ["--lr", "-1"],
        ["--lr", "nan"],
        ["--lr", "1e300"],
        ["--steps", "0"],
        ["--seed", "9" * 20],
        ["--lrr", "1"],
        ["--threads", str(MOST_THREADS + 1)],
    ],
)
def test_wrong_options_end_with_2_and_name_the_option(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["train", "--text", "x.txt", "--out", "y", *wrong])
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


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


def test_batches_and_durations() -> None:
    assert list(batches(["a" * 6, "b" * 6, "c"], characters=10)) == [["a" * 6, "b" * 6], ["c"]]
    assert [duration(seconds) for seconds in (9.6, 600, 3723)] == ["0:10", "10:00", "1:02:03"]


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


def test_characters_that_an_encoding_lacks_are_replaced(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    assert command.main(["generate", "--model", str(trained), "--prompt", "é", "--max-new-tokens", "1"]) == 0
    assert written.getvalue().startswith(b"?")


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
