"""What is made elsewhere comes in under a declared origin, once, whole, and says so ever after."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.export import load_causal
from tasks.adopt.adopt import Adopted, Asked, adopt
from tasks.lineage.ancestry import declared_behind
from tasks.lineage.errors import AdoptionRefused, ConfigError, DataError, PedigreeError
from tasks.lineage.store import Store
from tasks.text.shards import read_corpus
from tasks.tracking import pending
from tests import gguf_files, tiny_artifacts
from tests.unit.tasks.corpora import ledger, read


def take(kind: str, path: Path, **changes: Any) -> Adopted:
    given = {"origin": "https://example.org/data", "because": "tested", "license": "CC0-1.0", **changes}
    return adopt(Store(), Asked(kind, path, **given))


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_text_becomes_documents_with_the_declared_origin(texts: Path) -> None:
    found = take("text", texts, made_from=("interviews with 12 people",), by="Ada")
    artifact, record = found.record.artifact, found.record
    assert artifact.kind == "corpus" and not found.cached and found.left_out == ("about.docx",)
    rows = read(artifact)
    assert len(rows) == 60 and {row["license"] for row in rows} == {"CC0-1.0"}
    assert "https://example.org/data/a.jsonl#7" in {row["source"] for row in rows}
    assert {row["origin"] for row in rows} == {
        "https://example.org/data/a.jsonl", "https://example.org/data/more/b%20c.jsonl",
    }  # fmt: skip
    assert all(row["decision"] == "kept" for row in ledger(artifact).values())
    assert record.documents == {"documents_in": 60, "documents_kept": 60, "documents_dropped": 0}
    assert record.declared is not None and record.declared.by == "Ada"
    assert str(texts) not in record.model_dump_json(), "where it lay does not matter"


def test_the_same_bytes_are_the_same_artifact_wherever_they_lie(texts: Path, tmp_path: Path) -> None:
    first = take("text", texts)
    shutil.copytree(texts, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / ".hidden.jsonl").write_text("not read")
    again = take("text", tmp_path / "elsewhere", because="another reason", by="somebody else")
    assert again.cached and again.record == first.record, "the first declaration stands"


def test_another_declaration_of_the_same_bytes_is_refused(texts: Path) -> None:
    first = take("text", texts)
    for change in ({"origin": "https://example.org/other"}, {"license": None}, {"made_from": ("other texts",)}):
        with pytest.raises(AdoptionRefused, match=r"https://example.org/data, licence CC0-1.0.*--correct"):
            take("text", texts, **change)
    assert len(list(Store().records())) == 1
    corrected = take("text", texts, license="MIT", correct=True)
    assert corrected.others == (first.record,)
    assert corrected.record.declared is not None and corrected.record.declared.corrects == first.record.key
    assert {row["license"] for row in read(corrected.record.artifact)} == {"MIT"}
    assert Store().record(first.record.key) == first.record, "what was declared is never changed"
    assert take("text", texts, license="MIT").cached


def test_a_corrected_declaration_of_a_model_leaves_its_bytes_alone(checkpoint: Path) -> None:
    first = take("model", checkpoint)
    second = take("model", checkpoint, license="MIT", correct=True)
    assert first.record.artifact.digest == second.record.artifact.digest
    for found, licence in ((first, "CC0-1.0"), (second, "MIT")):
        ((_, declared),) = declared_behind(Store(), found.record)
        assert declared.license == licence


def test_a_gguf_file_becomes_a_model_whose_declaration_is_of_the_file(tmp_path: Path) -> None:
    tokenizer = tiny_artifacts.tokenizer()
    made = gguf_files.theirs("llama", tokenizer.vocab_size)
    gguf_files.write(tmp_path / "small.GGUF", made, tokenizer)
    found = take("model", tmp_path / "small.GGUF")
    record = found.record
    assert record.stage == "adopt_model" and record.declared is not None
    assert record.versions["gguf"] and record.metrics["vocabulary"] == tokenizer.vocab_size
    tokens = torch.arange(4, 40)[None]
    model, _ = load_causal(record.artifact.path / "model")
    torch.testing.assert_close(model(tokens), made(tokens).logits, atol=1e-5, rtol=0)
    assert take("model", tmp_path / "small.GGUF").cached

    whole = (tmp_path / "small.GGUF").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:-1000])
    with pytest.raises(DataError, match=r"cut.gguf cannot be adopted: .*damaged"):
        take("model", tmp_path / "cut.gguf")
    gguf_files.write(tmp_path / "no-chat.gguf", made, tokenizer, **{
        "tokenizer.ggml.tokens": [f"<{n}>" if n < 4 else t for n, t in enumerate(gguf_files.tokens(tokenizer))]
    })  # fmt: skip
    metrics = take("model", tmp_path / "no-chat.gguf").record.metrics
    assert (metrics["tokens_added"], metrics["vocabulary"]) == (3, tokenizer.vocab_size + 3)


def test_bad_rows_are_quarantined_and_counted(texts: Path) -> None:
    with (texts / "a.jsonl").open("ab") as file:
        file.write(b'{"text": "cut\n{"text": 3}\n\xff\xfe\x00\n')
    found = take("text", texts)
    assert found.record.documents == {"documents_in": 63, "documents_kept": 60, "documents_dropped": 3}
    assert found.record.metrics["dropped/quarantined"] == 3
    lines = (found.record.artifact.path / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == [41, 42, 43]
    (texts / "a.jsonl").write_text('{"text": "cut\n' * 50)
    with pytest.raises(DataError, match=r"50 of 70 rows.*--max-bad-share"):
        take("text", texts)


@pytest.mark.parametrize(
    ("name", "words"),
    [("gone.jsonl", "does not exist"), ("data.csv", "should end in"), ("data.pkl", "pickle"), ("empty", "no text")],
)
def test_what_is_no_text_is_told(tmp_path: Path, name: str, words: str) -> None:
    path = tmp_path / name
    if "." not in name:
        path.mkdir()
    elif name != "gone.jsonl":
        path.write_bytes(b"1,2\n")
    with pytest.raises(ConfigError, match=words):
        take("text", path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"origin": "somewhere"}, "no URI"),
        ({"origin": "https://"}, "no URI"),
        ({"origin": "https://example.org/a b"}, "no URI"),
        ({"origin": "https://[example.org"}, "no URI"),
        ({"origin": "https://me:secret@example.org/data"}, "holds a password"),
        ({"origin": "https://example.org/#x"}, "#"),
        ({"origin": "pypi://numpy"}, "pypi"),
        ({"because": "  "}, "is empty"),
        ({"because": "two\nlines"}, "one line"),
        ({"license": "MIT\x1b[31m"}, "control character"),
        ({"made_from": ("a\u202eb",)}, "direction"),
        ({"by": "x" * 3000}, "3,000 characters"),
    ],
)
def test_declarations_that_cannot_be_shown_are_refused(texts: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        take("text", texts, **changes)
    assert not list(Store().records())


def test_a_model_is_taken_byte_for_byte_and_loads(checkpoint: Path) -> None:
    (checkpoint / "pytorch_model.bin").write_bytes(b"a pickle beside the safetensors")
    (checkpoint / "modeling_own.py").write_text("raise SystemExit('code of others is never run')")
    found = take("model", checkpoint, origin="hf://somebody/tiny")
    assert found.left_out == ("modeling_own.py", "pytorch_model.bin")
    folder = found.record.artifact.path / "model"
    for path in folder.iterdir():
        assert path.read_bytes() == (checkpoint / path.name).read_bytes()
    load_causal(folder)
    assert found.record.documents is None, "nobody knows, and nobody says 0"


def test_half_precision_and_sharded_weights_are_taken(checkpoint: Path) -> None:
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, checkpoint / file)
    weight_map = {name: file for file, held in shards.items() for name in held}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (checkpoint / "model.safetensors").unlink()
    assert take("model", checkpoint).record.metrics["parameters"] > 0


def _only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def _not_finite(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors")


DAMAGE: dict[str, tuple[Any, str]] = {
    "only a pickle": (_only_pickled, "pickle.*safetensors"),
    "cut short": (_cut, "damaged or cut short"),
    "another architecture": (lambda f: rewrite(f / "config.json", model_type="gpt2"), "model_type='gpt2'"),
    "another head": (lambda f: rewrite(f / "config.json", architectures=["BertModel"]), "BertModel"),
    "other sizes": (lambda f: rewrite(f / "config.json", hidden_size=64), "shape|fit"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "not JSON"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
    "numbers that are none": (_not_finite, "model.norm.weight.*not finite"),
    "tokenizer is garbage": (lambda f: (f / "tokenizer.json").write_bytes(b"\xff\xfe"), "tokenizer.json"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_model_that_cannot_be_used_is_refused(checkpoint: Path, damage: str) -> None:
    harm, words = DAMAGE[damage]
    harm(checkpoint)
    with pytest.raises(PedigreeError, match=words) as error:
        take("model", checkpoint)
    assert "home/work" not in str(error.value), "the message names what the person gave"
    assert not list(Store().records())


def test_damage_in_the_store_is_mended_by_adopting_again(checkpoint: Path) -> None:
    first = take("model", checkpoint)
    stored = first.record.artifact.path / "model" / "model.safetensors"
    stored.chmod(0o644)
    stored.write_bytes(b"broken")
    again = take("model", checkpoint)
    assert not again.cached and again.record.declared == first.record.declared
    assert Store().verify(deep=True)["damaged"] == []


def test_mlflow_is_told_later_where_no_server_is_known(checkpoint: Path) -> None:
    found = take("model", checkpoint)
    assert found.mlflow_run_id is None
    with pending.abandoned() as entries:
        (entry,) = entries
    assert entry.name == "adopt_model" and entry.state == "ran"
    assert entry.record is not None and entry.record["declared"]["origin"] == "https://example.org/data"


def test_pairs_are_told_apart_and_shared_out(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {number}?", "response": f"Answer {number} is " + "x" * number} for number in range(90)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0], {"prompt": "alone"}]))
    found = take("pairs", path)
    assert found.record.metrics["dropped/quarantined"] == 1 and found.record.metrics["dropped/repeated_prompt"] == 1
    table = read(found.record.artifact, "pairs.parquet")
    assert {row["source"] for row in table} == {"https://example.org/data"}
    assert {row["split"] for row in table} >= {"finetune", "rank", "ppo", "evaluation"}


def test_huge_lines_are_quarantined_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        for number in range(5):
            file.write(json.dumps({"text": f"document {number} is short and good"}).encode() + b"\n")
        file.write(b'{"text": "' + b"x" * 11_000_000 + b'"}\n')
    found = take("text", path)
    assert found.record.metrics["dropped/quarantined"] == 1
    assert sum(table.num_rows for table in read_corpus(found.record.artifact.path)) == 5


def test_a_file_whose_name_is_not_utf8_is_named(texts: Path) -> None:
    (texts / os.fsdecode(b"caf\xe9.jsonl")).write_text(json.dumps({"text": "A text long enough to be kept."}))
    with pytest.raises(DataError, match=r"caf\\udce9\.jsonl' is not UTF-8.*rename the file"):
        take("text", texts)
