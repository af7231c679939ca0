"""Whether a model can be asked in the chat format that `model/chat.py` writes."""

import json
import logging
from pathlib import Path

from model.chat import CHAT_TEMPLATE
from model.command.errors import CommandError
from model.tokenizer import TURN_END, TURN_START, Tokenizer

log = logging.getLogger(__name__)


def check_chat(directory: Path, tokenizer: Tokenizer) -> None:
    """Raises CommandError where the tokenizer lacks the tokens of turns; warns where the model's own template is
    another one."""
    if any(tokenizer.backend.token_to_id(token) is None for token in (TURN_START, TURN_END)):
        raise CommandError(
            f"{directory} has no tokens {TURN_START} and {TURN_END}, so it was not taught the chat format that is "
            f"written here (ChatML): leave out --chat, and write its own format into the prompt."
        )
    template = _template(directory)
    if template not in (None, CHAT_TEMPLATE):
        log.warning(
            "the model's own chat template differs from plain ChatML, which is used here; it may, for instance, put a "
            "system message first"
        )


def _template(directory: Path) -> str | None:
    file, settings = directory / "chat_template.jinja", directory / "tokenizer_config.json"
    if file.is_file():
        return file.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    template = content.get("chat_template") if isinstance(content, dict) else None
    return None if template is None else str(template)
