"""Raw outputs to results: planted truths, published figures, ids that differ, pairs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qsit_ray import tables
from qsit_ray.errors import InputError
from qsit_ray.evaluation import correlation, iqa, outputs
from qsit_ray.levels import LEVELS, Range

WORDS = {word: word for word in LEVELS}


def table(folder, name="t.csv", **columns):
    path = folder / name
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def planted(rows=400, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=rows)
    return truth, truth + noise * rng.normal(size=rows)


def by_word(logits):
    return dict(zip(LEVELS, logits.T, strict=True))


def ids(rows):
    return [f"{i}.jpg" for i in range(rows)]


def test_a_score_column_gives_scipys_figures(tmp_path):
    truth, score = planted()
    path = table(tmp_path, id=ids(400), mos=truth, pred=score)
    found = outputs.score_iqa(
        path, outputs.Scoring(score="pred"), id_column="id", truth_column="mos"
    )
    overall = found.overall
    assert overall.srcc == pytest.approx(stats.spearmanr(truth, score).statistic)
    assert overall.plcc == pytest.approx(stats.pearsonr(truth, score).statistic)
    assert overall.krcc == pytest.approx(stats.kendalltau(truth, score).statistic)
    assert overall.rmse == pytest.approx(np.sqrt(np.mean((truth - score) ** 2)))
    assert overall.average == pytest.approx((overall.srcc + overall.plcc) / 2)
    low, high = overall.intervals["plcc"]
    assert low < overall.plcc < high
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert written["overall"] == {key: written[key] for key in written["overall"]}
    assert written["groups"] == {} and written["rows"] == 400


def test_groups_may_share_ids_and_are_marked_by_training(tmp_path):
    truth, score = planted(300)
    sets = np.repeat(["koniq", "spaq", "livec"], 100)
    path = table(tmp_path, id=ids(100) * 3, mos=truth, pred=score, set=sets)
    found = outputs.score_iqa(
        path,
        outputs.Scoring(score="pred"),
        id_column="id",
        truth_column="mos",
        by="set",
        trained_on=["koniq", "spaq"],
    )
    groups = found.groups
    settings = {name: group["setting"] for name, group in found.to_json()["groups"].items()}
    assert settings == {"koniq": "intra", "spaq": "intra", "livec": "cross"}
    assert groups["livec"] == iqa.score_predictions(truth[200:], score[200:])
    assert found.to_json()["average_of_groups"] == pytest.approx(
        np.mean([g.average for g in groups.values()])
    )
    means = {row.setting: row.srcc for row in found.table_iv if row.dataset is None}
    assert means["intra"] == pytest.approx((groups["koniq"].srcc + groups["spaq"].srcc) / 2)
    assert means["cross"] == groups["livec"].srcc
    with pytest.raises(InputError, match=r"more than once: '0\.jpg' in row 1"):
        outputs.score_iqa(path, outputs.Scoring("pred"), id_column="id", truth_column="mos")


def test_a_mean_of_table_iv_is_undefined_where_a_figure_is():
    defined = iqa.score_predictions(*planted(20))
    undefined = dataclasses.replace(defined, srcc=None)
    rows = iqa.table_iv("m", {"a": defined, "b": undefined}, ["b"])
    assert [(row.dataset, row.setting) for row in rows] == [
        ("a", "cross"),
        ("b", "intra"),
        (None, "intra"),
        (None, "cross"),
    ]
    assert rows[2].srcc is None and rows[2].plcc == defined.plcc


def test_five_level_words_take_their_numbers_in_any_order(tmp_path):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(50, 5))
    path = table(tmp_path, id=ids(50), mos=logits @ np.arange(5.0), **by_word(logits))
    found = [
        outputs.score_iqa(
            path, outputs.Scoring(logits=w), id_column="id", truth_column="mos"
        ).to_json()
        for w in (WORDS, dict(reversed(WORDS.items())))
    ]
    assert found[0] == found[1]
    assert found[0]["weights"] == [1, 2, 3, 4, 5] and found[0]["srcc"] > 0.4
    other = {"low": "bad", "middle": "fair", "high": "excellent"}
    ways = (other, dict(reversed(other.items())))
    up, down = (
        outputs.score_iqa(
            path, outputs.Scoring(logits=w), id_column="id", truth_column="mos"
        ).to_json()
        for w in ways
    )
    assert up["weights"] == [1, 3, 5] and up["srcc"] == pytest.approx(-down["srcc"])


def test_ranks_do_not_depend_on_the_rounding_of_exp(tmp_path):
    # Mirrored logits have a score of exactly 3; softmax in float64 may miss it by one unit.
    rng = np.random.default_rng(2)
    half = np.float16(rng.normal(size=(200, 3))).astype(float)
    mirrored = np.column_stack([half, half[:, 1], half[:, 0]])
    mirrored[:5, 4] += 1
    path = table(tmp_path, id=ids(200), mos=np.arange(200.0), **by_word(mirrored))
    found = outputs.Scoring(logits=WORDS).read(tables.read(path))
    assert len(np.unique(found.rank_on)) == 6 and len(np.unique(found.score)) > 6
    assert "float64" in found.ranked_on


def test_two_levels_rank_on_the_margin_where_the_score_has_saturated(tmp_path):
    margin = np.linspace(40, 90, 30)
    path = table(tmp_path, id=ids(30), mos=np.arange(30), good=margin, poor=0 * margin)
    two = {"good": "good", "poor": "poor"}
    pair = dict(reversed(two.items()))
    for way in (outputs.Scoring(two_level=two, temperature=1), outputs.Scoring(logits=pair)):
        found = outputs.score_iqa(path, way, id_column="id", truth_column="mos")
        overall = found.overall
        assert overall.srcc == pytest.approx(1) and "margin" in found.predicted.ranked_on
        # Every score is 1 (5 of two words): PLCC is undefined, SRCC is not.
        assert overall.plcc is None and "prediction" in overall.reasons["plcc"]
        assert overall.intervals["srcc"] == pytest.approx((1, 1))
    found = outputs.score_iqa(
        path, outputs.Scoring(two_level=two), id_column="id", truth_column="mos"
    )
    assert found.to_json()["temperature"] == 100


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ({}, "one of --score"),
        ({"score": "a", "logits": WORDS}, "one of --score"),
        ({"logits": {"good": "a"}}, "two level words or more"),
        ({"two_level": {"high": "a", "low": "b"}}, "good=COL,poor=COL"),
        ({"score": "a", "temperature": 2.0}, "belongs to --two-level"),
    ],
)
def test_a_scoring_that_is_none_or_several_is_refused(way, words):
    with pytest.raises(InputError, match=words):
        outputs.Scoring(**way)


def test_word_columns_keep_their_order():
    assert list(outputs.word_columns(" bad=a, good = b ", "--logits").items()) == [
        ("bad", "a"),
        ("good", "b"),
    ]
    for text in ("bad", "bad=", "=a", "bad=a,bad=b", ""):
        with pytest.raises(InputError, match="--logits"):
            outputs.word_columns(text, "--logits")


def test_a_better_model_is_found_better_over_the_ids_in_both(tmp_path):
    truth, good = planted(noise=0.3)
    bad = truth + np.random.default_rng(5).normal(size=400)
    a = table(tmp_path, "a.csv", id=ids(400)[10:], truth=truth[10:], score=good[10:])
    order = np.random.default_rng(6).permutation(395)
    b = table(tmp_path, "b.csv", id=np.array(ids(400))[order], truth=truth[order], score=bad[order])
    found = outputs.compare_iqa(a, b).content
    assert found["rows"] == 385
    assert found["only_in_a"] == ids(400)[395:] and found["only_in_a_count"] == 5
    assert sorted(found["only_in_b"]) == sorted(ids(10)) and found["only_in_b_count"] == 10
    both = slice(10, 395)
    assert found["a"] == pytest.approx(correlation.srcc(truth[both], good[both]))
    assert found["b"] == pytest.approx(correlation.srcc(truth[both], bad[both]))
    assert found["difference"] == pytest.approx(found["a"] - found["b"])
    assert 0 < found["interval"][0] < found["difference"] < found["interval"][1]
    assert found["p_value"] < 0.01 and found["p_williams"] < 1e-6
    assert found["metrics"]["rmse"]["difference"] < 0
    swapped = outputs.compare_iqa(b, a).content
    assert swapped["difference"] == pytest.approx(-found["difference"])
    assert swapped["p_williams"] == pytest.approx(found["p_williams"])
    json.dumps(found, allow_nan=False)


def test_the_same_model_twice_differs_by_nothing():
    truth, score = planted(60)
    found = iqa.compare_predictions(truth, score, score)
    for metric in iqa.METRICS:
        assert found[metric].difference == 0 and found[metric].p_value == 1
        assert found[metric].interval == (0, 0)
    assert found["srcc"].p_williams == 1


def test_the_interval_of_a_difference_excludes_0_exactly_where_p_is_small():
    truth, a = planted(80, seed=7)
    rng = np.random.default_rng(8)
    for noise in (0.4, 0.55, 0.7):
        found = iqa.compare_predictions(truth, a, truth + noise * rng.normal(size=80))["plcc"]
        low, high = found.interval
        assert (low > 0 or high < 0) == (found.p_value < 0.05)


def test_an_undefined_side_gives_nulls_and_the_reason(tmp_path):
    truth, score = planted(20)
    found = iqa.compare_predictions(truth, score, np.ones(20))["srcc"]
    assert found.b is found.difference is found.p_value is None
    assert found.reason == "b: every prediction is equal: no correlation is defined"


def test_files_that_can_not_be_compared_are_refused(tmp_path):
    a = table(tmp_path, "a.csv", id=["x", "y", "z"], mos=[1, 2, 3], score=[1, 2, 3])
    b = table(tmp_path, "b.csv", id=["x", "y", "z"], mos=[1, 2, 4], score=[1, 2, 3])
    with pytest.raises(InputError, match=r"1 ids different truths, the first 'z': 3 and 4"):
        outputs.compare_iqa(a, b)
    with pytest.raises(InputError, match="no id is in both"):
        outputs.compare_iqa(a, table(tmp_path, "c.csv", id=["q"], score=[1]))
    with pytest.raises(InputError, match="give --score COL: none of"):
        outputs.compare_iqa(a, table(tmp_path, "d.csv", id=["x"], quality=[1]))
    with pytest.raises(InputError, match="give --truth COL: truth, mos all could be"):
        outputs.compare_iqa(table(tmp_path, "e.csv", id=["x"], truth=[1], mos=[1], score=[1]), a)
    bare = table(tmp_path, "f.csv", id=["x", "y", "z"], score=[3, 2, 1])
    assert outputs.compare_iqa(a, bare).metrics["srcc"].difference == pytest.approx(2)


def test_raw_qbench_logits_reproduce_the_published_figures(shared_data: Path, tmp_path):
    expected = pd.read_csv(shared_data / "qbench_expected_koniq_livec.csv")
    for row in expected[expected.dataset == "livec"].itertuples():
        frame = pd.read_parquet(shared_data / "qbench_logits_livec.parquet")
        keys = [row.good_key.removeprefix("logit_"), row.poor_key.removeprefix("logit_")]
        raw = "".join(
            json.dumps({"img_path": i, "gt_score": t, "good": f" {g} ", "poor": p})
            for i, t, g, p in zip(
                frame.image,
                frame.gt_score,
                *(frame[f"{row.model}__{key}"] for key in keys),
                strict=True,
            )
        )
        path = tmp_path / f"{row.model}.json"
        path.write_text(raw)
        read = tables.read(path)
        made = outputs.Scoring(two_level={"good": "good", "poor": "poor"}).read(read)
        truth = read.numbers("gt_score")
        found = correlation.srcc(truth, made.rank_on), correlation.plcc(truth, made.score)
        assert found == pytest.approx((row.srcc_margin_exact_ties, row.plcc_T100), abs=5e-4)


def test_rows_of_one_cluster_widen_the_interval_of_scores_and_of_differences(tmp_path):
    truth, score = planted(40)
    other = planted(40, noise=1.0, seed=1)[1] + truth
    once = {"mos": truth, "a": score, "b": other}
    four = {name: np.repeat(column, 4) for name, column in once.items()}
    reference = np.repeat(ids(40), 4)
    path = table(tmp_path, id=ids(160), reference=reference, **four)
    rows, clusters = (
        outputs.score_iqa(
            path,
            outputs.Scoring(score="a"),
            id_column="id",
            truth_column="mos",
            cluster_column=column,
        )
        for column in (None, "reference")
    )
    widths = [np.ptp(found.overall.intervals["plcc"]) for found in (rows, clusters)]
    assert widths[1] > 1.6 * widths[0]  # twice, but for the resampling
    assert (rows.clusters, clusters.clusters) == (None, 40)
    assert clusters.to_json()["clusters"] == 40
    a = table(tmp_path, "a.csv", id=ids(160), truth=four["mos"], score=four["a"], of=reference)
    b = table(tmp_path, "b.csv", id=ids(160), score=four["b"])
    apart = [outputs.compare_iqa(a, b, cluster_column=column) for column in (None, "of")]
    widths = [np.ptp(found.metrics["plcc"].interval) for found in apart]
    assert widths[1] > 1.6 * widths[0]
    assert apart[1].clusters == 40


def test_only_rows_that_have_a_value_are_read(tmp_path):
    truth, score = planted(60)
    mos = [f"{each}" if n % 2 else "" for n, each in enumerate(truth)]
    path = table(tmp_path, id=ids(60), kind=["q", "iqa"] * 30, mos=mos, score=score)
    chosen = {
        "scoring": outputs.Scoring(score="score"),
        "id_column": "id",
        "truth_column": "mos",
    }
    found = outputs.score_iqa(path, where={"kind": "iqa"}, **chosen)
    assert found.overall.srcc == pytest.approx(stats.spearmanr(truth[1::2], score[1::2]).statistic)
    with pytest.raises(InputError, match=r"row 1 \(line 2\) is missing, row 3 \(line 4\)"):
        outputs.score_iqa(path, where={"kind": "q"}, **chosen)
    with pytest.raises(InputError, match="no row has 'x'"):
        outputs.score_iqa(path, where={"kind": "x"}, **chosen)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_figures_do_not_depend_on_the_size_of_the_scores(tmp_path, scale):
    truth, score = planted(40)
    found = [
        outputs.score_iqa(
            table(tmp_path, id=ids(40), mos=truth, pred=score * factor),
            outputs.Scoring(score="pred"),
            id_column="id",
            truth_column="mos",
        ).overall
        for factor in (1.0, scale)
    ]
    for name in ("srcc", "plcc", "plcc_logistic", "krcc", "rmse_logistic"):
        assert getattr(found[1], name) == pytest.approx(getattr(found[0], name), rel=1e-6)
    assert np.isfinite(found[1].rmse)


def test_the_most_probable_level_is_compared_with_that_of_the_mos(tmp_path):
    """Of four images the model is sure; one of them is another level."""
    logits = np.full((4, 5), -20.0)
    logits[np.arange(4), [0, 1, 2, 2]] = 20.0
    path = table(tmp_path, id=ids(4), mos=[10, 30, 50, 70], **by_word(logits))
    scoring = outputs.Scoring(logits={word.capitalize(): word for word in LEVELS})
    with pytest.raises(InputError, match="--range needs --logits"):
        outputs.score_iqa(
            path, scoring, id_column="id", truth_column="mos", level_range=Range.parse("dataset")
        )
    scoring = outputs.Scoring(logits={word: word for word in LEVELS})
    whole = Range.parse("explicit:0:100")
    found = outputs.score_iqa(
        path, scoring, id_column="id", truth_column="mos", level_range=whole
    ).levels
    assert (found.rows, found.accuracy) == (4, 0.75)
    assert found.confidence == pytest.approx(1)
    assert found.calibration_error == pytest.approx(0.25)
    assert (found.clipped, found.rejected) == (0, 0)
    high = table(tmp_path, "h.csv", id=ids(4), mos=[94, 95, 96, 97], **by_word(logits))
    with pytest.raises(InputError, match=r"h\.csv: none of the images has a level"):
        outputs.score_iqa(
            high,
            scoring,
            id_column="id",
            truth_column="mos",
            level_range=Range.parse("spaq-release"),
        )


def test_level_words_are_read_however_they_are_written():
    chosen = outputs.word_columns("Bad=a,POOR=b,Fair=c,good=d,Excellent=e", "--logits")
    assert list(chosen) == list(LEVELS)
