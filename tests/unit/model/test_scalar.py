import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from model.config import ModelConfig
from model.errors import InputError, ModelConfigError
from model.scalar import ScalarModel
from model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=60,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32,
    initializer_range=0.2,
)


def ids(*shape: int) -> torch.Tensor:
    return torch.randint(4, 60, shape, generator=torch.Generator().manual_seed(5))


def right_padded() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of 9, 4 and 1 real tokens."""
    mask = torch.arange(9)[None] < torch.tensor([9, 4, 1])[:, None]
    return ids(3, 9).masked_fill(~mask, 3), mask


def test_scores_equal_transformers():
    ours = ScalarModel(CONFIG)
    theirs = LlamaForSequenceClassification(LlamaConfig(**CONFIG.to_dict(), num_labels=1)).eval()
    theirs.load_state_dict(ours.state_dict())
    input_ids, mask = right_padded()
    expected = theirs(input_ids, attention_mask=mask.long()).logits.squeeze(1)
    torch.testing.assert_close(ours.score(input_ids, mask), expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.1


def test_score_is_the_number_at_the_last_real_token():
    model = ScalarModel(CONFIG)
    input_ids, mask = right_padded()
    values = model(input_ids, mask)
    assert values.shape == (3, 9)
    assert torch.equal(model.score(input_ids, mask), values[[0, 1, 2], [8, 3, 0]])
    assert torch.equal(model.score(input_ids), model(input_ids)[:, -1])


def test_the_side_of_the_padding_does_not_matter():
    model = ScalarModel(CONFIG)
    row = ids(1, 5)
    padding, hidden = torch.full((1, 3), 3), torch.zeros(1, 3, dtype=torch.bool)
    real = torch.ones(1, 5, dtype=torch.bool)
    left = model.score(torch.cat((padding, row), 1), torch.cat((hidden, real), 1))
    right = model.score(torch.cat((row, padding), 1), torch.cat((real, hidden), 1))
    torch.testing.assert_close(left, right, atol=1e-5, rtol=0)
    torch.testing.assert_close(left, model.score(row), atol=1e-5, rtol=0)


def test_first_layers_come_from_the_causal_model_as_a_copy():
    causal = Transformer(CONFIG, generator=torch.Generator().manual_seed(3))
    scalar = ScalarModel.from_causal(causal, 2)
    assert scalar.config.num_hidden_layers == 2
    assert scalar.num_parameters() < CONFIG.num_parameters()
    for name, tensor in scalar.model.state_dict().items():
        assert torch.equal(tensor, causal.model.state_dict()[name]), name
    with torch.no_grad():
        scalar.model.embed_tokens.weight.zero_()
    assert causal.model.embed_tokens.weight.abs().sum() > 0


def test_all_layers_give_the_hidden_states_of_the_causal_model():
    causal = Transformer(CONFIG)
    scalar = ScalarModel.from_causal(causal)
    assert torch.equal(scalar(ids(2, 6)), scalar.head(causal.hidden(ids(2, 6))).squeeze(-1))


def test_first_scores_have_about_unit_variance():
    config = ModelConfig(
        vocab_size=500, hidden_size=256, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
    scores = torch.stack(
        [
            ScalarModel(config, generator=torch.Generator().manual_seed(s)).score(torch.arange(500)[:, None])
            for s in range(4)
        ]
    )
    assert 0.6 < scores.std().item() < 1.4


@pytest.mark.parametrize("depth", [0, 4])
def test_a_depth_the_causal_model_lacks_is_refused(depth):
    with pytest.raises(ModelConfigError, match="the causal model has 3"):
        ScalarModel.from_causal(Transformer(CONFIG), depth)


def test_a_row_without_tokens_is_refused():
    mask = torch.tensor([[True, True], [False, False]])
    with pytest.raises(InputError, match="no real token"):
        ScalarModel(CONFIG).score(ids(2, 2), mask)


def test_names_are_those_of_transformers():
    theirs = LlamaForSequenceClassification(LlamaConfig(**CONFIG.to_dict(), num_labels=1))
    assert ScalarModel(CONFIG).state_dict().keys() == theirs.state_dict().keys()
