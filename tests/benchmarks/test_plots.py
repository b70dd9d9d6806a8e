"""The plots of growth are those of the committed results."""

import re

from benchmarks.__main__ import PLOTS, RESULTS, curves
from benchmarks.figures import Curve
from benchmarks.plots import write_plots

LINE = [(10.0, 1.0), (100.0, 9.0)]
CURVES = [
    Curve("Rows", "rows", "seconds", {"ours": LINE, "in step": LINE}, "in step"),
    Curve("Trials", "trials", "seconds", {"ours": LINE}),
    Curve("Workers", "workers", "speed", {"ours": LINE}),
]


def test_the_same_curves_are_the_same_file(tmp_path):
    first, second = (tmp_path / name / "scaling.svg" for name in "ab")
    for path in (first, second):
        path.parent.mkdir()
        write_plots(path, CURVES)
    assert first.read_bytes() == second.read_bytes()
    assert len(re.findall(r'id="axes_\d+"', first.read_text())) == len(CURVES)


def test_the_committed_plots_are_those_of_the_results(tmp_path):
    path = tmp_path / PLOTS.name
    write_plots(path, curves(RESULTS))
    assert path.read_bytes() == PLOTS.read_bytes()
