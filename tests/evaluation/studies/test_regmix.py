"""Alternatives are compared on held-out models; the law that made losses predicts them best."""

import numpy as np
import pytest
from pages import read_section

from qsit_ray.errors import InputError
from qsit_ray.evaluation.studies.regmix import (
    MIXTURES,
    RATIOS,
    Mixing,
    errors_table,
    mixtures,
    ratios,
    read,
    write,
)


def made(models=120, noise=0.01, seed=0):
    """Losses by the law itself, over random mixtures of four domains."""
    chance = np.random.default_rng(seed)
    weights = chance.dirichlet(np.full(4, 0.6), models)
    slopes = np.array([[-2.0, 0.5, 0.2, -0.3], [0.4, -2.5, 0.3, 0.6]]).T
    losses = 2 + np.exp(weights @ slopes) + chance.normal(0, noise, (models, 2))
    return Mixing(["a", "b", "c", "d"], weights, ["a", "b"], losses)


def test_the_law_predicts_losses_made_by_the_law():
    found = mixtures(made(), splits=2, seed=0)
    assert set(found) == set(MIXTURES)
    law = found["log-linear law"]
    assert law.srcc.shape == (2, 2)
    assert law.srcc.mean() > 0.99 and law.error.mean() < 0.1
    assert all(law.error.mean() <= held.error.mean() for held in found.values())
    assert found["linear"].error.mean() > 2 * law.error.mean()


def test_over_one_ratio_curves_follow_and_the_seed_decides():
    found, again = (ratios(made(), splits=2, seed=3) for _ in range(2))
    assert set(found) == set(RATIOS)
    for name, held in found.items():
        assert np.array_equal(held.srcc, again[name].srcc)
        assert held.srcc.mean() > 0.8


def table(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def folder(path, indices=(1, 2, 3)):
    header = "index,train_the_pile_a,train_the_pile_b"
    table(path / "train_mixture_1m.csv", header, [(i, 0.2 * i, 1 - 0.2 * i) for i in (1, 2, 3)])
    header = "index,metric/the_pile_a_val_loss"
    table(path / "train_pile_loss_1m.csv", header, [(i, 3.5 - i) for i in indices])
    return path


def test_the_files_are_read_and_must_have_the_same_rows(tmp_path):
    data = read(folder(tmp_path))
    assert (data.domains, data.targets) == (["a", "b"], ["a"])
    assert np.allclose(data.weights.sum(axis=1), 1) and data.losses[:, 0].tolist() == [
        2.5,
        1.5,
        0.5,
    ]
    with pytest.raises(InputError, match=r"train_pile_loss_1m.csv: its rows are not those"):
        read(folder(tmp_path, indices=(1, 3, 2)))
    with pytest.raises(InputError, match=r"train_mixture_1m.csv"):
        read(tmp_path / "absent")


def test_the_tables_have_every_alternative():
    data = made()
    for found, names in ((mixtures(data, 1, 0), MIXTURES), (ratios(data, 1, 0), RATIOS)):
        lines = errors_table(found, data.targets).splitlines()
        assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == list(names)


@pytest.mark.slow
def test_on_real_models_the_law_and_the_process_rank_best(shared_data, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- regmix: begin --><!-- regmix: end -->")
    write(shared_data / "regmix", page, splits=2, seed=1)
    rows = [line.split(" | ") for line in read_section(page, "regmix").splitlines()]
    rank = {row[0].removeprefix("| "): float(row[1]) for row in rows if row[0][2:] in MIXTURES}
    assert rank["log-linear law"] > 0.95 and rank["Gaussian process"] > 0.95
    assert (
        rank["linear"] < rank["quadratic"] < min(rank["log-linear law"], rank["Gaussian process"])
    )
