"""MOS become level words, and every row is accounted for."""

import pandas as pd
import pytest
from scipy import stats

from qsit_ray.evaluation.level_tables import convert_mos
from qsit_ray.levels import level_numbers


def table(folder, **columns):
    path = folder / "t.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_levels_account_for_every_row(tmp_path):
    mos = [2.0, 18.8, 56.4, 93.99, 94.0, 96.0]
    path = table(tmp_path, image=[f"{n}.jpg" for n in range(6)], mos=mos)
    converted = convert_mos(
        path, id_column="image", mos_column="mos", range_text="spaq-release", boundary=None
    )
    found, columns = converted.to_json(), converted.columns()
    assert columns["level"] == ["bad", "poor", "fair", "excellent"]
    assert (found["rows"], found["written"], found["rejected"]) == (6, 4, 2)
    assert [(r["row"], r["id"], r["mos"]) for r in found["rejected_rows"]] == [
        (5, "4.jpg", 94),
        (6, "5.jpg", 96),
    ]
    assert sum(found["counts"].values()) == found["written"]
    numbers = level_numbers(columns["level"])
    assert found["srcc"] == pytest.approx(stats.spearmanr(mos[:4], numbers).statistic)
    assert found["plcc"] == pytest.approx(stats.pearsonr(mos[:4], numbers).statistic)


def test_two_rows_have_levels_and_no_correlation(tmp_path):
    path = table(tmp_path, id=["a", "b"], mos=[1, 5])
    converted = convert_mos(
        path, id_column="id", mos_column="mos", range_text="dataset", boundary="right"
    )
    assert converted.columns()["level"] == ["bad", "excellent"]
    assert converted.agreement.srcc is None
    assert "at least 3" in converted.reasons["srcc"]
