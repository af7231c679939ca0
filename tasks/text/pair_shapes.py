"""Prompt–response pairs in the shapes that people keep them in.

- {"prompt", "response"}, {"question", "answer"}, {"instruction", "output"} with or without {"input"}
- {"instruction", "instances": [{"input", "output"}]}, as self-instruct's seed tasks
- {"messages": [{"role", "content"}]}
- {"chosen"}, a list of messages or a transcript of turns: "Human: …", "Assistant: …"; {"rejected"} is not read

Of a conversation the first exchange is taken: later ones need the earlier to be understood.
"""

import re
from collections.abc import Mapping
from typing import Any

SHAPES = (
    "prompt and response (or completion, chosen), question and answer, instruction and output, instruction and "
    "instances, messages, or a chosen transcript"
)
_TURN = re.compile(r"\n\n(Human|Assistant):")
_USERS = ("user", "human")
_ASSISTANTS = ("assistant", "gpt", "model")


def pairs_of(fields: Mapping[str, Any]) -> list[tuple[str, str]] | str:
    """The (prompt, response) pairs of a row, stripped; or the reason why it holds none."""
    found = _pairs(fields)
    if isinstance(found, str):
        return found
    pairs = [(prompt.strip(), response.strip()) for prompt, response in found]
    if not all(prompt and response for prompt, response in pairs):
        return "an empty prompt or response"
    return pairs or "a list without any pair"


def _pairs(fields: Mapping[str, Any]) -> list[tuple[str, str]] | str:
    if isinstance(fields.get("messages"), list):
        return _first_exchange(fields["messages"], "role", "content")
    if isinstance(fields.get("conversations"), list):
        return _first_exchange(fields["conversations"], "from", "value")
    if isinstance(fields.get("instances"), list):
        return _instances(fields)
    instruction = _text(fields, "instruction")
    if instruction is not None:
        output = _text(fields, "output", "response")
        if output is None:
            return f"an instruction without an output (its fields: {_names(fields)})"
        return [(_with_input(instruction, _text(fields, "input", "context")), output)]
    prompt = _text(fields, "prompt", "question")
    response = _text(fields, "response", "answer", "completion", "chosen")
    if prompt is not None and response is not None:
        return [(prompt, response)]
    chosen = fields.get("chosen")
    if isinstance(chosen, list):
        return _first_exchange(chosen, "role", "content")
    if isinstance(chosen, str):
        return _transcript(chosen)
    return f"no pair in its fields ({_names(fields)}); give {SHAPES}"


def _text(fields: Mapping[str, Any], *names: str) -> str | None:
    return next((fields[name] for name in names if isinstance(fields.get(name), str)), None)


def _names(fields: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, fields))[:8]) or "none"


def _with_input(instruction: str, given: str | None) -> str:
    return f"{instruction.strip()}\n\n{given.strip()}" if given and given.strip() else instruction


def _instances(fields: Mapping[str, Any]) -> list[tuple[str, str]] | str:
    instruction = _text(fields, "instruction")
    if instruction is None:
        return "instances without an instruction"
    found = []
    for instance in fields["instances"]:
        output = _text(instance, "output") if isinstance(instance, dict) else None
        if output is None:
            return "an instance without an output"
        found.append((_with_input(instruction, _text(instance, "input")), output))
    return found


def _first_exchange(messages: list[Any], role: str, content: str) -> list[tuple[str, str]] | str:
    system, prompt = "", None
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get(content), str):
            return f"a message without {role!r} and {content!r}"
        author, text = message.get(role), message[content]
        if author == "system" and prompt is None:
            system = text
        elif author in _USERS and prompt is None:
            prompt = _with_input(system, text) if system else text
        elif author in _ASSISTANTS and prompt is not None:
            return [(prompt, text)]
        else:
            break
    return "messages that do not begin with a user's and an assistant's"


def _transcript(text: str) -> list[tuple[str, str]] | str:
    turns = _TURN.split(text if text.startswith("\n\n") else f"\n\n{text}")
    if turns[1:4:2] != ["Human", "Assistant"]:
        return "a transcript that does not begin with Human and Assistant"
    return [(turns[2], turns[4])]
