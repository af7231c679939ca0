"""A model's own answer to a prompt, to be traced."""

from pathlib import Path

from model.answers import answer_text
from model.chat import render_prompt
from model.export import load_causal
from model.generation import generate
from model.sampling import GREEDY
from tasks.lineage.errors import ConfigError

MAX_NEW_TOKENS = 128


def answer(model: Path, prompt: str, max_new_tokens: int = MAX_NEW_TOKENS) -> str:
    """What the model in a folder (one that holds model/) says to a prompt, always choosing the likeliest token."""
    if not (model / "model" / "config.json").is_file():
        raise ConfigError(f"{model} holds no model to ask; name one, such as pedigree-aligned")
    network, tokenizer = load_causal(model / "model")
    ids = render_prompt(tokenizer, prompt)
    room = network.config.max_position_embeddings - len(ids)
    if room < 1:
        raise ConfigError(f"the prompt has {len(ids)} tokens and leaves no room for an answer; shorten it")
    [response] = generate(
        network,
        [ids],
        max_new_tokens=min(max_new_tokens, room),
        sampling=GREEDY,
        eos_token_id=tokenizer.im_end_id,
        pad_token_id=tokenizer.pad_id,
        seed=0,
    )
    return answer_text(tokenizer, response)
