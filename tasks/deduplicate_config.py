"""Settings of the stage `deduplicate`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tasks.stage import StageConfig, neutral
from tasks.text.minhash import BANDS, ROWS


class DeduplicateConfig(StageConfig):
    """Exact and near-duplicate removal (MinHash, Broder 1997)."""

    shingle_words: int = Field(
        5,
        ge=1,
        le=32,
        title="Words per shingle",
        description="characters count as words in scripts that write no spaces",
    )
    threshold: float = Field(
        0.8,
        gt=0,
        lt=1,
        title="Similarity",
        description="Jaccard similarity of shingle sets from which two documents are duplicates",
    )
    num_permutations: int = Field(128, ge=16, le=1024, title="Permutations", description="length of a signature")
    bands: int = Field(BANDS, ge=1, le=512, description="more bands find more pairs and cost more comparisons")
    rows: int = Field(ROWS, ge=1, le=64, title="Rows per band", description="more rows find fewer dissimilar pairs")
    seed: int = Field(1, ge=0, lt=2**32, description="draws the permutations")
    paragraph_chars: int | None = Field(
        None, ge=1, title="Repeated paragraphs", json_schema_extra=neutral(None),
        description="Paragraphs of at least so many characters that another kept document holds are taken out. Empty: "
        "paragraphs stay.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_banding(self) -> Self:
        if self.bands * self.rows > self.num_permutations:
            raise ValueError(
                f"bands × rows is {self.bands} × {self.rows} = {self.bands * self.rows}, more than the "
                f"{self.num_permutations} permutations: lower bands or rows, or raise num_permutations"
            )
        return self
