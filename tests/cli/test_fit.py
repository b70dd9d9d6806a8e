"""`qsit fit` on a run and on a table: one JSON object, or one line and exit status 2."""

import json
import subprocess
import sys

import numpy as np
import pytest

from qsit_ray import artifacts, tables
from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.app import main
from qsit_ray.config import presets
from qsit_ray.config.files import dump
from qsit_ray.mixture import Mixture
from qsit_ray.search.trials import TrialOutcome, write_trials

GRID = [*(n / 10 for n in range(1, 10)), *map(float, range(1, 11))]
PEAK = 2.42


def score(ratio, seed):
    noise = np.random.default_rng([seed, round(10 * ratio)]).normal(0, 0.004)
    return float(0.7 + 0.04 / np.cosh(np.log(ratio / PEAK)) + noise)


@pytest.fixture
def columns():
    runs = [(ratio, seed) for ratio in GRID for seed in range(3)]
    return {
        "r": [ratio for ratio, _ in runs],
        "acc": [score(*run) for run in runs],
        "seed": [seed for _, seed in runs],
    }


@pytest.fixture
def qsit(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["qsit", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return call


def asked(path, *more):
    return "fit", path, "--ratio", "r", "--score", "acc", *more


@pytest.mark.parametrize("name", ["runs.csv", "runs.jsonl", "runs.parquet"])
def test_a_table_gives_one_json_object(tmp_path, qsit, columns, name):
    tables.write(tmp_path / name, columns)
    status, out, err = qsit(
        *asked(tmp_path / name, "--repeat", "seed", "--degree", 4, "--coordinate", "log"),
        *("--seed", 1, "--confidence", 0.95, "--json"),
    )
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert (found["degree"], found["coordinate"]) == (4, "log")
    assert (found["rows"], found["ratios"]) == (57, 19)
    low, high = found["interval"]
    assert low <= found["optimum"] <= high and found["optimum"] == pytest.approx(PEAK, rel=0.4)
    assert found["regret_zone"][0] <= found["optimum"] <= found["regret_zone"][1]
    assert 0 <= found["edge_probability"] <= 1
    assert found["rivals"]["quartic over log"] > 0 and "best ratio" in found["verdict"]
    recommended = found["curves"][found["recommended"]]
    assert recommended["interval"][0] < PEAK < recommended["interval"][1]


def test_the_seed_decides_and_columns_called_ratio_and_score_need_no_option(
    tmp_path, qsit, columns
):
    path = tmp_path / "t.csv"
    tables.write(path, {"ratio": columns["r"], "score": columns["acc"]})
    first, again, other = (
        json.loads(qsit("fit", path, "--seed", seed, "--json")[1]) for seed in (3, 3, 4)
    )
    assert first == again != other
    assert (first["curve"], first["confidence"]) == (first["recommended"], 0.95)


def test_without_json_the_curves_are_printed_as_a_table(tmp_path, qsit, columns):
    tables.write(tmp_path / "t.csv", columns)
    status, out, _ = qsit(*asked(tmp_path / "t.csv"))
    text = " ".join(out.replace("│", " ").split())
    assert status == 0 and "best ratio" in text and "(answer)" in text
    _, out, _ = qsit(*asked(tmp_path / "t.csv", "--paper"))
    text = " ".join(out.replace("│", " ").split())
    assert "The recommended curve" in text


def test_missing_scores_are_a_degraded_result(tmp_path, qsit, columns):
    cells = ["", "NaN", "inf", None]
    scores = [cells[row] if row < 4 else value for row, value in enumerate(columns["acc"])]
    tables.write(tmp_path / "t.csv", {**columns, "acc": scores})
    found = json.loads(qsit(*asked(tmp_path / "t.csv", "--json"))[1])
    assert found["degraded"] and found["dropped"] == 4 and found["lost_ratios"] == [0.1]
    assert "no run is left at ratio 0.1" in found["verdict"]
    assert "2 of 3 at ratio 0.2" in found["verdict"]


@pytest.mark.parametrize(
    ("column", "row", "value", "words"),
    [
        ("r", 3, -1, "row 4 (line 5), column 'r': ratio -1 must be positive"),
        ("r", 0, 0, "row 1 (line 2), column 'r': ratio 0 must be positive"),
        (
            "r",
            1,
            "",
            "column 'r': a finite number is needed in every row, 1 of 57 have none: row 2",
        ),
        ("acc", 2, "high", "column 'acc': numbers are needed where there is a value"),
        ("seed", 1, 0, "row 1 (line 2) and row 2 (line 3): r 0.1 has seed 0 twice"),
    ],
)
def test_a_cell_that_cannot_be_is_named(tmp_path, qsit, columns, column, row, value, words):
    columns[column] = [value if at == row else v for at, v in enumerate(columns[column])]
    path = tmp_path / "t.csv"
    tables.write(path, columns)
    status, out, err = qsit(*asked(path, "--repeat", "seed", "--json"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert str(path) in err and words in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ratio", "q", "--score", "acc"), "no column 'q'; it has r, acc, seed"),
        (("--ratio", "r"), "give --score"),
        (("--ratio", "r", "--score", "acc", "--degree", "9"), "degree 9: a whole number"),
        (("--ratio", "r", "--score", "acc", "--confidence", "2"), "confidence 2"),
        (("--ratio", "r", "--score", "acc", "--coordinate", "x"), "'x' is not one of"),
    ],
)
def test_options_that_do_not_fit_are_named(tmp_path, qsit, columns, options, words):
    tables.write(tmp_path / "t.csv", columns)
    status, out, err = qsit("fit", tmp_path / "t.csv", *options, "--json")
    assert (status, out) == (2, "") and words in err


def test_too_few_ratios_no_score_and_no_file_are_reported(tmp_path, qsit):
    path = tmp_path / "t.csv"
    tables.write(path, {"r": [1, 2, 3, 4], "acc": [1, 2, 3, 4]})
    status, _, err = qsit(*asked(path, "--paper", "--json"))
    assert status == 2 and "t.csv: 4 distinct ratios" in err and "fit degree 2" in err
    tables.write(path, {"r": [1, 2], "acc": ["", ""]})
    status, _, err = qsit(*asked(path))
    assert status == 2 and "column 'acc': none of the 2 rows has a score" in err
    assert "absent.csv" in qsit(*asked(tmp_path / "absent.csv"))[2]
    assert "no run here" in qsit("fit", tmp_path)[2]


def test_a_table_needs_neither_ray_nor_torch_nor_pandas(tmp_path, columns):
    tables.write(tmp_path / "t.csv", columns)
    heavy = {"ray", "torch", "pandas", "matplotlib", "transformers"}
    code = (
        "import sys; from qsit_ray.cli.app import main\n"
        f"sys.argv = {['qsit', *map(str, asked(tmp_path / 't.csv', '--json'))]!r}\n"
        "try: main()\n"
        f"except SystemExit as e: print(e.code, sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.fixture
def run(tmp_path):
    """A run folder with the trials of one axis, one of which has failed."""
    folder = RunFolder(tmp_path / "run")
    config = presets.demo()
    artifacts.write_text(folder.config, dump(config))
    space = config.search.interpreting_general
    points = [(ratio, seed) for ratio in space.ratios for seed in space.seeds]
    rows = [TrialOutcome(*point, Mixture.of(1, 1, 1), score(*point)) for point in points[1:]]
    failed = TrialOutcome(*points[0], Mixture.of(1, 1, 1), status="failed", reason="killed")
    write_trials(folder.trials(space.axis), [failed, *rows])
    return folder


def test_a_run_is_fitted_by_its_own_settings_and_written(run, qsit):
    status, out, _ = qsit("fit", run.path, "--json")
    fits = json.loads(out)
    assert (status, list(fits)) == (0, ["interpreting_general"])
    written = artifacts.read_json(run.fit("interpreting_general"))
    assert written == fits["interpreting_general"]
    # Six ratios a decade and more apart do not tell a quartic's peak.
    assert written["refused"] == "quartic over log"
    assert written["curve"] == written["recommended"] and "quartic over ratio" in written["curves"]
    assert "The quartic over log is not used" in written["verdict"]
    assert "fewer repeats: 2 of 3 at ratio 0.1" in written["verdict"]


def test_with_other_settings_a_run_s_fit_is_printed_only(run, qsit):
    out = qsit("fit", run.path, "--degree", 2, "--coordinate", "share", "--json")[1]
    assert json.loads(out)["interpreting_general"]["curve"] == "quadratic over share"
    assert not run.fit("interpreting_general").exists()


def test_a_space_may_use_the_recommended_curve(run, qsit):
    text = run.config.read_text().replace("surrogate: polynomial", "surrogate: recommended")
    run.config.write_text(text)
    found = json.loads(qsit("fit", run.path, "--json")[1])["interpreting_general"]
    assert found["curve"] == found["recommended"] and "quartic over ratio" in found["curves"]
    assert found["optimum"] == found["curves"][found["recommended"]]["optimum"]


@pytest.mark.parametrize("name", ["val_loss", "eval/bpb", "PPL", "testError"])
def test_a_loss_without_a_direction_is_refused(tmp_path, qsit, columns, name):
    losses = [-score for score in columns["acc"]]
    tables.write(tmp_path / "t.csv", {"ratio": columns["r"], name: losses})
    words = ("fit", tmp_path / "t.csv", "--score", name, "--json")
    status, _, err = qsit(*words)
    assert status == 2 and f"{name!r}: it looks like a loss; give --minimize" in err
    least = json.loads(qsit(*words, "--minimize")[1])
    assert least["minimize"] and least["optimum"] == pytest.approx(PEAK, rel=0.4)
    assert least["optimum_score"] < 0
    most = json.loads(qsit(*words, "--maximize")[1])
    assert most["optimum"] < 0.5 or most["optimum"] > 5


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("share", lambda ratio: ratio / (1 + ratio)),
        ("percent", lambda ratio: 100 * ratio / (1 + ratio)),
        ("ratio", lambda ratio: ratio),
    ],
)
def test_shares_and_per_cent_are_ratios(tmp_path, qsit, columns, kind, values):
    named = {"weight": [values(ratio) for ratio in columns["r"]], "acc": columns["acc"]}
    tables.write(tmp_path / "t.csv", named)
    words = ("fit", tmp_path / "t.csv", "--ratio", "weight", "--score", "acc", "--json")
    status, _, err = qsit(*words)
    assert status == 2 and "'weight': it looks like a share; give --x" in err
    found = json.loads(qsit(*words, "--x", kind)[1])
    assert found["optimum"] == pytest.approx(PEAK, rel=0.4)
    assert (found["low"], found["high"]) == (pytest.approx(0.1), pytest.approx(10))


def test_two_columns_of_weights_are_a_ratio(tmp_path, qsit, columns):
    a = [3 * ratio for ratio in columns["r"]]
    tables.write(tmp_path / "t.csv", {"a": a, "b": [3.0] * len(a), "acc": columns["acc"]})
    found = json.loads(qsit("fit", tmp_path / "t.csv", "--x", "a,b", "--score", "acc", "--json")[1])
    assert found["optimum"] == pytest.approx(PEAK, rel=0.4)
    tables.write(tmp_path / "t.csv", {"a": [0, 1], "b": [1, 1], "acc": [1, 2]})
    _, _, err = qsit("fit", tmp_path / "t.csv", "--x", "a,b", "--score", "acc")
    assert "row 1 (line 2), column 'a,b': a 0 and b 1 must be positive" in err
    tables.write(tmp_path / "t.csv", {"share": [0.2, 1.0], "acc": [1, 2]})
    words = ("--ratio", "share", "--x", "share", "--score", "acc")
    assert "share 1 must leave both a part" in qsit("fit", tmp_path / "t.csv", *words)[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--x", "odds"), "--x 'odds': expected ratio, share, percent"),
        (("--ratio", "r", "--x", "a,b"), "give no --ratio with it"),
        (("--paper", "--degree", "2"), "--paper is the quartic over the ratio"),
        (("--plot", "p.txt"), "p.txt: the ending must be one of .svg, .png, .pdf"),
        (("--score", "acc", "--plot", "p.svg", "--ratio", "q"), "no column 'q'"),
    ],
)
def test_options_of_tables_that_do_not_fit_are_named(tmp_path, qsit, columns, options, words):
    tables.write(tmp_path / "t.csv", columns)
    status, _, err = qsit("fit", tmp_path / "t.csv", *options)
    assert status == 2 and words in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ratio,score\n10%,0.5\n20%,0.6\n50%,0.7\n", "it looks like a share; give --x"),
        ("ratio,score\n1,1e160\n2,2e160\n3,1e160\n", "a ratio or score is beyond 1e+100"),
        ("ratio,score\n1e-300,1\n2,2\n3,1\n", "a ratio or score is beyond 1e+100"),
        ("ratio,score\n1,0.5\n2,0.6\n", "2 distinct ratios with a score are too few"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(tmp_path, qsit, text, words):
    (tmp_path / "t.csv").write_text(text)
    status, _, err = qsit("fit", tmp_path / "t.csv")
    assert status == 2 and words in err and "t.csv" in err


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_fit_is_drawn(tmp_path, qsit, columns, ending):
    columns["acc"][20] = -1.0
    tables.write(tmp_path / "t.csv", columns)
    plot = tmp_path / f"p.{ending}"
    status, out, _ = qsit(*asked(tmp_path / "t.csv", "--plot", plot))
    assert status == 0 and f"{plot}: written" in out and "Row 21" in out
    content = plot.read_bytes()
    assert content.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    # What the plot shows is text in an SVG's own comments.
    assert ending == "png" or b"outlier, left out" in content


def test_the_help_names_the_defaults(qsit):
    status, out, _ = qsit("fit", "--help")
    assert status == 0 and "by default ratio" in " ".join(out.replace("│", " ").split())
