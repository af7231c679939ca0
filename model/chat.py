"""Conversations as tokens: ChatML, with loss only on what the assistant says.

    <|im_start|>user\\n{prompt}<|im_end|>\\n<|im_start|>assistant\\n{response}<|im_end|>\\n

Contents are stripped of surrounding white space, so that a turn's header and its content are always separate tokens,
in training as in generation. Special tokens are placed by id; the same characters inside a content stay text.
`CHAT_TEMPLATE` says the same to transformers, vLLM and llama.cpp, which render to text first and therefore do take
special tokens inside a content for real ones: sanitise there what users send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.errors import ChatError
from model.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def encode_messages(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False
) -> tuple[list[int], list[bool]]:
    """(ids, loss_mask) of a conversation of {"role", "content"} messages.

    loss_mask is True on every token of the assistant's contents and on the `<|im_end|>` after them.
    add_generation_prompt: end with the header of an assistant's turn.
    """
    if not messages:
        raise ChatError("the conversation is empty: give at least one message.")
    ids: list[int] = []
    loss_mask: list[bool] = []
    newline = tokenizer.encode("\n")
    for message in messages:
        role, content = _checked(message)
        header = [tokenizer.im_start_id, *tokenizer.encode(f"{role}\n")]
        body = [*tokenizer.encode(content.strip()), tokenizer.im_end_id]
        ids += header + body + newline
        loss_mask += [False] * len(header) + [role == "assistant"] * len(body) + [False] * len(newline)
    if add_generation_prompt:
        header = [tokenizer.im_start_id, *tokenizer.encode("assistant\n")]
        ids += header
        loss_mask += [False] * len(header)
    return ids, loss_mask


def _checked(message: Mapping[str, str]) -> tuple[str, str]:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise ChatError(f"a message has the role {role!r}: use one of {', '.join(ROLES)}.")
    if not isinstance(content, str):
        raise ChatError(f"the content of a message from {role} is {type(content).__name__}: give text.")
    return role, content


def render_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Ids of one question, ending where the assistant's answer begins."""
    return encode_messages(tokenizer, [{"role": "user", "content": prompt}], add_generation_prompt=True)[0]


def encode_pair(tokenizer: Tokenizer, prompt: str, response: str) -> tuple[list[int], list[bool]]:
    """(ids, loss_mask) of a question and its answer; ids start with `render_prompt(tokenizer, prompt)`.

    loss_mask is True on the answer's tokens and its `<|im_end|>`, and nowhere else.
    """
    return encode_messages(tokenizer, [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}])
