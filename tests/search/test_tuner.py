"""Trials through Ray Tune: one that keeps failing is reported, and costs no other."""

import os
import re
import struct
from pathlib import Path

import optuna
import pandas as pd
import pytest
from ray import get_runtime_context
from ray.tune.search import Searcher
from ray.util.state import list_actors
from tensorboardX.proto.event_pb2 import Event

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.config.search import Adaptive
from qsit_ray.data import writing
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.search import records
from qsit_ray.search.adaptive import Rounds
from qsit_ray.search.records import outcome_file
from qsit_ray.search.rehearsal import planted_score
from qsit_ray.search.study import SearchStudy
from qsit_ray.search.trials import Task
from qsit_ray.search.tuner import RoundSearcher, ShowProgress, run_search
from qsit_ray.session import session
from qsit_ray.surrogate.curve import polynomial
from qsit_ray.surrogate.observations import observed

RATIOS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
BROKEN, UNSCORED = 1.0, (2.0, 1)


def mixture_at(ratio):
    # The catalog has no scoring rows: a trial that plans them fails.
    return Mixture.of(1 if ratio == BROKEN else 0, 100, 100)


@pytest.fixture(scope="module")
def ray():
    """A session without GPUs."""
    with session(4):
        yield


NOTES, PROGRESS = [], []


class Shown:
    """A bar that keeps its notes."""

    def update(self, done, total, note="", figures="", left=None):
        self.shown = done, total
        NOTES.append(note)


QUICK = ["search.rehearsal.rows_per_second=1000000", "search.gpus_per_trial=0"]


@pytest.fixture(scope="module")
def tried(ray, tmp_path_factory):
    """Folder, points and rows of a search where one ratio always fails."""
    folder = tmp_path_factory.mktemp("search")
    config = override(presets.rehearsal(), QUICK)
    writing.write_counts(folder / "catalog", {**config.expected_sizes, "scoring": 0})
    task = Task(RunFolder(folder), config, folder, mixture_at, "interpreting", optimum=2.42)
    study = SearchStudy(folder / "study.journal", config.search.interpreting_general)

    bar = Shown()
    points = [(ratio, seed) for ratio in RATIOS for seed in (0, 1)]
    path = records.outcome_file(folder, *UNSCORED)
    artifacts.write_json(path, {"ratio": UNSCORED[0], "seed": UNSCORED[1], "score": None})
    rows = run_search(task, points, bar, study)
    assert bar.shown == (12, 12)
    PROGRESS.append(ShowProgress.progress)
    return folder, points, rows


def test_a_mistake_of_the_users_ends_the_search_at_once_until_it_is_mended(ray, tmp_path):
    one_at_a_time = [*QUICK, "search.cpus_per_trial=4", "search.max_failures=0"]
    config = override(presets.rehearsal(), one_at_a_time)
    writing.write_counts(tmp_path / "catalog", config.expected_sizes)

    driver, image = os.getpid(), tmp_path / "7.png"

    def unavailable(ratio):
        # As an image would be: found when a trial reads it, in its own process.
        if ratio == BROKEN and os.getpid() != driver and not image.exists():
            raise InputError("images/7.png: image file is missing")
        return Mixture.of(0, 100, 100)

    task = Task(RunFolder(tmp_path), config, tmp_path, unavailable, "interpreting", optimum=2.42)

    class Bar:
        def update(self, done, total, note="", figures="", left=None):
            pass

    # All trials have one length, so they start in this order.
    points = [(BROKEN, 0), *((ratio, seed) for ratio in RATIOS[3:] for seed in range(8))]
    with pytest.raises(InputError, match=r"^images/7.png: image"):
        run_search(task, points, Bar())
    assert records.attempted(tmp_path, (BROKEN, 0)) == 1
    assert len(records.finished(tmp_path)) < len(points) - 1
    image.touch()
    rows = run_search(task, points, Bar())
    assert [(row.point, row.status) for row in rows] == [(p, "completed") for p in points]


def test_a_trial_that_fails_three_times_is_reported_and_the_others_complete(tried):
    folder, points, rows = tried
    assert [row.point for row in rows] == points
    failed = {row.point: row for row in rows if row.status == "failed"}
    assert set(failed) == {(BROKEN, 0), (BROKEN, 1)}
    for point, row in failed.items():
        assert "pool scoring is empty" in row.reason
        assert (row.mixture["scoring"], row.score, row.device_seconds) == (1, None, None)
        lines = artifacts.read_jsonl(records.attempts_file(folder, *point))
        assert [line["ended"] for line in lines] == ["failed"] * 3


def test_no_more_trials_than_allowed_run_at_once(ray, tmp_path):
    config = override(presets.rehearsal(), [*QUICK, "search.max_concurrent=1"])
    writing.write_counts(tmp_path / "catalog", config.expected_sizes)
    (tmp_path / "starts").mkdir()
    driver = os.getpid()

    def noted(ratio):
        if os.getpid() != driver:
            (tmp_path / "starts" / f"{ratio}").touch()
        return Mixture.of(0, 100, 100)

    task = Task(RunFolder(tmp_path), config, tmp_path, noted, "interpreting", optimum=2.42)
    rows = run_search(task, [(ratio, 0) for ratio in RATIOS], Shown())
    starts = sorted(path.stat().st_mtime_ns for path in (tmp_path / "starts").iterdir())
    ends = sorted(outcome_file(tmp_path, *row.point).stat().st_mtime_ns for row in rows)
    assert len(starts) == len(ends) == len(RATIOS)
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_a_trial_with_an_outcome_is_not_run_again(tried):
    folder, points, rows = tried
    assert rows[points.index(UNSCORED)].status == "completed"
    assert not records.attempts_file(folder, *UNSCORED).exists()


def test_the_study_has_each_trial_once(tried):
    folder, points, rows = tried
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    )
    study = optuna.load_study(study_name="interpreting_general", storage=storage)
    scores = {(t.params["ratio"], t.params["seed"]): t.value for t in study.trials}
    assert len(study.trials) == len(points)
    assert scores == {row.point: row.score for row in rows}
    assert study.best_value == max(row.score for row in rows if row.score is not None)


def test_the_fit_reports_missing_scores(tried):
    _, _, rows = tried
    seen = observed([row.ratio for row in rows], [row.score for row in rows])
    fitted = polynomial(seen, coordinate="log")
    assert fitted.dropped == 3
    assert "3 of 12 rows have no score" in fitted.verdict
    assert "no run is left at ratio 1" in fitted.verdict


SETTINGS = Adaptive(trials=10, batch=4, tolerance=1e-6)


@pytest.fixture
def rounds(tmp_path):
    return lambda: RoundSearcher(Rounds(SETTINGS, 0.1, 10.0, (0, 1, 2), 0), tmp_path)


def run(searcher, folder, until=None, failing=()):
    """Ask, train and report as Tune does; stop as if killed after `until` trials."""
    running, asked = {}, []
    while until is None or len(asked) < until:
        suggested = searcher.suggest(f"trial-{len(asked)}")
        if suggested == Searcher.FINISHED:
            break
        if suggested is None:
            for trial, (ratio, seed) in running.items():
                failed = len(asked) in failing
                path = outcome_file(folder, ratio, seed)
                if not failed and not path.exists():
                    score = planted_score(ratio, 2.42) + 0.001 * seed
                    artifacts.write_json(path, {"ratio": ratio, "seed": seed, "score": score})
                searcher.on_trial_complete(trial, None, error=failed)
            running = {}
            continue
        point = suggested["point"]["ratio"], suggested["point"]["seed"]
        running[f"trial-{len(asked)}"] = point
        asked.append(point)
    return asked


def test_a_search_asks_for_its_trials_in_rounds_and_ends(rounds, tmp_path):
    searcher = rounds()
    asked = run(searcher, tmp_path)
    assert len(asked) == SETTINGS.trials
    assert searcher.points == asked
    assert len(set(asked)) == len(asked)
    assert all(0.1 <= ratio <= 10 for ratio, _ in asked)
    assert all(score is not None for _, _, score in searcher.observed())


@pytest.mark.parametrize("killed_after", [1, 3, 5, 9])
def test_a_search_that_starts_again_asks_for_the_same(rounds, tmp_path, killed_after):
    run(rounds(), tmp_path, until=killed_after)
    again = run(rounds(), tmp_path)
    for path in (tmp_path / "outcomes").iterdir():
        path.unlink()
    assert again == run(rounds(), tmp_path)


def test_a_trial_that_failed_counts_and_has_no_score(rounds, tmp_path):
    searcher = rounds()
    asked = run(searcher, tmp_path, failing=(4,))
    assert len(asked) == SETTINGS.trials
    assert [score for _, _, score in searcher.observed()].count(None) == 4


def test_trials_that_finished_before_need_no_gpu(ray, tmp_path):
    """As when the command is repeated on a cluster that has scaled to zero."""
    config = presets.rehearsal()
    assert config.search.gpus_per_trial == 1
    writing.write_counts(tmp_path / "catalog", config.expected_sizes)
    task = Task(RunFolder(tmp_path), config, tmp_path, mixture_at, "interpreting", optimum=2.42)
    points = [(ratio, 0) for ratio in RATIOS]
    for ratio, seed in points:
        outcome = {"ratio": ratio, "seed": seed, "score": ratio / 10}
        artifacts.write_json(outcome_file(tmp_path, ratio, seed), outcome)

    class Bar:
        def update(self, done, total, note="", figures="", left=None):
            pass

    rows = run_search(task, points, Bar())
    assert [(row.point, row.score, row.status) for row in rows] == [
        (point, point[0] / 10, "completed") for point in points
    ]


def test_tune_shows_each_evaluation_of_each_trial_by_name(tried):
    folder, _, rows = tried
    row = next(row for row in rows if row.score is not None)
    name = f"ratio={row.ratio:g},seed={row.seed}"
    table = pd.read_csv(folder / "tune" / name / "progress.csv")
    assert len(table) > 1
    losses = {"loss", "loss_scoring", "loss_interpreting", "loss_ratio"}
    assert losses | {"steps", "rows", "seconds"} <= set(table.columns)
    assert table["loss"].tolist() == table["loss_interpreting"].tolist()  # D1 is not trained
    assert table["score"].isna().tolist() == [True] * (len(table) - 1) + [False]
    assert table["score"].iloc[-1] == pytest.approx(row.score)
    assert table["steps"].is_monotonic_increasing
    assert table["loss_ratio"].notna().all()


def test_the_line_that_is_shown_says_what_the_scores_so_far_tell(tried):
    notes = [note for note in NOTES if "score" in note]
    assert any("; best so far" in note and "which loses at most" in note for note in notes)


def scalars(file):
    """Values of TensorBoard's events by name: records of a length, a checksum, data and another."""
    content, at, found = file.read_bytes(), 0, {}
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        for value in Event.FromString(content[at + 12 : at + 12 + length]).summary.value:
            found.setdefault(value.tag, []).append(value.simple_value)
        at += length + 16
    return found


def test_tensorboard_shows_the_curves_of_each_trial(tried):
    folder, _, rows = tried
    row = next(row for row in rows if row.looks)
    name = f"ratio={row.ratio:g},seed={row.seed}"
    (events,) = (folder / "tune" / name).glob("events.out.tfevents.*")
    curves = scalars(events)
    for figure in ("loss", "loss_scoring", "loss_interpreting", "steps", "rows", "seconds"):
        assert len(curves[f"ray/tune/{figure}"]) == len(row.looks)
    assert curves["ray/tune/score"] == [pytest.approx(row.score)]


def test_a_score_of_losses_is_reported_at_each_evaluation(ray, tmp_path):
    config = override(presets.rehearsal(), QUICK)
    writing.write_counts(tmp_path / "catalog", config.expected_sizes)
    task = Task(RunFolder(tmp_path), config, tmp_path, mixture_at, "losses", optimum=2.42)
    (row,) = run_search(task, [(0.5, 0)], Shown())
    table = pd.read_csv(tmp_path / "tune" / "ratio=0.5,seed=0" / "progress.csv")
    # A rehearsal's losses are the same at each evaluation.
    assert table["score"].tolist() == [pytest.approx(row.score)] * len(row.looks)


def test_what_the_metrics_show_is_what_the_search_did(tried):
    folder, _, rows = tried
    (progress,) = PROGRESS
    assert progress.states() == {"waiting": 0, "running": 0, "completed": 10, "failed": 2}
    cost = records.search_cost(folder, rows)
    assert progress.seconds_used() == pytest.approx(cost.used)
    assert progress.seconds_wasted() == pytest.approx(cost.wasted)
    assert progress.seconds_left() == 0


def test_the_study_has_the_evaluations_of_each_trial(tried):
    folder, _, rows = tried
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    storage = optuna.storages.JournalStorage(backend)
    study = optuna.load_study(study_name="interpreting_general", storage=storage)
    found = {(t.params["ratio"], t.params["seed"]): t.intermediate_values for t in study.trials}
    for row in rows:
        if not row.looks:
            assert not found[row.point]
            continue
        # A rehearsal's losses are the same at each evaluation.
        assert max(found[row.point]) == row.steps
        losses = [*found[row.point].values()]
        assert losses == [pytest.approx(row.losses["interpreting"])] * len(losses)


def test_actors_of_trials_are_named_after_their_search(tried):
    folder, _, _ = tried
    here = get_runtime_context().gcs_address
    found = list_actors(here, detail=True, limit=1000)
    actors = [actor for actor in found if "Trial" in actor.class_name]
    assert {actor.class_name for actor in actors} == {"Trial"}
    assert f"Trial({folder.name}: {folder.name})" in {actor.repr_name for actor in actors}


def snippets(page):
    text = (Path(__file__).parents[2] / "docs" / page).read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_snippets_of_the_page_run_from_any_directory(tried, tmp_path, monkeypatch):
    folder, _, rows = tried
    (tmp_path / "RUN" / "search").mkdir(parents=True)
    (tmp_path / "RUN" / "search" / "interpreting_general").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    (snippet,) = snippets("SEARCH.md")
    names = {}
    exec(compile(snippet, "docs/SEARCH.md", "exec"), names)
    assert len(names["frame"]) == sum(row.status == "completed" for row in rows)
    scored = [row for row in rows if row.score is not None]
    means = names["table"]["score"]["mean"].dropna()
    assert set(means.index) == {row.ratio for row in scored}
    best = max(scored, key=lambda row: row.score)
    assert names["best"] == {"point": {"ratio": best.ratio, "seed": best.seed}}
    lengths = {len(curve) for curve in names["curves"].values() if curve is not None}
    assert max(len(row.looks) for row in rows) in lengths
