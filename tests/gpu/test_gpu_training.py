"""Training on a GPU: it learns what a processor learns, ends with the same bytes again, and goes on to the same bytes.

PYTHONPATH=. python -m pytest tests/gpu -q -p no:cacheprovider
"""

import copy
import dataclasses
import logging
from pathlib import Path

import pytest
import torch

from model.determinism import deterministic_algorithms
from model.losses import language_modelling_loss
from model.ppo import train_ppo
from model.ppo_settings import PPOSettings
from model.preference import pairwise_loss
from model.sampling import Chooser, Sampling
from model.scalar import ScalarModel
from model.stopping import TrainingStopped
from model.throughput import matmul_peak, peak_memory_bytes
from model.training import TrainingConfig, train
from model.transformer import Transformer
from tests.on_gpu import DEVICE, SIZES, batch, learn, needs_gpu, weights

pytestmark = needs_gpu
CPU = torch.device("cpu")
on_gpu_alone = pytest.mark.skipif(DEVICE.type == "cpu", reason="there is no second device to compare with")
STEPS, STOP = 8, 3
WAYS = [  # precision, optimizer, compile, documents packed into rows
    ("fp32", "adamw", False, False),
    ("fp32", "muon", False, True),
    ("bf16", "adamw", False, True),
    ("bf16", "muon", False, False),
    ("bf16", "muon", True, False),
    ("bf16", "adamw", True, True),
]


@pytest.mark.parametrize(("optimizer", "tolerance"), [("adamw", 1e-4), ("muon", 1e-3)])
def test_fp32_learns_what_a_processor_learns(optimizer, tolerance):
    assert not torch.backends.cuda.matmul.allow_tf32, "products of fp32 are those of fp32"
    config = TrainingConfig(steps=20, lr=3e-3, optimizer=optimizer, precision="fp32")
    there, here = learn(config, packed=True), learn(config, packed=True, device=CPU)
    assert there.losses == pytest.approx(here.losses, rel=tolerance)
    assert there.losses[-1] < there.losses[0] - 0.5


@pytest.mark.parametrize(("precision", "optimizer", "compile", "packed"), WAYS)
def test_the_same_bytes_again_and_after_a_stop(precision, optimizer, compile, packed, tmp_path: Path):
    config = TrainingConfig(steps=STEPS, lr=3e-3, optimizer=optimizer, precision=precision, accumulation=2)
    ways = {"packed": packed, "compile": compile, "activation_checkpointing": compile}
    whole, again = learn(config, **ways), learn(config, **ways)
    assert whole.losses == again.losses and whole.weights() == again.weights()
    asked = iter(range(1, 100))
    with pytest.raises(TrainingStopped):
        learn(config, checkpoint_dir=tmp_path, should_stop=lambda: next(asked) >= STOP, **ways)
    torch.manual_seed(99)
    resumed = learn(config, checkpoint_dir=tmp_path, **ways)
    assert resumed.losses == whole.losses[STOP:] and resumed.weights() == whole.weights()


def test_bf16_learns_one_batch_by_heart():
    losses: list[float] = []
    train(
        Transformer(SIZES), lambda step: batch(0), language_modelling_loss,
        TrainingConfig(steps=80, lr=3e-3, precision="bf16"), device=DEVICE, data_workers=1,
        on_step=lambda step, figures: losses.append(figures["loss"]),
    )  # fmt: skip
    assert losses[0] == pytest.approx(6.9, abs=0.3) and losses[-1] < 0.2


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 5e-3)])
def test_compiled_it_learns_what_it_learns_plainly(precision, tolerance, packed):
    config = TrainingConfig(steps=STEPS, lr=3e-3, optimizer="adamw", precision=precision)
    compiled, plain = learn(config, packed=packed, compile=True), learn(config, packed=packed)
    assert compiled.losses == pytest.approx(plain.losses, rel=tolerance)


@on_gpu_alone
@pytest.mark.parametrize(("first", "then"), [(DEVICE, CPU), (CPU, DEVICE)])
def test_a_checkpoint_goes_on_elsewhere_and_says_so(first, then, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = TrainingConfig(steps=STEPS, lr=3e-3)
    whole, asked = learn(config, device=first), iter(range(1, 100))
    with pytest.raises(TrainingStopped):
        learn(config, device=first, checkpoint_dir=tmp_path, should_stop=lambda: next(asked) >= STOP)
    with caplog.at_level(logging.WARNING, "model"):
        resumed = learn(config, device=then, checkpoint_dir=tmp_path)
    assert "Resuming under other numerics" in caplog.text and torch.cuda.get_device_name() in caplog.text
    assert resumed.losses == pytest.approx(whole.losses[STOP:], rel=1e-3)


def test_reward_models_go_on_to_the_same_bytes(tmp_path: Path):
    def loss(model, given):
        scores = model.score(given["input_ids"], given["attention_mask"])
        better = torch.arange(0, len(scores), 2, device=scores.device)
        value = pairwise_loss(scores.float(), better, better + 1, torch.ones_like(better, dtype=torch.float32))
        return value, {"weight": float(len(better))}

    def batches(step):
        ids = batch(step)["input_ids"]
        mask = torch.arange(ids.shape[1])[None] < 40 + 20 * torch.arange(len(ids))[:, None]
        return {"input_ids": ids, "attention_mask": mask}

    def run(**options):
        model = ScalarModel(SIZES)
        train(model, batches, loss, TrainingConfig(steps=6, lr=1e-3, precision="bf16"), device=DEVICE, **options)
        return weights(model)

    asked = iter(range(1, 100))
    with pytest.raises(TrainingStopped):
        run(checkpoint_dir=tmp_path, should_stop=lambda: next(asked) >= STOP)
    assert run(checkpoint_dir=tmp_path) == run()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ppo_goes_on_to_the_same_bytes(precision, tmp_path: Path):
    sizes = dataclasses.replace(SIZES, vocab_size=64, hidden_size=128, num_attention_heads=2)
    prompts = [[4, 5], [6], [8, 9, 10], [11], [12, 13]]
    settings = PPOSettings(
        iterations=4, batch_size=16, max_new_tokens=6, lr=1e-3, value_lr=1e-3, update_kl_limit=None, kl_target=0.01,
        precision=precision,
    )  # fmt: skip

    def score(numbers, responses):
        return torch.tensor([sum(token == 7 for token in response) / len(response) for response in responses]), {}

    def run(**options):
        policy = Transformer(sizes, generator=torch.Generator().manual_seed(1))
        reference, value = copy.deepcopy(policy), ScalarModel.from_causal(policy, 1)
        ends = {"eos_token_id": 2, "pad_token_id": 3, "device": DEVICE}
        train_ppo(policy, reference, value, prompts, score, settings, **ends, **options)
        return weights(policy), weights(value)

    asked = iter(range(1, 100))
    with pytest.raises(TrainingStopped):
        run(checkpoint_dir=tmp_path, should_stop=lambda: next(asked) >= 2)
    whole = run()
    assert run() == whole and run(checkpoint_dir=tmp_path) == whole


@on_gpu_alone
def test_drawing_tokens_deterministically_takes_little_memory():
    """PyTorch's deterministic running sum once took the square of the vocabulary."""
    rows, vocabulary = 64, 32_768
    logits = torch.randn(rows, vocabulary, device=DEVICE)
    uniform = torch.rand(rows, device=DEVICE)
    for sampling in (Sampling(), Sampling(top_k=50), Sampling(top_p=0.9)):
        chooser = Chooser([[0]] * rows, [sampling] * rows, vocabulary, DEVICE)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with deterministic_algorithms():
            drawn = chooser.choose(logits, uniform)
        assert torch.cuda.max_memory_allocated() - before < 20 * logits.nbytes, sampling
        assert drawn.shape == (rows,) and torch.equal(drawn, chooser.choose(logits, uniform))


@on_gpu_alone
@pytest.mark.parametrize(("precision", "packed"), [("bf16", True), ("fp32", False), ("fp32", True)])
def test_attention_holds_no_square_of_the_context_for_each_head(precision, packed):
    """PyTorch's fused kernels do not; where none takes the shapes it computes attention in full without a word."""
    rows, length = 2, 4096
    sizes = dataclasses.replace(SIZES, max_position_embeddings=length)
    ids = torch.randint(0, sizes.vocab_size, (rows, length), generator=torch.Generator().manual_seed(0))
    segments = (torch.arange(length) // 300).expand(rows, -1).contiguous()

    def peak(precision, packed):
        given = {"input_ids": ids, "targets": ids} | ({"segment_ids": segments} if packed else {})
        config = TrainingConfig(steps=2, optimizer="adamw", precision=precision)
        torch.cuda.reset_peak_memory_stats()
        train(Transformer(sizes), lambda step: given, language_modelling_loss, config, device=DEVICE)
        return torch.cuda.max_memory_allocated()

    square = 2 * rows * sizes.num_attention_heads * length**2  # bytes of one in bf16; each layer keeps it or more
    assert peak(precision, packed) < peak("bf16", False) + sizes.num_hidden_layers * square


@on_gpu_alone
def test_memory_is_that_of_the_gpu_and_products_run_as_fast_as_a_gpu_runs_them():
    kept = torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE)
    assert kept.nbytes <= peak_memory_bytes(DEVICE) == torch.cuda.max_memory_allocated()
    assert 5e13 < matmul_peak(DEVICE, "bf16") < 5e15
    assert 5e12 < matmul_peak(DEVICE, "fp32") < matmul_peak(DEVICE, "bf16")
