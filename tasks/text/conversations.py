"""Conversations as text: each turn a paragraph that begins with who speaks, "User: …", "Assistant: …".

So they read as dialogues do in books and forums. Chat tokens belong to fine-tuning; a tokenizer must not learn them as
text.
"""

from collections.abc import Mapping
from typing import Any

FIELDS = ("messages", "conversations", "conversation")
_SPEAKERS = {"human": "User", "prompter": "User", "gpt": "Assistant", "model": "Assistant", "bot": "Assistant"}


def conversation_of(fields: Mapping[str, Any]) -> str | None:
    """The text of a row's conversation; None where it has none.

    A conversation is a list of {"role", "content"} or {"from", "value"}; a content may be a list of parts, of which
    those of text are taken.
    """
    for name in FIELDS:
        turns = fields.get(name)
        if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
            spoken = [_turn(turn) for turn in turns]
            if all(turn is not None for turn in spoken):
                return "\n\n".join(turn for turn in spoken if turn)
    return None


def _turn(turn: Mapping[str, Any]) -> str | None:
    """One paragraph, empty for a turn without text (a call of a tool, a picture); None where it is no turn at all."""
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    if not isinstance(role, str):
        return None
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if content is None:
        content = ""
    if not isinstance(content, str):
        return None
    speaker = _SPEAKERS.get(role.lower(), role[:1].upper() + role[1:])
    return f"{speaker}: {content.strip()}" if content.strip() else ""
