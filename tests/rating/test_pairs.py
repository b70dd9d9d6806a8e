"""Images of two folders are paired by name; no image is lost, and none is scored twice."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qsit_ray.errors import InputError
from qsit_ray.prompts import OFFICIAL, PAPER
from qsit_ray.rating import pairs
from qsit_ray.rating.pairs import Pair, ScoredPair
from qsit_ray.rating.results import Reject, Score


def folders(tmp_path, a, b):
    """Two folders of files whose bytes are their folder's letter, or the text that is given."""
    for letter, names in (("a", a), ("b", b)):
        (tmp_path / letter).mkdir()
        for name in names:
            path = tmp_path / letter / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(names[name] if isinstance(names, dict) else letter)
    return tmp_path / "a", tmp_path / "b"


def score(image, value):
    return Score(str(image), value, {}, 0.0, 0.0, 0.0)


def scored(name, a, b):
    return ScoredPair(Pair(name, a, b, False), a, b)


def test_endings_may_differ_and_subfolders_count(tmp_path):
    a, b = folders(tmp_path, ["x.png", "in/x.png", "v1.2.png"], ["x.JPG", "in/x.webp", "v1.2.jpg"])
    found = pairs.paired(a, b)
    assert [(each.name, each.a, each.b) for each in found.pairs] == [
        ("in/x", a / "in/x.png", b / "in/x.webp"),
        ("v1.2", a / "v1.2.png", b / "v1.2.jpg"),
        ("x", a / "x.png", b / "x.JPG"),
    ]
    assert not found.rejects


def test_every_image_is_in_a_pair_or_rejected(tmp_path):
    a, b = folders(
        tmp_path, ["x.png", "y.png", "z.png", "z.jpg", ".h.png", "t.txt"], ["x.png", "w.png"]
    )
    found = pairs.paired(a, b)
    assert [each.name for each in found.pairs] == ["x"]
    assert [each.image for each in found.rejects] == [
        str(b / "w.png"), str(a / "y.png"), str(a / "z.jpg"), str(a / "z.png"),
    ]  # fmt: skip
    assert found.rejects[0].reason == f"{b / 'w.png'}: {a} has no image of this name"


def test_a_partner_of_a_format_that_is_not_read_is_named(tmp_path):
    a, b = folders(tmp_path, ["x.png", "y[1].png"], ["x.png", "y[1].heic"])
    (reject,) = pairs.paired(a, b).rejects
    assert reject.reason == f"{a / 'y[1].png'}: Pillow does not read y[1].heic of {b}"


def test_equal_pixels_have_one_score_and_other_pixels_their_own(tmp_path):
    """Where rounding alone may have moved them: far apart they can't be the same."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    for name, change in (("same", 0), ("other", 1)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        Image.fromarray(pixels ^ change).save(tmp_path / f"{name}.bmp")
    found = [
        Pair(name, tmp_path / f"{name}.png", tmp_path / f"{name}.bmp", False)
        for name in ("same", "other")
    ]
    coming = [score("s", 3.0), score("s", 3.03), score("o", 3.0), score("o", 3.03)]
    same, other = pairs.scored(found, coming)
    assert (same.score_a, same.score_b) == (3.0, 3.0)
    assert (other.score_a, other.score_b) == (3.0, 3.03)


def test_names_of_both_endings_pair_where_both_folders_have_them(tmp_path):
    a, b = folders(tmp_path, ["x.png", "x.jpg"], ["x.png", "x.jpg"])
    found = pairs.paired(a, b)
    assert [(each.name, each.a.name, each.b.name) for each in found.pairs] == [
        ("x.jpg", "x.jpg", "x.jpg"), ("x.png", "x.png", "x.png"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("in_a", "in_b"),
    [(["x.png", "x.jpg"], ["x.png"]), (["x.png"], ["x.png", "x.jpg"]),
     (["x.png", "x.jpg"], ["x.png", "x.webp"])],
)  # fmt: skip
def test_an_open_pair_is_refused_with_its_files(tmp_path, in_a, in_b):
    a, b = folders(tmp_path, in_a, in_b)
    with pytest.raises(InputError, match="x: which are a pair") as refused:
        pairs.paired(a, b)
    for path in [*(a / name for name in in_a), *(b / name for name in in_b)]:
        assert str(path) in str(refused.value)


def test_folders_without_a_pair_are_refused(tmp_path):
    a, b = folders(tmp_path, ["x.png"], ["y.png"])
    with pytest.raises(InputError, match="no two images have the same name"):
        pairs.paired(a, b)
    with pytest.raises(InputError, match=r"x\.png: no such folder"):
        pairs.paired(a / "x.png", b)
    with pytest.raises(InputError, match="gone: no such folder"):
        pairs.paired(a, tmp_path / "gone")


def test_a_copy_is_scored_once_and_differs_by_exactly_zero(tmp_path):
    a, b = folders(tmp_path, {"x.png": "1", "y.png": "2"}, {"x.jpg": "1", "y.png": "3"})
    found = pairs.paired(a, b).pairs
    assert pairs.sources(found) == [a / "x.png", a / "y.png", b / "y.png"]
    values = [score("", value) for value in (3.3, 2.0, 1.5)]
    assert [each.difference for each in pairs.scored(found, values)] == [0, -0.5]
    assert pairs.sources(pairs.paired(a, a).pairs) == [a / "x.png", a / "y.png"]


def test_a_pair_with_an_unreadable_image_is_rejected_with_each_reason(tmp_path):
    a, b = folders(tmp_path, ["x.png", "y.png", "z.png"], ["x.png", "y.png", "z.png"])
    bad = [Reject(f"{n}", f"{n}: broken") for n in range(6)]
    found = pairs.paired(a, b).pairs
    coming = [score("", 1.0), bad[1], bad[2], bad[3], score("", 2.0), score("", 3.0)]
    x, y, z = pairs.scored(found, coming)
    assert x == Reject("x", "1: broken")
    assert y == Reject("y", "2: broken; 3: broken")
    assert z.to_row() == {
        "name": "z", "image_a": str(a / "z.png"), "image_b": str(b / "z.png"),
        "score_a": 2.0, "score_b": 3.0, "difference": 1.0,
    }  # fmt: skip


def test_a_name_that_is_no_text_can_be_shown(tmp_path):
    odd = os.fsdecode(b"x\xff.png")
    a, b = folders(tmp_path, [odd], [odd])
    (pair,) = pairs.paired(a, b).pairs
    assert (pair.name, pair.a) == ("x\\udcff", a / odd)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(1, 5), st.floats(1, 5)), max_size=20), st.integers(1, 6))
def test_the_worst_are_the_largest_drops_and_swapping_makes_them_the_best(values, most):
    forth = [scored(f"{n:02d}", a, b) for n, (a, b) in enumerate(values)]
    back = [scored(f"{n:02d}", b, a) for n, (a, b) in enumerate(values)]
    found = pairs.worst(forth, most, 1e-4)
    drops = sorted(a - b for a, b in values if a - b > 1e-4)[::-1]
    assert [-each.difference for each in found] == drops[:most]
    swapped = pairs.best(back, most, 1e-4)
    assert [each.pair.name for each in swapped] == [each.pair.name for each in found]


def test_rounding_is_a_part_of_a_level():
    assert pairs.rounding_of(PAPER) == pytest.approx(1e-4)
    assert pairs.rounding_of(OFFICIAL) == pytest.approx(1e-4 * np.diff(OFFICIAL.weights)[0])
