import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from model.config import ModelConfig
from model.errors import InputError
from model.transformer import FeedForward, Transformer, default_positions

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 48,
}
VARIANTS = [
    pytest.param({}, id="one key head each, tied"),
    pytest.param({"num_key_value_heads": 2, "tie_word_embeddings": False}, id="grouped, untied"),
    pytest.param({"num_key_value_heads": 1, "rope_theta": 500.0, "rms_norm_eps": 1e-3}, id="one group, other theta"),
    pytest.param({"head_dim": 6, "tie_word_embeddings": False, "num_hidden_layers": 3}, id="own head size, deeper"),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(change: dict, seed: int = 0) -> tuple[Transformer, LlamaForCausalLM]:
    """Our model and transformers' with the same weights, large enough for attention to matter."""
    config = ModelConfig(**{**SIZES, **change}, initializer_range=0.2)
    ours = Transformer(config, generator=generator(seed))
    for name, parameter in ours.named_parameters():
        if "norm" in name:  # norms start at one, which would hide a swapped or forgotten weight
            torch.nn.init.uniform_(parameter, 0.5, 1.5, generator=generator(seed + 1))
    theirs = LlamaForCausalLM(LlamaConfig(**config.to_dict())).eval()
    keys = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert keys.unexpected_keys == []
    assert set(keys.missing_keys) <= ({"lm_head.weight"} if config.tie_word_embeddings else set())
    theirs.tie_weights()
    return ours, theirs


def ids(*shape: int, seed: int = 5) -> torch.Tensor:
    return torch.randint(4, 60, shape, generator=generator(seed))


@pytest.mark.parametrize("change", VARIANTS)
@pytest.mark.parametrize("method", ["sdpa", "matmul"])
def test_logits_equal_transformers(change, method):
    ours, theirs = pair(change)
    ours.model.attention = method
    torch.testing.assert_close(ours(ids(3, 20)), theirs(ids(3, 20)).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("method", ["sdpa", "matmul"])
def test_padded_logits_equal_transformers(side, method):
    ours, theirs = pair({"num_key_value_heads": 2})
    ours.model.attention = method
    mask = torch.ones(3, 12, dtype=torch.bool)
    mask[1, :5] = mask[2, :11] = False
    mask = mask if side == "left" else mask.flip(1)
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    expected = theirs(ids(3, 12), attention_mask=mask.long(), position_ids=positions).logits
    torch.testing.assert_close(ours(ids(3, 12), attention_mask=mask)[mask], expected[mask], atol=1e-5, rtol=0)


def test_padding_changes_nothing():
    model, _ = pair({"num_key_value_heads": 2})
    row = ids(1, 7)
    padded = torch.cat((torch.full((1, 4), 3), row), dim=1)
    mask = torch.tensor([[False] * 4 + [True] * 7])
    torch.testing.assert_close(model(padded, attention_mask=mask)[:, 4:], model(row), atol=1e-5, rtol=0)
    assert model(padded, attention_mask=mask).isfinite().all()


def test_given_positions_are_used_as_transformers_uses_them():
    ours, theirs = pair({})
    positions = torch.tensor([[0, 3, 4, 9, 20, 40], [1, 2, 3, 4, 5, 6]])
    expected = theirs(ids(2, 6), position_ids=positions).logits
    torch.testing.assert_close(ours(ids(2, 6), position_ids=positions), expected, atol=1e-5, rtol=0)
    assert not torch.allclose(ours(ids(2, 6), position_ids=positions), ours(ids(2, 6)), atol=1e-3)


@pytest.mark.parametrize("method", ["sdpa", "matmul"])
def test_packed_documents_equal_documents_alone(method):
    model, _ = pair({"num_key_value_heads": 2})
    model.model.attention = method
    documents = [ids(1, n, seed=n) for n in (5, 1, 9, 3)]
    row = torch.cat(documents, dim=1)
    segments = torch.tensor([[number for number, d in enumerate(documents) for _ in range(d.shape[1])]])
    alone = torch.cat([model(document) for document in documents], dim=1)
    torch.testing.assert_close(model(row, segment_ids=segments), alone, atol=1e-5, rtol=0)
    assert not torch.allclose(model(row), alone, atol=1e-2)  # without segments, documents would see each other


def test_packed_gradients_equal_those_of_documents_alone():
    packed, _ = pair({"num_key_value_heads": 2})
    alone, _ = pair({"num_key_value_heads": 2})
    documents = [ids(1, n, seed=n) for n in (6, 4)]
    row, segments = torch.cat(documents, dim=1), torch.tensor([[8] * 6 + [2] * 4])
    packed(row, segment_ids=segments).square().sum().backward()
    sum(alone(document).square().sum() for document in documents).backward()
    for ours, theirs in zip(packed.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-3, rtol=1e-4)


def test_a_token_never_sees_what_follows():
    model, _ = pair({"num_key_value_heads": 2})
    row = ids(1, 10)
    changed = row.clone()
    changed[0, 6:] = (changed[0, 6:] + 1) % 60
    before, after = model(row), model(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.equal(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize("change", VARIANTS[:2])
def test_loss_gradients_equal_transformers(change):
    ours, theirs = pair(change)
    tokens = ids(2, 16)
    for model, logits in ((ours, ours(tokens)), (theirs, theirs(tokens).logits)):
        F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
        assert model.get_parameter("model.norm.weight").grad is not None
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["sdpa", "matmul"])
def test_gradients_in_float64_equal_finite_differences(method):
    config = ModelConfig(
        vocab_size=7,
        hidden_size=8,
        intermediate_size=6,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8,
        initializer_range=0.5,
    )
    model = Transformer(config, generator=generator(), attention=method).double()
    tokens, segments = torch.tensor([[1, 5, 2, 6, 3]]), torch.tensor([[0, 0, 0, 1, 1]])
    names = [name for name, _ in model.named_parameters() if "layers.0" in name or "norm" in name]

    def loss(*values: torch.Tensor) -> torch.Tensor:
        state = {**dict(model.named_parameters()), **dict(zip(names, values, strict=True))}
        return torch.func.functional_call(model, state, (tokens,), {"segment_ids": segments}).log_softmax(-1)[0, :, 2]

    values = [model.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(loss, values, fast_mode=True)


def test_bf16_ways_agree_within_its_rounding():
    model, theirs = pair({"num_key_value_heads": 2})
    exact = model(ids(2, 16))
    for method in ("auto", "sdpa", "matmul"):
        model.model.attention = method
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids(2, 16))
        assert logits.dtype == torch.bfloat16
        # 8 bits of mantissa through two layers of random weights
        assert (logits - exact).abs().max() < 0.05 * exact.abs().max()
        assert (logits - exact).abs().mean() < 2 * _bf16_error(theirs, exact)


def _bf16_error(theirs: LlamaForCausalLM, exact: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return (theirs(ids(2, 16)).logits - exact).abs().mean()


def test_a_state_of_transformers_loads_with_its_duplicate_head():
    ours, theirs = pair({})
    assert "lm_head.weight" in theirs.state_dict()
    fresh = Transformer(ours.config, generator=generator(9))
    fresh.load_state_dict(theirs.state_dict())
    assert torch.equal(fresh(ids(1, 4)), ours(ids(1, 4)))


def test_names_are_those_of_transformers():
    ours, theirs = pair({"tie_word_embeddings": False})
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_initial_weights_follow_the_seed_and_leave_the_global_generator_alone():
    config = ModelConfig(**SIZES)
    before = torch.get_rng_state()
    first, same, other = (
        Transformer(config),
        Transformer(config, generator=generator(0)),
        Transformer(config, generator=generator(1)),
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first.output_weight, other.output_weight)


def test_initial_spread_is_smaller_where_layers_write_into_the_stream():
    config = ModelConfig(**{**SIZES, "num_hidden_layers": 8, "hidden_size": 128}, tie_word_embeddings=False)
    model = Transformer(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert torch.equal(parameter, torch.ones_like(parameter))
            continue
        expected = 0.02 / 4 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
        assert parameter.std().item() == pytest.approx(expected, rel=0.05), name


def test_positions_count_from_the_first_real_token_and_from_each_segment():
    mask = torch.tensor([[False, False, True, True], [True, True, True, False]])
    assert default_positions(mask, None).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]
    segments = torch.tensor([[4, 4, 4, 1, 7, 7], [0, 0, 0, 0, 0, 0]])
    assert default_positions(None, segments).tolist() == [[0, 1, 2, 0, 0, 1], [0, 1, 2, 3, 4, 5]]
    assert default_positions(None, None) is None


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of PyTorch's tracer, between two graphs
@pytest.mark.parametrize("method", ["sdpa", "matmul"])
def test_the_compiler_sees_one_graph_but_for_attention_written_out(method):
    model = Transformer(ModelConfig(**SIZES, num_key_value_heads=2), attention=method)
    compiled = torch.compile(model, fullgraph=method == "sdpa", backend="eager")
    segments = torch.tensor([[0] * 5 + [1] * 3])
    assert torch.equal(compiled(ids(1, 8), segment_ids=segments), model(ids(1, 8), segment_ids=segments))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(compiled(ids(1, 8)), model(ids(1, 8)))
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"input_ids": torch.zeros(1, 49, dtype=torch.long)}, "49 tokens exceed max_position_embeddings 48"),
        ({"input_ids": torch.zeros(3, dtype=torch.long)}, "pass a batch"),
        ({"input_ids": torch.zeros(2, 0, dtype=torch.long)}, "at least one token"),
        (
            {"input_ids": torch.zeros(2, 3, dtype=torch.long), "attention_mask": torch.ones(2, 4)},
            "attention_mask has shape",
        ),
        ({"input_ids": torch.zeros(2, 3, dtype=torch.long), "segment_ids": torch.ones(3)}, "segment_ids has shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        Transformer(ModelConfig(**SIZES))(**arguments)


def test_the_gate_is_not_kept_and_gives_the_same_gradients():
    config = ModelConfig(**SIZES)
    block, x = FeedForward(config).double(), torch.randn(3, 32, dtype=torch.float64, requires_grad=True)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator())
    kept = set()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.add((tensor.data_ptr(), tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ours = block(x)
    plain = block.down_proj(F.silu(block.gate_proj(x)) * block.up_proj(x))
    assert torch.equal(ours, plain)
    assert len([shape for _, shape in kept if shape == (3, 40)]) == 3  # gate, up, and what goes down
    wanted = (x, *block.parameters())
    for mine, reference in zip(
        torch.autograd.grad(ours.sum(), wanted), torch.autograd.grad(plain.sum(), wanted), strict=True
    ):
        assert torch.equal(mine, reference)
    assert torch.autograd.gradcheck(block, (x,))
