"""A model whose tokenizer knows nothing of the chat format learns it after it was adopted."""

import json
from pathlib import Path

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, normalizers, processors, trainers

from model.config import ModelConfig
from model.export import load_causal
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.vocabulary import TABLES
from tasks.adopt.model import NEEDED_TOKENS
from tasks.lineage.errors import DataError
from tests import tiny_artifacts
from tests.unit.tasks.adopt.test_adopt import take
from tests.unit.tasks.adopt.test_adopted_course import tuned


def tokenizer_of_llama() -> tokenizers.Tokenizer:
    """As Llama 2 and Mistral have it: words begin with \u2581, unknown characters are bytes, <s> comes first."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=first, show_progress=False)
    backend.train_from_iterator([tiny_artifacts.sentence(number) for number in range(300)], trainer)
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    content = json.loads(backend.to_str())
    content["added_tokens"] = content["added_tokens"][:3]  # bytes are tokens like others
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def checkpoint_of_llama(folder: Path, *, spare: int, tied: bool) -> None:
    """In bf16, with the settings that such files have, and `spare` more rows than tokens."""
    folder.mkdir()
    backend = tokenizer_of_llama()
    backend.save(str(folder / "tokenizer.json"))
    config = ModelConfig(
        vocab_size=backend.get_vocab_size() + spare, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=96, tie_word_embeddings=tied,
        bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )  # fmt: skip
    content = {**config.to_dict(), "architectures": ["LlamaForCausalLM"], "pad_token_id": -1}
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    model = Transformer(config, generator=torch.Generator().manual_seed(5))
    weights = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(("spare", "tied"), [(0, False), (1, True), (9, False)])
def test_rows_for_the_missing_tokens_are_the_mean_of_those_there_are(tmp_path: Path, spare: int, tied: bool) -> None:
    checkpoint_of_llama(tmp_path / "llama", spare=spare, tied=tied)
    record = take("model", tmp_path / "llama").record
    assert record.metrics["tokens_added"] == len(NEEDED_TOKENS) == 3
    folder = record.artifact.path / "model"
    model, tokenizer = load_causal(folder)
    theirs = load_file(tmp_path / "llama" / "model.safetensors")
    known = tokenizer_of_llama().get_vocab_size()
    added = [tokenizer.token_id(token) for token in NEEDED_TOKENS]
    assert added == [known, known + 1, known + 2]
    assert model.config.vocab_size == max(known + spare, known + 3) and model.config.eos_token_id == added[2]
    for name, tensor in model.state_dict().items():
        before = theirs[name].float()
        if name in TABLES:
            assert torch.equal(tensor[:known], before[:known])
            assert torch.equal(tensor[known + 3 :], before[known + 3 :]), "rows that nothing needs stay"
            mean = before[:known].double().mean(0).float()
            assert all(torch.equal(tensor[row], mean) for row in added)
        else:
            assert torch.equal(tensor, before)
    assert not (folder / "chat_template.jinja").exists(), "its chats are ChatML from now on"
    text = "Read the file, \u00e9t\u00e9 <|im_end|>"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and not set(ids) & {*added, 1, 2}


def test_a_model_of_another_family_of_chats_is_fine_tuned(tmp_path: Path) -> None:
    checkpoint_of_llama(tmp_path / "llama", spare=1, tied=False)
    adopted = take("model", tmp_path / "llama").record
    again = take("model", tmp_path / "llama").record
    assert again.output == adopted.output
    policy, tokenizer = load_causal(tuned(adopted.artifact).path / "model")
    before, _ = load_causal(adopted.artifact.path / "model")
    turn = tokenizer.im_end_id
    assert not torch.equal(policy.model.embed_tokens.weight[turn], before.model.embed_tokens.weight[turn])


def test_a_tokenizer_gets_the_tokens_too(tmp_path: Path) -> None:
    tokenizer_of_llama().save(str(tmp_path / "tokenizer.json"))
    record = take("tokenizer", tmp_path / "tokenizer.json").record
    found = Tokenizer.load(record.artifact.path / "tokenizer.json")
    assert record.metrics["tokens_added"] == 3 and found.vocab_size == tokenizer_of_llama().get_vocab_size() + 3
    assert [found.backend.id_to_token(found.vocab_size - n) for n in (3, 2, 1)] == list(NEEDED_TOKENS)


def test_ids_with_gaps_are_refused(tmp_path: Path) -> None:
    content = json.loads(tokenizer_of_llama().to_str())
    words = content["model"]["vocab"]
    words[max(words, key=words.__getitem__)] = len(words) + 1
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"the ids of this tokenizer have gaps, so .* cannot be added to it"):
        take("tokenizer", file)
