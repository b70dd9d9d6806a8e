"""A finished search takes more ratios and seeds, and repeats no finished trial."""

import pyarrow.parquet as pq
import pytest
from command_line import call, read, sets

SMALL = {
    "search.interpreting_general.ratios": "[0.1, 0.5, 1.0, 3.0, 10.0]",
    "search.interpreting_general.seeds": "[0]",
    "search.rehearsal.rows_per_second": 20_000_000,
}
MORE = {
    "search.interpreting_general.ratios": "[0.1, 0.2, 0.5, 1.0, 3.0, 10.0, 40.0]",
    "search.interpreting_general.seeds": "[0, 1]",
}


def searched(run):
    table = pq.read_table(run / "search" / "interpreting_general" / "trials.parquet").to_pylist()
    return {(row["ratio"], row["seed"]): row for row in table if row["status"] == "completed"}


@pytest.mark.slow
def test_ratios_and_seeds_are_added_to_a_finished_search(tmp_path):
    run = tmp_path / "run"
    folder = run / "search" / "interpreting_general" / "outcomes"
    for verb in (
        ("data", "build", run, "--preset", "rehearsal", *sets(SMALL)),
        ("search", "run", run),
        ("fit", run),
    ):
        done = call(*verb)
        assert done.returncode == 0, done.stderr
    before, files = searched(run), {p: p.stat().st_mtime_ns for p in folder.glob("*.json")}
    optimum = read(folder.parent / "fit.json")["optimum"]
    done = call("search", "run", run, *sets(MORE))
    assert done.returncode == 0, done.stderr
    assert "search.interpreting_general.seeds: [0, 1] from now on, [0] before" in done.stdout
    after = searched(run)
    assert len(before) == 5
    assert len(after) == 14
    assert {point: after[point] for point in before} == before
    assert {path: path.stat().st_mtime_ns for path in files} == files
    fitted = call("fit", run)
    assert fitted.returncode == 0, fitted.stderr
    assert read(folder.parent / "fit.json")["optimum"] != optimum
    fewer = call("search", "run", run, *sets(SMALL))
    assert fewer.returncode == 2
    assert "14 trials of interpreting_general were trained with it" in fewer.stderr
