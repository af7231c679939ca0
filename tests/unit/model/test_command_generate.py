"""`python -m model generate`: where answers end, several prompts, chats, and tokenizers of other families."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from model.boundaries import Boundaries, read_boundaries, tokenizer_boundaries
from model.chat import render_prompt
from model.command import main as command
from model.command.generate import pieces_of, text_after
from model.config import ModelConfig
from model.errors import ModelFormatError
from model.export import load_causal, save_pretrained
from model.generation import generate
from model.sampling import GREEDY
from model.tokenizer import Tokenizer, train_tokenizer
from model.transformer import Transformer

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "model-generate.json"
Write = Callable[..., list[dict[str, Any]]]


def llama_tokenizer() -> Tokenizer:
    """As Llama 2 and Mistral have it: a space is a character of words, <s> and </s> are special."""
    words = ["<unk>", "<s>", "</s>", *(f"▁{word}" for word in ["one", "two", "three", "four", "five", "six"])]
    backend = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    backend.add_special_tokens([AddedToken(word, special=True) for word in words[:3]])
    return Tokenizer(backend)


def save(folder: Path, tokenizer: Tokenizer, **ids: int | None) -> Path:
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64, initializer_range=0.5, tie_word_embeddings=False, **ids,
    )  # fmt: skip
    model = Transformer(config, generator=torch.Generator().manual_seed(0))
    save_pretrained(model.requires_grad_(False), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("own") / "model", train_tokenizer(["the cat sat on the mat"] * 3, 270))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    return save(tmp_path_factory.mktemp("llama") / "model", llama_tokenizer(), **ids)


@pytest.fixture
def write(capsys: pytest.CaptureFixture[str]) -> Write:
    """Calls `generate --json`; what it writes."""

    def call(model: Path, *options: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert command.main(["generate", "--model", str(model), "--json", *options]) == 0
        printed = capsys.readouterr().out
        assert not (printed.startswith("{\n") and "--prompts" in options), "of a file: an object a line"
        answers = [json.loads(printed)] if printed.startswith("{\n") else list(map(json.loads, printed.splitlines()))
        for answer in answers:
            jsonschema.validate(answer, json.loads(SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
        return answers

    return call


@pytest.mark.parametrize("family", ["own", "llama"])
@pytest.mark.parametrize("where", ["generation list", "generation int", "config"])
def test_answers_end_where_those_of_transformers_do(
    request: pytest.FixtureRequest, tmp_path: Path, write: Write, family: str, where: str
) -> None:
    from transformers import AutoModelForCausalLM

    directory = tmp_path / "model"
    shutil.copytree(request.getfixturevalue(family), directory)
    model, tokenizer = load_causal(directory)
    start = read_boundaries(directory, tokenizer).before_document
    prompt = "cat" if family == "own" else "three four"
    ids = [start, *tokenizer.encode(prompt)]
    (free,) = generate(model, [ids], max_new_tokens=20, sampling=GREEDY, eos_token_id=-1, pad_token_id=0, seed=0)
    end = max(free[:12], key=free.index)  # that which first comes last
    assert free.index(end) > 0
    never = next(token for token in range(tokenizer.vocab_size) if token not in free)
    config = json.loads((directory / "config.json").read_text())
    settings = {"eos_token_id": [never, end] if where == "generation list" else end, "pad_token_id": 0}
    if where == "config":
        (directory / "config.json").write_text(json.dumps({**config, "eos_token_id": end}))
        (directory / "generation_config.json").unlink()
    else:
        (directory / "generation_config.json").write_text(json.dumps(settings))
    (answer,) = write(directory, "--prompt", prompt, "--greedy", "--max-new-tokens", "20")
    theirs = AutoModelForCausalLM.from_pretrained(directory).generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=20, do_sample=False
    )
    expected = theirs[0, len(ids) :].tolist()
    assert answer["tokens"] == len(expected) == free.index(end) + 1 and answer["ended"]
    assert prompt + answer["text"] == tokenizer.decode([*ids, *expected])


def test_ends_are_those_of_the_folder_else_of_the_tokenizer(own: Path, llama: Path, tmp_path: Path) -> None:
    tokenizer = llama_tokenizer()
    assert read_boundaries(llama, tokenizer) == Boundaries(start=1, end=2, stops=(2,), pad=2)
    assert tokenizer_boundaries(tokenizer) == Boundaries(start=1, end=2, stops=(2,), pad=2)
    written = json.loads((own / "generation_config.json").read_text())
    ours = read_boundaries(own, Tokenizer.load(own))
    assert (ours.start, ours.end, ours.stops, ours.pad) == (0, 0, tuple(written["eos_token_id"]), 3)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": "</s>"}')
    with pytest.raises(ModelFormatError, match="give a token id"):
        read_boundaries(tmp_path, tokenizer)
    (tmp_path / "generation_config.json").write_text("[" * 100_000)
    with pytest.raises(ModelFormatError, match="is not JSON"):
        read_boundaries(tmp_path, tokenizer)
    bare = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    with pytest.raises(ModelFormatError, match="no token that ends a text"):
        tokenizer_boundaries(Tokenizer(bare))


def test_a_model_of_another_family_is_measured(llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("one two three\n\nfour five six")
    (tmp_path / "choices.jsonl").write_text('{"prompt": "one", "choices": ["two", "three"], "answer": 1}')
    for what in (["--text", "text.txt"], ["--choices", "choices.jsonl"], ["--questions", "choices.jsonl"]):
        told = command.main(["eval", "--model", str(llama), what[0], str(tmp_path / what[1]), "--quiet"])
        assert told == (1 if what[0] == "--questions" else 0)  # no such rows
    assert "answer is neither a text" in capsys.readouterr().err


def test_a_space_at_the_beginning_of_an_answer_is_kept() -> None:
    tokenizer = llama_tokenizer()
    prompt, answer = [1, *tokenizer.encode("one two")], tokenizer.encode("three four")
    for before, text in ((prompt, " three four"), ([1], "three four")):
        assert "".join(pieces_of(iter(answer), tokenizer, [], before)) == text == text_after(before, answer, tokenizer)


def test_several_prompts_are_answered_in_order_each_as_it_would_be_alone(
    own: Path, tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = ["cat", "the mat sat", "", "on the cat"]
    rows = [{"prompt": prompt} for prompt in prompts]
    rows[1]["seed"] = 99  # type: ignore[assignment]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{\n")
    (tmp_path / "lines.txt").write_bytes(b"the mat sat\r\n\n on\n")
    answers = write(own, "--prompts", str(tmp_path / "rows.jsonl"), "--seed", "5")
    assert [answer["prompt"] for answer in answers] == prompts
    assert [answer["seed"] for answer in answers] == [5, 99, 7, 8]
    for answer in answers:
        assert [answer] == write(own, "--prompt", answer["prompt"], "--seed", str(answer["seed"]))
    (tmp_path / "one.txt").write_text("cat")
    write(own, "--prompts", str(tmp_path / "one.txt"))
    both = write(own, "--prompt", "cat", "--prompts", str(tmp_path / "lines.txt"), "--greedy")
    assert [answer["prompt"] for answer in both] == ["cat", "the mat sat", " on"]
    assert command.main(["generate", "--model", str(own), "--prompt", "cat", "--prompt", "mat", "--greedy"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"cat{both[0]['text']}\n\nmat")


def test_prompts_and_questions_come_from_pipes_too(
    own: Path, tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    def pipe(name: str, content: str) -> str:
        os.mkfifo(tmp_path / name)
        threading.Thread(target=(tmp_path / name).write_text, args=(content,), daemon=True).start()
        return str(tmp_path / name)

    assert [one["prompt"] for one in write(own, "--prompts", pipe("lines", "cat\nmat\n"))] == ["cat", "mat"]
    assert command.main(["eval", "--model", str(own), "--questions", pipe("q", '{"prompt": "a", "answer": "b"}')]) == 0
    capsys.readouterr()
    for file, told in (("/dev/null", "holds no prompt"), (str(tmp_path), "is a folder")):
        assert command.main(["generate", "--model", str(own), "--prompts", file]) == 1
        assert told in capsys.readouterr().err


def test_bytes_of_prompts_that_are_not_utf_8_are_counted(
    own: Path, tmp_path: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lines.txt").write_bytes(b"the cat sat on the mat\nthe caf\xe9 sat\n")
    assert write(own, "--prompts", str(tmp_path / "lines.txt"))[1]["prompt"] == "the caf\ufffd sat"
    assert "lines.txt: 1 bytes are not UTF-8 and are read as U+FFFD" in caplog.text


def test_a_chat_asks_as_fine_tuning_does(own: Path, llama: Path, write: Write, capsys: pytest.CaptureFixture) -> None:
    (answer,) = write(own, "--chat", "--prompt", " the cat?", "--greedy", "--max-new-tokens", "12")
    model, tokenizer = load_causal(own)
    (expected,) = generate(
        model, [render_prompt(tokenizer, " the cat?")], max_new_tokens=12, sampling=GREEDY,
        eos_token_id=[tokenizer.im_end_id, tokenizer.endoftext_id], pad_token_id=3, seed=0,
    )  # fmt: skip
    assert (answer["tokens"], answer["text"]) == (len(expected), tokenizer.decode(expected))
    assert command.main(["generate", "--model", str(llama), "--chat", "--prompt", "one"]) == 1
    assert "leave out --chat" in capsys.readouterr().err


def test_another_template_is_told_of(own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(own, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ messages }}")
    assert command.main(["generate", "--model", str(tmp_path / "model"), "--chat", "--prompt", "the"]) == 0
    assert "template differs" in caplog.text


def test_options_without_effect_are_refused(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "file")
    for what, options in (
        ("--text", ["--chat", "--stop=x", "--max-new-tokens=4"]),
        ("--choices", ["--context-length=4", "--stop=x", "--max-new-tokens=4", "--one-document-per-file"]),
        ("--questions", ["--context-length=4", "--document-separator=x"]),
    ):
        for option in options:
            (tmp_path / "file").write_text("text")
            assert command.main(["eval", "--model", str(own), what, file, option]) == 1
            assert f"{option.split('=')[0]} would have no effect" in capsys.readouterr().err
    for option in ("--top-k=5", "--top-p=0.5", "--seed=0"):
        assert command.main(["generate", "--model", str(own), "--greedy", option]) == 1
        assert f"{option.split('=')[0]} would have no effect" in capsys.readouterr().err
