"""`qsit ablate` through the command line: each arm is a run; what has ended is not repeated."""

import pytest
from command_line import SMALL, call, epochs, read, sets

SETTINGS = {
    **SMALL,
    "mix": "{scoring: 1, interpreting: 2, general: 1}",
    "data.scoring": 24,
    "search.proxy_seeds": "[0]",
    "train.training.batch_size": 8,
    "train.workers": 1,
    "train.epochs": 2,
}


@pytest.mark.slow
def test_arms_are_trained_compared_and_kept(tmp_path):
    run = tmp_path / "run"
    command = ["ablate", "--preset", "demo", "--out", run, "--seeds", 2, "--study", "domains"]
    command += sets({**SETTINGS, "cache": tmp_path / "cache"})
    done = call(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = run / "ablations" / "domains"
    results = {arm["arm"]: arm for arm in read(folder / "results.json")}
    assert len(results) == 7
    for name, arm in results.items():
        assert arm["seeds"] == [0, 1]
        for seed, ratios, rows in zip(arm["seeds"], arm["ratios"], arm["rows"], strict=True):
            trained = epochs(folder / f"{name}-{seed}")
            assert len(ratios) == len(trained) == 2
            assert rows == sum(line["rows_trained"] for line in trained)
    assert results["method"]["srcc"]["difference"] == 0
    sizes = epochs(folder / "without-interpreting-1")[0]["sizes"]
    assert sizes == {"scoring": 24, "interpreting": 0, "general": 24}
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*/train/epochs.jsonl")}
    assert len(written) == 14
    again = call(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in written} == written
    other = call(*command, "--set", "train.epochs=3")
    assert other.returncode == 2
    assert "train.epochs" in other.stderr
    assert len(other.stderr.splitlines()) == 1


@pytest.mark.slow
def test_other_labels_train_their_own_proxies(tmp_path):
    run = tmp_path / "run"
    command = ["ablate", "--preset", "demo", "--out", run, "--seeds", 1, "--study", "labels"]
    done = call(*command, *sets({**SETTINGS, "cache": tmp_path / "cache"}))
    assert done.returncode == 0, done.stdout + done.stderr
    folder = run / "ablations" / "labels"
    assert len(read(folder / "results.json")) == 3
    references = {
        name: read(folder / f"{name}-0" / "mixture.json")["reference_loss_ratio"]
        for name in ("method", "soft-levels", "soft-levels-ranking")
    }
    assert references["method"] == read(run / "mixture.json")["reference_loss_ratio"]
    assert len(set(references.values())) == 3


def test_an_unknown_arm_is_refused_before_anything_is_trained(tmp_path):
    run = tmp_path / "run"
    done = call("ablate", "--preset", "demo", "--out", run, "--only", "shrnk", *sets(SETTINGS))
    assert done.returncode == 2
    assert "--only shrnk: no such arm; expected method" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (run / "catalog").exists()
