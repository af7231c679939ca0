import time

import torch

from model import throughput
from model.scalar import ScalarModel
from model.throughput import flops_per_token, matmul_peak
from tests.one_batch import language_model

CPU = torch.device("cpu")


def test_the_peak_is_that_of_the_best_product_and_measured_once():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    peak = matmul_peak(CPU, "fp32")
    assert matmul_peak(CPU, "fp32") == peak, "it was measured again"
    assert torch.equal(torch.get_rng_state(), before), "a random generator moved"
    left = torch.rand(768, 768)
    began = time.perf_counter()
    left @ left
    assert peak > 0.1 * 2 * 768**3 / (time.perf_counter() - began)
    assert 1e8 < peak < 1e15


def test_each_number_of_threads_has_its_own_peak(monkeypatch):
    throughput._matmul_peak.cache_clear()
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        matmul_peak(CPU, "fp32")
    assert throughput._matmul_peak.cache_info().misses == 2


def test_flops_of_a_token_with_and_without_the_vocabulary():
    model = language_model(vocab_size=40, context=32)
    assert flops_per_token(model, 8) == model.config.flops_per_token(8)
    scalar = ScalarModel.from_causal(model)
    assert flops_per_token(scalar, 8) == model.config.flops_per_token(8) - 6 * 40 * 16
    assert flops_per_token(torch.nn.Linear(2, 2), 8) is None
