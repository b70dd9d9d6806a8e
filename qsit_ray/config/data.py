"""pure: where the rows come from: the demo, LLaVA files, or counts alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qsit_ray.config.section import Count, Section

Files = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
SOURCES = {"demo", "llava", "rehearsal"}


class DemoData(Section):
    """Rows that the demo makes of its photographs, by domain and split."""

    source: Literal["demo"] = "demo"
    scoring: Count
    interpreting: Count
    general: Count
    validation_scoring: Count
    validation_interpreting: Count
    validation_images: Count
    validation_questions: Count
    test_images: Count
    test_questions: Count


class Rows(Section):
    """Rows of each domain."""

    scoring: Count
    interpreting: Count
    general: Count


class LlavaData(Section):
    """Training files in LLaVA's shape by domain, and benchmarks, as their owners ship them.

    Image names are relative to the folder `images`. `validation_questions` and `test_questions`
    are LLVisionQA files with answers; `test_images` names tables with columns image and mos.
    `expected_rows` is what the training files hold, so that a run can be planned without them.
    """

    source: Literal["llava"] = "llava"
    images: str
    scoring: Files
    interpreting: Files
    general: Files
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    validation_questions: str
    test_images: dict[str, str] = Field(default_factory=dict)
    test_questions: str | None = None
    expected_rows: Rows | None = None


class RehearsalData(Rows):
    """Nothing but row counts: a catalog of that size without text or image."""

    source: Literal["rehearsal"] = "rehearsal"
