"""The settings of `clean`: what is mended, masked and dropped, and by which limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from tasks.stage import StageConfig, neutral
from tasks.text.language import UNDETERMINED, identifier
from tasks.text.personal_data import KINDS, PersonalData
from tasks.text.rule_presets import CODE, DOCSTRING, HTML, MARKDOWN, PAPERS, TEXT, Preset
from tasks.text.rules import RuleLimits

CODE_KIND = "code"


class CleanConfig(StageConfig):
    """Mended, plain text of sufficient quality, by a preset of rules for each kind of text."""

    rules: Preset = Field(
        "by_kind",
        title="Rules",
        description="by_kind: the sections below. gopher, c4, fineweb: that paper's rules for web pages, for every "
        "kind of text but code",
        json_schema_extra=neutral("by_kind"),
    )
    docstring: RuleLimits = Field(DOCSTRING, title="Docstrings")
    markdown: RuleLimits = Field(MARKDOWN, title="Markdown and reStructuredText")
    html: RuleLimits = Field(HTML, title="Web pages")
    text: RuleLimits = Field(TEXT, title="Plain text")
    code: RuleLimits = Field(CODE, title="Code")
    languages: list[str] = Field(
        [],
        title="Languages",
        description="keep only these, as ISO 639-1 codes such as en or de; und stands for texts whose language cannot "
        "be told. Code is kept. Empty: all",
        json_schema_extra=neutral([]),
    )
    mask: list[PersonalData] = Field(
        list(KINDS),
        title="Personal data to mask",
        description="email, ip_address (public ones), card_number, iban, secret (keys and tokens of services), phone",
    )
    shared_line_documents: int | None = Field(
        None,
        ge=2,
        title="Lines that many documents share",
        description="drop a line that stands in at least so many documents; reads the text twice. Empty: off",
        json_schema_extra=neutral(None),
    )
    shared_line_scope: str = Field(
        "origin",
        pattern="^(origin|corpus)$",
        title="Shared within",
        description="origin: documents of one origin (a package, a site). corpus: all documents",
        json_schema_extra=neutral("origin"),
    )
    shared_line_chars: int = Field(
        30,
        ge=1,
        title="Shortest shared line",
        description="bytes; shorter lines are headings more often than boilerplate",
        json_schema_extra=neutral(30),
    )
    undesirable_words: list[str] = Field(
        [],
        max_length=10_000,
        title="More undesirable words",
        description="words or phrases added to the built-in list; any case",
    )
    min_quality: float | None = Field(
        None,
        ge=0,
        le=1,
        title="Lowest quality",
        description="by the classifier that classifiers.quality names. Empty: the threshold it was trained with",
        json_schema_extra=neutral(None),
    )
    max_undesirable_content: float | None = Field(
        None,
        ge=0,
        le=1,
        title="Most undesirable",
        description="by the classifier that classifiers.undesirable names. Empty: the threshold it was trained with",
        json_schema_extra=neutral(None),
    )
    rejects_per_rule: int = Field(5, ge=0, le=1000, title="Rejects to show", description="in samples.jsonl, per rule")

    @field_validator("docstring", "markdown", "html", "text", "code", mode="before")
    @classmethod
    def _over_preset(cls, value: Any, info: Any) -> Any:
        """Limits given in part differ from the kind's preset, not from no rules at all."""
        preset = cls.model_fields[info.field_name].default
        return {**preset.model_dump(), **value} if isinstance(value, Mapping) else value

    @field_validator("languages")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        known = [*identifier().languages, UNDETERMINED] if value else []
        if unknown := sorted(set(value) - set(known)):
            raise ValueError(f"no language that can be identified has the code {unknown[0]!r}; there are {known}")
        return value

    def limits(self, kind: str) -> RuleLimits:
        """The preset for a kind of text; unknown kinds count as plain text."""
        if self.rules in PAPERS and kind != CODE_KIND:
            return PAPERS[self.rules]
        return {"docstring": self.docstring, "markdown": self.markdown, "rst": self.markdown, "html": self.html,
                CODE_KIND: self.code}.get(kind, self.text)  # fmt: skip
