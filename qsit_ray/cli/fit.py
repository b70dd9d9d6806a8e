"""rim: the verb that fits a curve to a run's searches or to a table: fit."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Json
from qsit_ray.cli.printing import print_json
from qsit_ray.cli.working import working
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal

if TYPE_CHECKING:
    from qsit_ray.stages.fit import FitSettings
    from qsit_ray.surrogate.comparison import Comparison


def fit(
    run_or_table: Annotated[
        Path, typer.Argument(help="A run folder, or a csv, tsv, jsonl, json or parquet file.")
    ],
    ratio: Annotated[str | None, typer.Option(help="Column of ratios [ratio].")] = None,
    score: Annotated[str | None, typer.Option(help="Column of scores [score].")] = None,
    repeat: Annotated[
        str | None, typer.Option(help="Column that numbers the runs of one ratio.")
    ] = None,
    degree: Annotated[int | None, typer.Option(help="Of the polynomial [4].")] = None,
    coordinate: Annotated[
        Literal["ratio", "log", "share"] | None,
        typer.Option(help="Over which it is fitted [ratio]."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the resampling [0].")] = None,
    confidence: Annotated[float | None, typer.Option(help="Of the intervals [0.95].")] = None,
    as_json: Json = False,
) -> None:
    """Fit a curve to scores over ratios: its peak, its interval, and alternative curves.

    Of a run, each axis that has trials is fitted by the run's own settings, and its fit.json
    written; with other settings the fit is printed only.
    """
    from qsit_ray.stages.fit import FitSettings, axes_with_trials, fit_run, fit_settings

    columns = {"ratio": ratio, "score": score, "repeat": repeat}
    settings: dict[str, Any] = {
        "degree": degree, "coordinate": coordinate, "seed": seed, "confidence": confidence,
    }  # fmt: skip
    given = {k: v for k, v in settings.items() if v is not None}
    if run_or_table.is_file() or (run_or_table.suffix and not run_or_table.is_dir()):
        found = _fit_table(run_or_table, columns, replace(FitSettings(), **given))
        if as_json:
            print_json(found.to_json())
        else:
            _show(str(run_or_table), found)
        return
    folder = RunFolder(run_or_table.absolute())
    with working(folder) as (config, _):
        if any(columns.values()) or given:
            fits = {
                axis: _fit_table(
                    folder.trials(axis), columns, replace(fit_settings(config, axis), **given)
                )
                for axis in axes_with_trials(folder)
            }
        else:
            fits = fit_run(folder, config)
    if as_json:
        print_json({axis: found.to_json() for axis, found in fits.items()})
        return
    for axis, found in fits.items():
        _show(axis, found)


def _fit_table(path: Path, columns: dict[str, str | None], settings: FitSettings) -> Comparison:
    from qsit_ray.surrogate.comparison import compare_curves
    from qsit_ray.surrogate.observations import read_observations

    seen = read_observations(path, **columns)
    try:
        return compare_curves(seen, **asdict(settings))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _show(title: str, found: Comparison) -> None:
    terminal = Terminal()
    terminal.table(
        title,
        ["curve", "best ratio", "interval", "at an end", "regret zone", "leave-one-out error"],
        [_row(name, found) for name in found.curves],
    )
    terminal.say(found.verdict)


def _row(name: str, found: Comparison) -> tuple[str, ...]:
    curve, error = found.curves[name], found.alternatives[name]
    curves = {"used": found.used, "recommended": found.recommended}
    marks = [mark for mark, marked in curves.items() if marked == name]
    edge = curve.edge_probability
    return (
        f"{name} ({', '.join(marks)})" if marks else name,
        f"{curve.optimum:.3g}",
        "{:.3g} to {:.3g}".format(*curve.interval),
        "–" if edge is None else f"{100 * edge:.0f} %",
        "{:.3g} to {:.3g}".format(*curve.regret_zone),
        "–" if error is None else f"{error:.3g}",
    )
