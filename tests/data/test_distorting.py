"""Images of a folder are distorted once each, as their names and the seed say."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from qsit_ray.artifacts import path_of
from qsit_ray.cli.app import app
from qsit_ray.data import distorting, distortions
from qsit_ray.data.distortions import Distortion, distorted, drawn
from qsit_ray.errors import InputError

GREY = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)


def test_kinds_and_severities_are_drawn_evenly_and_by_name_alone():
    found = [drawn(f"{n}.jpg", 0) for n in range(6000)]
    kinds = Counter(each.kind for each in found)
    assert set(kinds) == set(distortions.KINDS)
    assert max(kinds.values()) < 1.25 * min(kinds.values())
    assert len({each.severity for each in found}) == 5
    assert drawn("7.jpg", 0) == found[7]
    assert [drawn(f"{n}.jpg", 1) for n in range(50)] != found[:50]


@pytest.mark.parametrize("kind", distortions.KINDS)
def test_a_distortion_is_the_same_with_the_same_seed_and_grows_with_severity(kind):
    smooth = np.asarray(Image.fromarray(GREY).resize((96, 64), Image.Resampling.BICUBIC))
    of = {s: distorted(smooth, Distortion(kind, s, 5)) for s in (1, 5)}
    assert np.array_equal(of[1], distorted(smooth, Distortion(kind, 1, 5)))
    assert of[1].shape == smooth.shape
    off = [np.abs(of[s].astype(float) - smooth).mean() for s in (1, 5)]
    assert 0 < off[0] < off[1]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31 - 1))
def test_numpys_generator_is_left_as_it_was(seed):
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    distorted(GREY, Distortion("gaussian_noise", 1, seed))
    assert np.random.random() == expected


def test_a_tiny_image_is_refused():
    with pytest.raises(InputError, match="56 × 20 pixels"):
        distorted(GREY[:20], Distortion("fog", 1, 0))


def distort(*words):
    done = CliRunner().invoke(app, ["data", "distort", *map(str, words), "--json"])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def test_a_folder_is_distorted_once_and_goes_on_where_it_stopped(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    for n in range(20):
        Image.fromarray(GREY).save(source / ("deep" if n % 2 else ".") / f"{n}.png")
    (source / "broken.jpg").write_bytes(b"no")
    (source / "notes.txt").write_text("no image")
    first = distort(source, out, "--seed", "3")
    assert (first["images"], first["made"], first["rejected"]) == (20, 20, 1)
    records = [json.loads(line) for line in (out / "distortions.jsonl").read_text().splitlines()]
    assert len(records) == 20
    for record in records:
        what = Distortion(record["kind"], record["severity"], record["seed"])
        assert what == drawn(record["source"], 3)
        made = np.asarray(Image.open(out / record["image"]))
        assert np.array_equal(made, distorted(GREY, what))
    reject = json.loads((out / "rejects.jsonl").read_text())
    assert reject["source"] == "broken.jpg"
    # Two are lost; they alone are made again, the same.
    kept = {path: path.read_bytes() for path in out.rglob("*.png")}
    lost = sorted(kept)[:2]
    for path in lost:
        path.unlink()
    again = distort(source, out, "--seed", "3")
    assert (again["images"], again["made"]) == (20, 2)
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == kept


def test_folders_that_would_mix_and_an_empty_one_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="no image below it"):
        distort(tmp_path / "in", tmp_path / "out")
    with pytest.raises(InputError, match="one within the other"):
        distort(tmp_path / "in", tmp_path / "in" / "out")


def test_another_seed_or_foreign_images_are_not_mixed_in(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(GREY).save(source / "0.png")
    out.mkdir()
    Image.fromarray(GREY).save(out / "mine.png")
    with pytest.raises(InputError, match="1 images of another origin"):
        distort(source, out)
    (out / "mine.png").unlink()
    (out / "settings.json").write_text('{"seed": 0}')
    with pytest.raises(InputError, match=r"made with \{'seed': 0\}, not seed 1"):
        distort(source, out, "--seed", "1")


def test_a_bucket_is_listed_and_is_no_local_folder(tmp_path):
    bucket = path_of("memory://bucket/set")
    (bucket / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.JPG", "c.txt", ".d.png"):
        (bucket / name).write_bytes(b"x")
    assert distorting._images(bucket) == ["a.png", "deep/b.JPG"]
    with pytest.raises(InputError, match="no image below it"):
        distorting.distort(tmp_path, bucket / "out", 0, lambda *_: None)
    (tmp_path / "0.png").write_bytes(b"x")
    with pytest.raises(InputError, match="no image below it"):
        distorting.distort(path_of("memory://empty/set"), tmp_path, 0, lambda *_: None)


def test_what_cant_be_read_or_distorted_is_a_reject(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "0.png")
    distorter = distorting.Distorter(tmp_path, tmp_path / "out", 0)
    assert "can't be read" in distorter._error("gone.png")

    def odd(pixels, what):
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(distorting, "distorted", odd)
    assert distorter._error("0.png") == "can't be distorted: odd"
    assert not (tmp_path / "out").exists()


def test_without_the_package_nothing_begins(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "0.png")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="imagecorruptions-imaug"):
        distorting.distort(tmp_path, tmp_path.with_name("out"), 0, lambda *_: None)
