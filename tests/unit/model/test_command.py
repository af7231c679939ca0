"""`python -m model`: options, writing and measuring, and what a person is told when something is wrong."""

import dataclasses
import io
import json
import re
import sys
from pathlib import Path

import jsonschema
import pytest

from model.command import main as command
from model.command.generate import pieces_of
from model.command.progress import duration
from model.command.recipe import MOST_THREADS, PRESETS, PRESETS_HELP, Recipe, given_recipe
from model.command.text import batches
from model.config import ModelConfig
from model.export import load_causal
from model.generation import generate, stream
from model.sampling import Sampling
from model.tokenizer import Tokenizer, train_tokenizer
from tests.quick_training import QUICK

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"


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


@pytest.mark.parametrize(
    "wrong",
    [
        ["--preset", "huge"],
        ["--lr", "-1"],
        ["--lr", "nan"],
        ["--lr", "fast"],
        ["--steps", "3.5"],
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
    errors = capsys.readouterr().err
    assert wrong[0] in errors and " value: " not in errors  # which names a function of the program


def test_a_temperature_of_zero_is_called_greedy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["generate", "--model", "x", "--temperature", "0"])
    assert "use --greedy" in capsys.readouterr().err


def test_batches_and_durations() -> None:
    assert list(batches(["a" * 6, "b" * 6, "c"], characters=10)) == [["a" * 6, "b" * 6], ["c"]]
    assert [duration(seconds) for seconds in (9.6, 600, 3723)] == ["0:10", "10:00", "1:02:03"]


def test_a_closed_output_is_no_fault(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert command.main(["generate", "--model", str(trained), "--prompt", "The", "--max-new-tokens", "1"]) == 0


def test_an_interval_over_one_document_is_called_none(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for content, told in (("one document", True), ("one document\n\nand another", False)):
        (tmp_path / "text.txt").write_text(content)
        assert command.main(["eval", "--model", str(trained), "--text", str(tmp_path / "text.txt")]) == 0
        assert ("one document only" in capsys.readouterr().err) == told


def test_characters_that_an_encoding_lacks_are_replaced(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    assert command.main(["generate", "--model", str(trained), "--prompt", "é", "--max-new-tokens", "1"]) == 0
    assert written.getvalue().startswith(b"?")
