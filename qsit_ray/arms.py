"""pure: ablations: arms that differ from a run in one thing, each trained with several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from qsit_ray.config.config import Config, Levels, LossWeighting, Mix
from qsit_ray.config.data import DemoData, LlavaData

Study = Literal["domains", "controller", "scoring", "labels"]
RANKING_WEIGHT = 0.5
"""Of the labels' arm with ranking: a fidelity loss is at most 1, a level word's some 1 to 1.6."""
METHOD = "method"
"""The arm that the others are compared with: the found mix, adjusted as the run's settings say."""


@dataclass(frozen=True)
class Arm:
    """One arm. `rows_of`: the arm whose rows of all epochs together it trains too, at its own mix:
    otherwise an arm that grows would win by its longer training."""

    name: str
    config: Config
    rows_of: str | None = None


def domains(config: Config, found: Mix, all_rows: Mix) -> list[Arm]:
    """Table VII: without a domain, the searched ratio, the adjustment, or both. `all_rows`: the
    domains as they are.

    Without scoring or interpreting rows there is no balance to keep, so nothing is adjusted.
    """
    return [
        Arm(METHOD, _at(config, found)),
        Arm("without-scoring", fixed(config, _without(found, "scoring"))),
        Arm("without-interpreting", fixed(config, _without(found, "interpreting"))),
        Arm("without-general", _at(config, _without(found, "general"))),
        Arm("without-coarse-ratio", _at(config, all_rows)),
        Arm("without-fine-adjustment", fixed(config, found)),
        Arm("without-both", fixed(config, all_rows)),
    ]


def controllers(config: Config, found: Mix) -> list[Arm]:
    """The controller's rules, and none: with the first mix, and with the rows that the method
    trains. Raises ValueError for a configuration without a controller."""
    rule = config.train.controller
    if rule is None:
        raise ValueError("no controller to compare the rules of")

    def ruled(**changes: object) -> Config:
        return _train(_at(config, found), controller=rule.model_copy(update=changes))

    method = Arm(METHOD, ruled())
    others = [
        Arm("no-controller", fixed(config, found)),
        Arm("no-controller-equal-rows", fixed(config, found), rows_of=METHOD),
        *(
            Arm(f"reference-{kind}", ruled(reference=kind))
            for kind in ("best", "end", "epoch")
            if kind != rule.reference
        ),
        Arm("step-0.5", ruled(step_rule="fixed", step=0.5)),
        Arm("proportional", ruled(step_rule="proportional", gain=2.0)),
        Arm("enlarge-only", ruled(shrink=False, min_growth=1.0, exhausted="repeat")),
        Arm("shrink-without-repeats", ruled(shrink=True, min_growth=0.5, exhausted="hold")),
        Arm("fresh-rows", _train(ruled(), epoch_rows="fresh")),
        *(
            Arm(f"loss-{kind.replace('_', '-')}", ruled().model_copy(update={"loss": kind}))
            for kind in get_args(LossWeighting)
            if kind != config.loss
        ),
    ]
    # A run that has one of these settings is that arm itself.
    return [method, *(arm for arm in others if arm.config != method.config)]


def scoring_pools(
    config: Config, found: Mix, photographs: Mapping[str, Sequence[str]]
) -> list[Arm]:
    """Table IV: scoring trained on one pool of D1 or on all of it.

    The pools are D1's files; the demo's are `photographs`, training photographs by the name of
    their pool, each with its part of D1's rows. Raises ValueError for a D1 of one file.
    """
    data, whole = config.data, _at(config, found)
    if isinstance(data, LlavaData):
        parts = {Path(file).stem: trained_on(config, file).data for file in data.scoring}
    elif isinstance(data, DemoData):
        rows = max(1, data.scoring // len(photographs))
        parts = {
            name: data.model_copy(update={"scoring": rows, "scoring_photographs": tuple(names)})
            for name, names in photographs.items()
        }
    else:
        raise ValueError("no rows to train scoring on")
    if len(parts) < 2:
        raise ValueError("D1 has one file; expected one for each pool")
    return [
        Arm(METHOD, whole),
        *(
            Arm(f"scoring-on-{name}", whole.model_copy(update={"data": part}))
            for name, part in parts.items()
        ),
    ]


def labels(config: Config, found: Mix) -> list[Arm]:
    """Targets at the level word: the word itself, the opinions, and these with ranking."""
    arms = [Arm(METHOD, _at(config, found))]
    for name, levels in (
        ("hard-levels", Levels()),
        ("soft-levels", Levels(target="soft")),
        ("soft-levels-ranking", Levels(target="soft", ranking_weight=RANKING_WEIGHT)),
    ):
        if levels != config.levels:
            arms.append(Arm(name, _at(config, found).model_copy(update={"levels": levels})))
    return arms


def trained_on(config: Config, *scoring: str) -> Config:
    """D1 of these files alone."""
    return config.model_copy(update={"data": config.data.model_copy(update={"scoring": scoring})})


def with_seed(arm: Arm, seed: int) -> Config:
    """The configuration of an arm's repeat; `seed` counts from the run's own."""
    return arm.config.model_copy(update={"seed": arm.config.seed + seed})


def with_rows(config: Config, rows: Sequence[int]) -> Config:
    """The given mix, fixed, with as many rows in all epochs together as another training's `rows`
    by epoch, whose first epoch has this mix."""
    if config.mix is None:
        raise ValueError("a mix that is searched has no rows yet")
    factor = sum(rows) / (len(rows) * rows[0])
    return _at(config, {pool: factor * share for pool, share in config.mix.items()})


def _at(config: Config, mix: Mix | None) -> Config:
    return config.model_copy(update={"mix": mix})


def fixed(config: Config, mix: Mix | None) -> Config:
    """A mix, None for the searched one, that is not adjusted."""
    return _train(_at(config, mix), controller=None)


def _train(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


def _without(mix: Mix, domain: str) -> Mix:
    return {**mix, domain: 0.0}
