"""pure: the source of the rows: the demo, files in LLaVA's shape, or counts alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from qsit_ray.config.section import Count, Section
from qsit_ray.losses import NOT_POOLS
from qsit_ray.mixture import DOMAINS

Files = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
SOURCES = {"demo", "llava", "pools", "rehearsal"}
NAME = re.compile(r"[a-z][a-z0-9_]*")


class DemoData(Section):
    """Rows made from the demo's photographs, by domain and split."""

    source: Literal["demo"] = "demo"
    """Distorted crops of real photographs that ship inside Python packages."""
    scoring: Count
    """Training rows of D1, each with an image of its own."""
    interpreting: Count
    """Training rows of D2. D2 and D3 share images, three rows of the larger domain to an image."""
    general: Count
    """Training rows of D3, about the same images as D2's."""
    validation_scoring: Count
    """Rows of the validation loss on scoring."""
    validation_interpreting: Count
    """Rows of the validation loss on interpreting."""
    validation_images: Count
    """Images on which the search measures SRCC and PLCC, and the primary's epochs SRCC."""
    validation_questions: Count
    """Questions on which the search and the primary's epochs measure accuracy."""
    test_images: Count
    """Images of the final evaluation."""
    test_questions: Count
    """Questions of the final evaluation."""
    scoring_photographs: Annotated[tuple[str, ...] | None, Field(strict=False, min_length=1)] = None
    """Training photographs that D1's rows are made from, by name. Null: all of them."""
    test_photographs: str | None = None
    """Folder of photographs that only the final evaluation's rows are made from, beside the demo's
    own three. Null: those alone, as nothing else is installed."""


class Rows(Section):
    """Training rows of each domain."""

    scoring: Count
    """Rows of D1."""
    interpreting: Count
    """Rows of D2."""
    general: Count
    """Rows of D3."""


class OwnData(Section):
    """What is said of one's own training files, whatever their pools are."""

    source: str
    """Its kind."""
    images: str
    """Folder that image names are relative to, or an object store's, such as s3://bucket/images;
    itself relative to the command's working folder."""
    outside: Literal["refuse", "allow"] = "refuse"
    """Images that are not below that folder, by an absolute path, by `..` or through a link. By
    default refused: a data set from elsewhere then shows no other file of this machine."""
    packed: bool = False
    """Whether image files are copied, as they are, into a few large files of the run folder, so
    that a training reads these and not a million small ones. Those of an object store always
    are."""
    folders: dict[str, str] = Field(default_factory=dict)
    """Folder below `images` that the image names of a file are relative to, by the file's path.
    Those of files that are not listed: `images` itself."""
    max_rejects: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Largest share of a domain's records that may be rejected; beyond it nothing is built, and the
    list of rejects stays. A hundredth: the odd broken file of a large download, and no fault that
    repeats."""
    leaks: Literal["keep", "drop"] = "keep"
    """Training records whose image is also one of the questions' or of the test sets', by its bytes
    or by its look: kept, as in the released data, or dropped and listed."""
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the rows of D1, or of both `tasks`, that is held out for validation; 0.1 as in the
    paper (IV-A)."""

    @property
    def is_packed(self) -> bool:
        """Whether the run holds the images."""
        return self.packed or "://" in self.images


class LlavaData(OwnData):
    """Training files by domain, and benchmarks, in the formats that their owners ship."""

    source: Literal["llava"] = "llava"
    """Files in LLaVA's shape."""
    scoring: Files
    """Files of D1: .json or .jsonl, with Q-SIT's ids `<file>-><MOS>` and a level in the answer."""
    interpreting: Files
    """Files of D2: .json or .jsonl."""
    general: Files
    """Files of D3: .json or .jsonl."""
    validation_questions: str
    """LLVisionQA file with answers: accuracy, and the validation loss on interpreting."""
    test_images: dict[str, str] = Field(default_factory=dict)
    """Tables with the columns image and mos for the final evaluation, by name of the dataset."""
    test_questions: str | None = None
    """LLVisionQA file with answers for the final evaluation. Null: no questions."""
    expected_rows: Rows | None = None
    """Records of the training files, to plan a run without them. Null: not known."""

    @property
    def scored(self) -> str | None:
        """The pool whose rows have a MOS and a level."""
        return "scoring"

    @property
    def files(self) -> Mapping[str, Files]:
        """The training files of each pool."""
        return {domain: getattr(self, domain) for domain in DOMAINS}


class PoolsData(OwnData):
    """Training files of pools that the configuration names. There are no benchmarks: the losses on
    rows that are held out decide."""

    source: Literal["pools"] = "pools"
    """Files in LLaVA's shape, of any pools."""
    images: str = "."
    """Folder that image names are relative to, or an object store's, such as s3://bucket/images;
    itself relative to the command's working folder, which it is by default: rows may be text alone.
    """
    pools: dict[str, Files]
    """Files of each pool, .json or .jsonl, by its name: two to four pools, the one that a mix is
    relative to first. Rows may have no image; of a model of text alone none has."""

    @property
    def scored(self) -> str | None:
        """The pool whose rows have a MOS and a level."""
        return None

    @property
    def files(self) -> Mapping[str, Files]:
        """The training files of each pool."""
        return self.pools

    @field_validator("pools")
    @classmethod
    def _named(cls, pools: dict[str, Files]) -> dict[str, Files]:
        if not 2 <= len(pools) <= 4:
            raise ValueError(f"{len(pools)} pools; expected 2 to 4")
        for name in pools:
            if not NAME.fullmatch(name) or name in NOT_POOLS:
                raise ValueError(f"{name!r} can't be a pool's name; use a-z, 0-9 and _")
        return pools


class RehearsalData(Rows):
    """Row counts alone: a catalog of that size without texts or images."""

    source: Literal["rehearsal"] = "rehearsal"
    """Counts alone, for trials that only pretend to train."""
