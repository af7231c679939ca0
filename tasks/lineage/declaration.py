"""What a person declares of an artifact that was made elsewhere: where from, under which licence, who says so and why.

The engine cannot check any of it, so wherever the artifact is shown, and whatever is made from it, it says "declared".
"""

import unicodedata
from urllib.parse import urlsplit

from pydantic import Field

from tasks.lineage.config import StageConfig
from tasks.lineage.errors import ConfigError

LONGEST = 2000  # characters of one entry

MADE_ELSEWHERE = "declared, not made here"


class Statement(StageConfig):
    """What is declared of the content itself: it takes part in the key, since texts carry it on."""

    given: str = Field(description="digest over the names and contents of the files as they were given")
    origin: str = Field(description="URI")
    license: str | None = Field(None, description="SPDX where known")
    made_from: tuple[str, ...] = Field((), description="URIs or plain words")


class Declaration(Statement):
    """The whole declaration. corrects: key of the earlier record whose declaration of the same files was wrong."""

    because: str
    by: str
    at: str = Field(description="ISO 8601, UTC")
    corrects: str | None = None

    def says_the_same(self, statement: Statement) -> bool:
        """Whether the content is declared to be the same thing; who says so, when and why may differ."""
        fields = Statement.model_fields
        return all(getattr(self, name) == getattr(statement, name) for name in fields)


def declared_sentence(declaration: Declaration) -> str:
    """A declaration in one line."""
    made_from = f", made from {', '.join(declaration.made_from)}" if declaration.made_from else ""
    return (
        f"{MADE_ELSEWHERE}: from {declaration.origin}, licence {declaration.license or 'not declared'}{made_from} "
        f"(by {declaration.by} on {declaration.at[:10]}: {declaration.because})"
    )


def checked_line(value: str, what: str) -> str:
    """One line of text that a page, a tag and a table can show. Raises ConfigError for what cannot be."""
    text = value.strip()
    if not text:
        raise ConfigError(f"{what} is empty: it is shown with the artifact ever after, so say it.")
    if len(text) > LONGEST:
        raise ConfigError(f"{what} has {len(text):,} characters, and {LONGEST:,} are the most.")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") for character in text):
        raise ConfigError(f"{what} holds a line break, control character or half a character: write it on one line.")
    if any(ord(character) in range(0x202A, 0x202F) or ord(character) in range(0x2066, 0x206A) for character in text):
        raise ConfigError(f"{what} holds characters that turn the direction of writing: leave them out.")
    return text


def checked_origin(value: str) -> str:
    """An absolute URI. Raises ConfigError for anything else."""
    text = checked_line(value, "the origin")
    scheme, colon, rest = text.partition(":")
    named = scheme[:1].isalpha() and all(part.isalnum() or part in "+-." for part in scheme) and scheme.isascii()
    if not (colon and named and rest.strip("/") and not any(character.isspace() for character in text)):
        raise ConfigError(
            f"the origin {text!r} is no URI: say where it is from, such as https://example.org/data or "
            "hf://HuggingFaceTB/SmolLM2-135M, or for what never had an address urn:our-lab:interviews-2024."
        )
    try:
        secret = urlsplit(text).password
    except ValueError as error:
        raise ConfigError(f"the origin {text!r} is no URI: {error}.") from error
    if secret is not None:
        raise ConfigError("the origin holds a password, which would be shown ever after: leave it out.")
    return text
