import pytest
import torch
import torch.nn.functional as F

from model.config import ModelConfig
from model.generation import generate
from model.matrices import LARGE, Bf16Matrix, Matrix
from model.sampling import GREEDY
from model.transformer import Transformer


@pytest.mark.parametrize(("kind", "tolerance"), [(Matrix, 1e-5), (Bf16Matrix, 2e-2)])
@pytest.mark.parametrize("size", [(24, 40), (256, 256)])  # one is left as it is, the other packed
@pytest.mark.parametrize("rows", [1, 5, 16, 70])
def test_products_are_those_of_the_matrix(kind, tolerance, size, rows):
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(size, generator=random) / size[1] ** 0.5
    bias, x = torch.randn(size[0], generator=random), torch.randn(rows, size[1], generator=random)
    matrix, expected = kind(weight), F.linear(x, weight)
    if kind is Matrix:
        assert matrix.packed == (weight.numel() >= LARGE and torch.backends.mkldnn.is_available())
    close = {"atol": tolerance, "rtol": tolerance}
    torch.testing.assert_close(matrix.product(x).float(), expected, **close)
    torch.testing.assert_close(matrix.product(x, bias), expected + bias, **close)
    half = torch.cat((x, x), dim=1)[:, : size[1]]  # as gate and up are: a part of wider rows
    target = torch.ones(rows, size[0])
    matrix.add_product(target, half)
    torch.testing.assert_close(target, expected + 1, **close)


def test_greedy_answers_of_a_model_with_large_matrices_are_those_of_the_plain_forward_pass():
    model = Transformer(ModelConfig(300, 256, 256, 2, 4, 2, max_position_embeddings=32, initializer_range=0.1)).eval()
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]
    answers = generate(
        model, prompts, max_new_tokens=8, sampling=GREEDY, eos_token_id=[], pad_token_id=0, seed=0
    )  # fmt: skip
    for prompt, answer in zip(prompts, answers, strict=True):
        tokens = list(prompt)
        for _ in answer:
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
        assert tokens[len(prompt) :] == answer
