"""pure: the data stage: the catalog of a run, from its source of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config.config import Config
from qsit_ray.config.data import DemoData, LlavaData, RehearsalData
from qsit_ray.data import catalog, llava_next
from qsit_ray.data.audit import LEAK
from qsit_ray.data.catalog import Catalog, CatalogRow, Content, Reject
from qsit_ray.errors import InputError
from qsit_ray.levels import LEVELS
from qsit_ray.mixture import DOMAINS
from qsit_ray.prompts import LEVEL_STEM, SCORING_QUESTION
from qsit_ray.terminal import Terminal

SHOWN = 3
"""Kinds of rejects that are shown for each domain."""
FEW = 30
"""Validation images of a data set below which SRCC has a standard error of about .2."""


def build(run: RunFolder, config: Config, terminal: Terminal) -> None:
    """Write the run's catalog.

    Raises InputError naming a file that can't be read or the domain without a row, whose rejects
    are then in the run folder; and a scoring row that `levels` can't be trained on.
    """
    _make(run, config, terminal)
    if config.levels.need_shares and not isinstance(config.data, RehearsalData):
        _check_levels(catalog.open_catalog(run.catalog))


def _make(run: RunFolder, config: Config, terminal: Terminal) -> None:
    inputs: dict[str, object] = {
        "data": config.data.model_dump(mode="json"),
        "seed": config.seed,
        "columns": catalog.SCHEMA.names,
    }
    if isinstance(config.data, LlavaData):
        inputs["files"] = {name: _sha256(name) for name in _files(config.data)}
    if run.is_complete("data", inputs):
        if isinstance(config.data, LlavaData):
            _find_images(run.catalog, Path(config.data.images).absolute())
        return
    artifacts.remove(run.rejects)
    with (
        run.stage("data", inputs),
        terminal.bar("Make the catalog") as bar,
        artifacts.atomic(run.catalog) as folder,
    ):
        folder.mkdir()
        if isinstance(config.data, DemoData):
            from qsit_ray.demo import rows

            catalog.write(folder, rows.build(folder, config.data, config.seed, bar.update))
        elif isinstance(config.data, RehearsalData):
            catalog.write_counts(folder, config.data.model_dump(exclude={"source"}))
        else:
            from qsit_ray.data import llava

            found = llava.read(config.data, config.seed, bar.update)
            _check_domains(found, config.data.images, run.rejects)
            _check_rejects(found, config.data.max_rejects, run.rejects)
            validated = _check_validation(found)
            catalog.link_images(folder, Path(config.data.images))
            artifacts.write_jsonl(folder / "rejects.jsonl", found.rejects)
            catalog.write(folder, found)
            said = [*_summary(found, run.catalog / "rejects.jsonl"), validated, *_wording(found)]
            for line in said:
                terminal.say(line)


def _find_images(folder: Path, root: Path) -> None:
    """Let a finished catalog's images/ lead to them again where the run folder has moved without
    them. Raises InputError where they are neither there nor at `root`."""
    paths = catalog.image_paths(catalog.open_catalog(folder).rows)
    image = paths[0].as_py() if len(paths) else None

    def found() -> bool:
        return image is None or (folder / image).exists()

    if found():
        return
    catalog.link_images(folder, root)
    if not found():
        raise InputError(
            f"{root}: the images have gone, such as {image}; move them back, or correct data.images"
        )


def _check_domains(found: Content, images: str, rejects: Path) -> None:
    """Raises InputError with the reasons of a domain without training rows, after writing all
    rejects where they outlast the catalog that is not made."""
    for domain in DOMAINS:
        if any(row["domain"] == domain for row in found.train):
            continue
        artifacts.write_jsonl(rejects, found.rejects)
        mine = [reject for reject in found.rejects if reject["domain"] == domain]
        if not mine:
            raise InputError(f"domain {domain}: its files have no records left to train on")
        raise InputError(
            f"domain {domain}: no record became a training row: {_reasons(mine)}; {_first(mine)} "
            f"(images are below {images}); all: {rejects}"
        )


def _check_rejects(found: Content, most: float, rejects: Path) -> None:
    """Raises InputError where a domain lost more than the share `most` of its records, after
    writing all rejects."""
    # Scoring rows held out for validation were records, too; the others there are questions.
    held_out = [row for row in found.validation if row["domain"] == "scoring"]
    rows = Counter(row["domain"] for row in (*found.train, *held_out))
    for domain in DOMAINS:
        mine = [
            reject
            for reject in found.rejects
            if reject["domain"] == domain and not reject["reason"].startswith(LEAK)
        ]
        records = rows[domain] + len(mine)
        if len(mine) <= most * records:
            continue
        artifacts.write_jsonl(rejects, found.rejects)
        raise InputError(
            f"domain {domain}: {len(mine):,} of {records:,} records rejected "
            f"({len(mine) / records:.1%}; data.max_rejects is {most:.1%}): {_reasons(mine)}; "
            f"{_first(mine)}; all: {rejects}"
        )


def _check_validation(found: Content) -> str:
    """How many images of each data set scoring is validated on.

    Raises InputError where SRCC, a part of the search's objective, could not be computed on one of
    them: before any trial is paid for.
    """
    scores: dict[str, list[float]] = {}
    for image in found.images["validation"]:
        scores.setdefault(image.get("dataset", ""), []).append(image["mos"])
    if not scores:
        raise InputError("validation: no scoring image is held out; raise data.validation_share")
    for name, of_set in scores.items():
        if len(set(of_set)) < 2:
            raise InputError(
                f"validation: {len(of_set)} images of {name} with one score, on which SRCC is not "
                "defined; raise data.validation_share, or give the data set more rows"
            )
    counts = ", ".join(f"{len(of_set):,} of {name}" for name, of_set in scores.items())
    few = min(map(len, scores.values())) < FEW
    return f"scoring is validated on {counts} images" + (": few, so SRCC is noisy" if few else "")


def _check_levels(opened: Catalog) -> None:
    """Raises InputError for a scoring row without the opinions that its training needs, or whose
    level word is not where images are scored: also where the catalog was made for other levels."""
    rows = opened.take(range(opened.sizes["scoring"]))
    lacking = [row for row in rows if row["level_shares"] is None]
    if lacking:
        raise InputError(
            f"levels: {len(lacking):,} of {len(rows):,} scoring records have no level_probs, such "
            f"as {lacking[0]['id']}; qsit data import writes them where votes or deviations are "
            "known"
        )
    words = [row for row in rows if not _is_plain(row)]
    if words:
        raise InputError(
            f"levels: {len(words):,} of {len(rows):,} scoring records do not end with "
            f'"{LEVEL_STEM} <level>." as their one level word, such as {words[0]["id"]}'
        )


def _is_plain(row: CatalogRow) -> bool:
    """Whether the level word is found in the answer as it is where images are scored."""
    answers = [turn["value"] for turn in row["conversation"][1::2]]
    others = " ".join(answers[:-1])
    return answers[-1].strip() == f"{LEVEL_STEM} {row['level']}." and not any(
        word in others for word in LEVELS
    )


def _wording(found: Content) -> list[str]:
    """What is to be known of scoring rows that are worded otherwise than images are scored: Eq. 4
    reads the level after the paper's question and stem."""
    rows = [row for row in found.train if row["domain"] == "scoring"]
    stems = [
        row
        for row in rows
        if row["conversation"][-1]["value"].strip() != f"{LEVEL_STEM} {row['level']}."
    ]
    asked = [row for row in rows if row["conversation"][0]["value"] != SCORING_QUESTION]
    lines = []
    if stems:
        example = stems[0]["conversation"][-1]["value"].strip()
        lines.append(
            f"{len(stems):,} of {len(rows):,} scoring answers are not worded as scores are read "
            f'("{LEVEL_STEM} …."), such as {example!r:.80}'
        )
    if asked:
        lines.append(
            f"{len(asked):,} of {len(rows):,} scoring rows ask another question than the one that "
            "scores images"
        )
    return lines


def _summary(found: Content, rejects: Path) -> list[str]:
    """Rows and rejects, and the kinds of rejects by domain."""
    lines = [f"{len(found.train):,} training rows; rejects: {len(found.rejects):,}"]
    for domain in DOMAINS:
        mine = [reject for reject in found.rejects if reject["domain"] == domain]
        rows = sum(row["domain"] == domain for row in found.train)
        if mine:
            lines.append(
                f"  {domain}: {rows:,} training rows; rejects: {len(mine):,}, {_reasons(mine)}"
            )
    return [*lines, f"  all rejects: {rejects}"] if found.rejects else lines


def _reasons(rejects: Sequence[Reject]) -> str:
    """The commonest kinds of rejects with their numbers."""
    kinds = Counter(reject["reason"].partition(":")[0] for reject in rejects)
    shown = [f"{count:,} × {kind}" for kind, count in kinds.most_common(SHOWN)]
    others = len(rejects) - sum(count for _, count in kinds.most_common(SHOWN))
    return ", ".join([*shown, *([f"{others:,} others"] if others else [])])


def _first(rejects: Sequence[Reject]) -> str:
    first = rejects[0]
    return f"the first: {first['file']}, record {first['record']}: {first['reason']}"


def _files(data: LlavaData) -> list[str]:
    """Every file that the catalog is built from, except images."""
    files = [data.validation_questions]
    for name in (*data.scoring, *data.interpreting, *data.general):
        files.append(name)
        if Path(name).suffix.lower() in llava_next.ENDINGS:
            files += [str(part.file) for part in llava_next.parts(Path(name))]
    return [*files, *data.test_images.values(), *filter(None, [data.test_questions])]


def _sha256(name: str) -> str:
    try:
        return artifacts.file_sha256(Path(name))
    except OSError as error:
        raise InputError(f"{name}: can't read it: {error}") from None
