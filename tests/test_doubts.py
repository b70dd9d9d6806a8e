"""Doubts that the searches leave are said, and may stop a run before the primary is paid for."""

import numpy as np
import pytest
from llava_files import Told

from qsit_ray import artifacts, pipeline
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.data.writing import write_counts
from qsit_ray.errors import InputError
from qsit_ray.mixture import AXES, Mixture
from qsit_ray.search.trials import TrialOutcome, write_trials
from qsit_ray.stages.fit import fit_run

SIZES = {"scoring": 400, "interpreting": 2400, "general": 2400}
PEAKS = dict(zip(AXES, (3.0, 2.0), strict=True))


def searched(folder, height):
    """A run whose both axes have been searched; the responses are `height` high."""
    run, config, told = RunFolder(folder), presets.demo(), Told()
    run.catalog.mkdir(parents=True)
    write_counts(run.catalog, SIZES)
    noise = np.random.default_rng(0)
    for axis in AXES:
        space = config.space(axis)
        rows = [
            TrialOutcome(
                ratio, seed, Mixture.of(1, 1, 1),
                0.5 + height / np.cosh(np.log(ratio / PEAKS[axis])) + noise.normal(0, 0.01),
                device_seconds=360.0,
            )
            for ratio in space.ratios
            for seed in space.seeds
        ]  # fmt: skip
        run.search(axis).mkdir(parents=True)
        write_trials(run.trials(axis), rows)
    return run, config, told, fit_run(run, config)


def test_a_clear_search_leaves_no_doubt(tmp_path):
    run, config, told, fits = searched(tmp_path, 0.3)
    pipeline.check_doubts(run, override(config, ["search.on_doubt=stop"]), told)
    assert told.lines == []
    assert all(fits[axis].ratio == pytest.approx(PEAKS[axis], rel=0.5) for axis in AXES)


@pytest.mark.parametrize("wish", ["ask", "stop"])
def test_a_flat_search_stops_a_run_that_wishes_so(tmp_path, wish):
    run, config, told, fits = searched(tmp_path, 0.0)
    careful = override(config, [f"search.on_doubt={wish}"])
    # Nobody is there to be asked.
    with pytest.raises(InputError, match=f"search.on_doubt: {wish}.; --yes goes on"):
        pipeline.check_doubts(run, careful, told)
    cost = "would take about 1.8 device hours"  # 18 trials of six minutes
    assert len(told.lines) == 2
    assert all("no ratio stands out" in line and cost in line for line in told.lines)
    pipeline.check_doubts(run, careful, told, yes=True)
    pipeline.check_doubts(run, config, told)  # by default a run goes on
    assert len(told.lines) == 6
    # The cheapest mix: the fewest rows of D2 and D3 to D1's.
    second = fits[AXES[1]]
    assert second.ratio == second.fit.regret_zone[0]


def test_finished_proxies_are_not_asked_for_again(tmp_path):
    run, config, told, _ = searched(tmp_path, 0.0)
    with run.stage("proxies", {}):
        artifacts.write_json(run.mixture, {})
    pipeline.check_doubts(run, override(config, ["search.on_doubt=stop"]), told)
