"""Which tokens begin and end a text for a model, as its own folder says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import ModelFormatError
from model.tokenizer import END_OF_TEXT, PADDING, TURN_END, Tokenizer

# In the order in which their place is told: what ends a document comes before what ends a turn.
KNOWN_ENDS = (END_OF_TEXT, "</s>", TURN_END)
KNOWN_START = "<s>"


@dataclass(frozen=True)
class Boundaries:
    """Token ids. start: stands before a text (None: nothing does). end: follows a document. stops: any of them ends
    what is generated, as transformers' `generate` does with the same folder. pad: fills rows."""

    start: int | None
    end: int
    stops: tuple[int, ...]
    pad: int

    @property
    def before_document(self) -> int:
        """What stands before a document in a stream of them: the start, or the end of the document before."""
        return self.end if self.start is None else self.start


def read_boundaries(directory: str | Path, tokenizer: Tokenizer) -> Boundaries:
    """Of a model directory: what generation_config.json says, else config.json, else the tokenizer.

    Models of this project read `<|endoftext|>` before a text and after a document; so does whatever has this token.
    Raises `ModelFormatError` where an end is named nowhere.
    """
    told = [_content(Path(directory) / name) for name in ("generation_config.json", "config.json")]
    return _boundaries(tokenizer, told, str(directory))


def tokenizer_boundaries(tokenizer: Tokenizer) -> Boundaries:
    """Of a tokenizer alone. Raises `ModelFormatError` where it has no token that is known to end a text."""
    return _boundaries(tokenizer, [], "the tokenizer")


def _boundaries(tokenizer: Tokenizer, told: list[tuple[Path, dict[str, Any]]], origin: str) -> Boundaries:
    known = [number for token in KNOWN_ENDS if (number := tokenizer.backend.token_to_id(token)) is not None]
    stops = _first(told, "eos_token_id") or known
    if not stops:
        raise ModelFormatError(
            f"{origin} names no token that ends a text (eos_token_id in generation_config.json or config.json, or one "
            f"of {' '.join(KNOWN_ENDS)} in tokenizer.json): add it to generation_config.json."
        )
    document_end = tokenizer.backend.token_to_id(END_OF_TEXT)
    starts, pads = _first(told, "bos_token_id"), _first(told, "pad_token_id")
    start = starts[0] if starts else tokenizer.backend.token_to_id(KNOWN_START)
    pad = pads[0] if pads else tokenizer.backend.token_to_id(PADDING)
    end = stops[0] if document_end is None else document_end
    return Boundaries(
        start=start if document_end is None else document_end,
        end=end,
        stops=tuple(dict.fromkeys(stops)),
        pad=end if pad is None else pad,
    )


def _first(told: list[tuple[Path, dict[str, Any]]], name: str) -> list[int]:
    """The ids under this name in the first file that has any; a single one as a list of one."""
    for path, content in told:
        value = content.get(name)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if any(not isinstance(one, int) or isinstance(one, bool) or one < 0 for one in ids):
            raise ModelFormatError(f"{name} in {path} is {value!r}: give a token id, or a list of them.")
        if ids:
            return ids
    return []


def _content(path: Path) -> tuple[Path, dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is not JSON ({error}): copy or export the model again.") from error
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path} does not hold a JSON object: copy or export the model again.")
    return path, content
