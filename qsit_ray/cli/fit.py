"""rim: the verb that fits a curve to a run's searches or to a table: fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.options import Json
from qsit_ray.cli.printing import print_json, say
from qsit_ray.cli.working import working
from qsit_ray.errors import InputError
from qsit_ray.terminal import Terminal

if TYPE_CHECKING:
    from qsit_ray.stages.fit import FitSettings
    from qsit_ray.surrogate.comparison import Comparison
    from qsit_ray.surrogate.observations import Kind, Observations

KINDS = ("ratio", "share", "percent")


@dataclass(frozen=True)
class Columns:
    """What of a table is read, and how."""

    ratio: str | None
    score: str | None
    repeat: str | None
    kind: Kind | None
    minimize: bool | None

    @property
    def given(self) -> bool:
        return any(value is not None for value in vars(self).values())


def fit(
    run_or_table: Annotated[
        Path,
        typer.Argument(
            help="A run folder, or a table: csv, tsv, txt, jsonl, json, parquet, xlsx, mat."
        ),
    ],
    ratio: Annotated[str | None, typer.Option(help="Column of ratios; by default ratio.")] = None,
    score: Annotated[str | None, typer.Option(help="Column of scores; by default score.")] = None,
    x: Annotated[
        str | None,
        typer.Option(
            help="What the column of ratios holds: ratio, share or percent; or two columns A,B, "
            "whose quotient is the ratio; or more columns of weights A,B,C."
        ),
    ] = None,
    minimize: Annotated[
        bool | None,
        typer.Option("--minimize/--maximize", help="Whether the least score is the best."),
    ] = None,
    repeat: Annotated[
        str | None, typer.Option(help="Column that numbers the runs of one ratio.")
    ] = None,
    surrogate: Annotated[
        Literal["recommended", "polynomial"] | None,
        typer.Option(help="The curve that answers; of a table by default the recommended one."),
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="The paper's quartic over the ratio answers.")
    ] = False,
    degree: Annotated[int | None, typer.Option(help="Of the polynomial; by default 4.")] = None,
    coordinate: Annotated[
        Literal["ratio", "log", "share"] | None,
        typer.Option(help="Over which it is fitted; by default ratio."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="Loss of score that does not matter; by default 2 % of the range."
        ),
    ] = None,
    outliers: Annotated[
        Literal["drop", "keep"] | None,
        typer.Option(help="Rows that no other predicts: left out by default, and named."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it to a .svg, .png or .pdf.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the resampling; by default 0.")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Of the intervals; by default 0.95.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit a curve to scores over ratios: its peak, its interval, and alternative curves.

    Of a table the recommended curve answers, a Gaussian process; the paper's quartic stands beside
    it. A polynomial that is asked for answers where it predicts omitted ratios better than a
    constant does. Of a run, each axis that has trials is fitted by the run's own settings, and its
    fit.json written; with other settings the fit is printed only. `--x A,B,C` finds the best
    mixture of several pools.
    """
    from qsit_ray.stages.fit import FitSettings, axes_with_trials, fit_run, fit_settings

    if x is not None and x.count(",") > 1:
        others = {
            "--ratio": ratio, "--repeat": repeat, "--surrogate": surrogate, "--degree": degree,
            "--coordinate": coordinate, "--tolerance": tolerance, "--outliers": outliers,
            "--plot": plot, "--paper": paper or None,
        }  # fmt: skip
        if wrong := [name for name, value in others.items() if value is not None]:
            raise InputError(f"--x {x} fits whole mixtures: {wrong[0]} belongs to one ratio")
        return _fit_mixtures(run_or_table, x, score, minimize, seed, confidence, as_json)
    columns = _columns(ratio, score, repeat, x, minimize)
    if plot is not None:
        from qsit_ray.report.fit_plot import check_ending

        check_ending(plot)
    if paper and (surrogate, degree, coordinate) != (None, None, None):
        raise InputError("--paper is the quartic over the ratio; give no other curve with it")
    polynomial = paper or degree is not None or coordinate is not None
    settings: dict[str, Any] = {
        "use": surrogate or ("polynomial" if polynomial else None),
        "degree": degree, "coordinate": coordinate, "tolerance": tolerance,
        "outliers": outliers, "seed": seed, "confidence": confidence,
    }  # fmt: skip
    given = {k: v for k, v in settings.items() if v is not None}
    if run_or_table.is_file() or (run_or_table.suffix and not run_or_table.is_dir()):
        of_table = replace(FitSettings(use="recommended"), **given)
        seen, found = _fit_table(run_or_table, columns, of_table)
        if plot is not None:
            _plot(plot, seen, found, columns)
        if as_json:
            return print_json(found.to_json())
        _show(str(run_or_table), found)
        return say(f"{plot}: written") if plot is not None else None
    if plot is not None:
        raise InputError("--plot belongs to a table; of a run, `qsit report` draws it")
    folder = RunFolder(run_or_table.absolute())
    with working(folder) as (config, _):
        if columns.given or given:
            fits = {
                axis: _fit_table(
                    folder.trials(axis), columns, replace(fit_settings(config, axis), **given)
                )[1]
                for axis in axes_with_trials(folder, config)
            }
        else:
            fits = fit_run(folder, config)
    if as_json:
        return print_json({axis: found.to_json() for axis, found in fits.items()})
    for axis, found in fits.items():
        _show(axis, found)


def _fit_mixtures(
    path: Path,
    x: str,
    score: str | None,
    minimize: bool | None,
    seed: int | None,
    confidence: float | None,
    as_json: bool,
) -> None:
    from qsit_ray.surrogate.mixtures import fit_table

    names = [name.strip() for name in x.split(",")]
    found = fit_table(
        path, names, score, minimize, seed or 0, 0.95 if confidence is None else confidence
    )
    if as_json:
        return print_json(found.to_json())
    terminal = Terminal()
    rows = [
        (name, f"{share:.3g}", f"{low:.3g} to {high:.3g}")
        for name, share, (low, high) in zip(found.names, found.shares, found.intervals, strict=True)
    ]
    terminal.table(str(path), ["pool", "best share", "interval"], rows)
    terminal.say(found.verdict)


def _columns(
    ratio: str | None, score: str | None, repeat: str | None, x: str | None, minimize: bool | None
) -> Columns:
    if x is None or x in KINDS:
        return Columns(ratio, score, repeat, cast("Kind | None", x), minimize)
    if "," not in x:
        raise InputError(f"--x {x!r}: expected ratio, share, percent, or two columns A,B")
    if ratio is not None:
        raise InputError("--x names the columns; give no --ratio with it")
    return Columns(x, score, repeat, None, minimize)


def _fit_table(
    path: Path, columns: Columns, settings: FitSettings
) -> tuple[Observations, Comparison]:
    """The observations, whose scores are those of the table, and what is fitted to them."""
    from qsit_ray.surrogate.comparison import compare_curves
    from qsit_ray.surrogate.observations import read_observations

    seen = read_observations(path, **vars(columns))
    try:
        found = compare_curves(seen, **asdict(settings), minimize=bool(columns.minimize))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return replace(seen, scores=-seen.scores) if columns.minimize else seen, found


def _plot(path: Path, seen: Observations, found: Comparison, columns: Columns) -> None:
    from qsit_ray.report import fit_plot

    x_title = (columns.ratio or "ratio").replace(",", " : ")
    fit_plot.write(path, seen, found, x_title, columns.score or "score")


def _show(title: str, found: Comparison) -> None:
    from qsit_ray.surrogate.comparison import CONSTANT

    terminal = Terminal()
    columns = ["curve", "best ratio", "interval", "at an end", "regret zone", "leave-one-out error"]
    constant = found.alternatives.get(CONSTANT)
    rows = [_row(name, found) for name in found.curves]
    if constant is not None:
        rows.append((CONSTANT, "", "", "", "", f"{constant:.3g}"))
    terminal.table(title, columns, rows)
    terminal.say(found.verdict)


def _row(name: str, found: Comparison) -> tuple[str, ...]:
    curve, error = found.curves[name], found.alternatives[name]
    edge = curve.edge_probability
    return (
        f"{name} (answer)" if name == found.used else name,
        f"{curve.optimum:.3g}",
        "{:.3g} to {:.3g}".format(*curve.interval),
        "–" if edge is None else f"{100 * edge:.0f} %",
        "{:.3g} to {:.3g}".format(*curve.regret_zone),
        "–" if error is None else f"{error:.3g}",
    )
