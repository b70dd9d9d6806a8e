"""Images within a pack are those of their files; rows do not depend on where images are."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from llava_files import Told
from PIL import Image
from upath import UPath

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.data import catalog, images, pack, sizing
from qsit_ray.data.audit import audit
from qsit_ray.errors import InputError
from qsit_ray.session import session
from qsit_ray.stages.catalog import build


def built(data, folder, **changes):
    """The run's catalog and what was said."""
    run, told = RunFolder(folder), Told()
    data = data.model_copy(update={"max_rejects": 0.1} | changes)
    build(run, presets.demo().model_copy(update={"data": data}), told)
    catalog.open_catalog.cache_clear()
    pack.open_index.cache_clear()
    return run, told.lines


def colours(folder):
    """Give every image a colour of its own."""
    for number, file in enumerate(sorted(folder.iterdir())):
        Image.new("RGB", (48, 32), (number, 2 * number, 3 * number)).save(file.with_suffix(".png"))
        file.with_suffix(".png").rename(file)


def pixels(run, path):
    return np.asarray(images.read(pack.place(run.catalog, path)))


def in_bucket(data, tmp_path):
    """The data in an object store's bucket."""
    bucket = UPath("memory://bucket/data")
    for file in (*tmp_path.glob("*.json"), *tmp_path.glob("*.csv"), *tmp_path.glob("images/*")):
        (bucket / file.relative_to(tmp_path).as_posix()).write_bytes(file.read_bytes())

    def moved(file):
        return file.replace(str(tmp_path), str(bucket))

    domains = ("scoring", "interpreting", "general")
    return data.model_copy(
        update={name: tuple(map(moved, getattr(data, name))) for name in domains}
        | {name: moved(getattr(data, name)) for name in ("images", "validation_questions")}
        | {"test_questions": moved(data.test_questions)}
        | {"test_images": {k: moved(v) for k, v in data.test_images.items()}}
    )


def test_rows_and_pictures_are_the_same_from_a_folder_a_pack_and_a_bucket(
    data, tmp_path, monkeypatch
):
    monkeypatch.setattr(pack, "PART", 7)
    described = data()
    colours(tmp_path / "images")
    (tmp_path / "images" / "3.jpg").write_bytes(b"no image")
    from_folder, said = built(described, tmp_path / "folder")
    from_pack, _ = built(described, tmp_path / "packed", packed=True)
    from_bucket, bucket_said = built(in_bucket(described, tmp_path), tmp_path / "bucket")
    assert any("rejects: 1" in line for line in said)
    counted = [
        [line for line in lines if "all rejects" not in line] for lines in (said, bucket_said)
    ]
    assert counted[0] == counted[1]
    assert (from_folder.catalog / "images").is_symlink()
    for run in (from_pack, from_bucket):
        parts = sorted(file.name for file in (run.catalog / "images").iterdir())
        assert parts == ["00000.arrow", "00001.arrow", "00002.arrow", "00003.arrow", "index.arrow"]
        for name in ("rows.arrow", "validation.parquet", "benchmarks/test/iqa.parquet"):
            assert (run.catalog / name).read_bytes() == (from_folder.catalog / name).read_bytes()
        shown = catalog.open_catalog(run.catalog).all_images()
        assert len(shown) == 23
        for path, _ in shown:
            assert np.array_equal(pixels(run, path), pixels(from_folder, path))
    with pytest.raises(InputError, match=r"3\.jpg: image file is missing"):
        pixels(from_pack, "images/3.jpg")


def test_a_pack_outlives_the_images_and_moves_with_its_run(data, tmp_path):
    described = data()
    run, _ = built(described, tmp_path / "run", packed=True)
    before = pixels(run, "images/a.jpg")
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    run.path.rename(tmp_path / "elsewhere")
    moved = RunFolder(tmp_path / "elsewhere")
    assert np.array_equal(pixels(moved, "images/a.jpg"), before)
    again, said = built(described, moved.path, packed=True)
    assert said == []
    assert audit(catalog.open_catalog(again.catalog), {}, lambda *_: None)


def test_a_stopped_pack_goes_on_where_it_was(data, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "PART", 5)
    described = data()
    packed, look = pack.write_part, []

    def stops(path, made_of, found):
        if len(look) == 3:
            raise KeyboardInterrupt
        look.append(path.name)
        return packed(path, made_of, found)

    monkeypatch.setattr(sizing, "cores", lambda: 1)
    monkeypatch.setattr(pack, "write_part", stops)
    with pytest.raises(KeyboardInterrupt):
        built(described, tmp_path / "run", packed=True)
    first, look[:] = set(look), []
    monkeypatch.setattr(pack, "write_part", lambda p, *of: look.append(p.name) or packed(p, *of))
    run, _ = built(described, tmp_path / "run", packed=True)
    assert len(first) == 3
    assert {*first, *look} == {f"{number:05}.arrow" for number in range(5)}
    assert not first & set(look)
    assert pixels(run, "images/q.jpg").shape == (32, 48, 3)


def test_images_mended_or_changed_after_a_refused_build_are_read_again(data, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "PART", 5)
    described = data()
    broken = tmp_path / "images" / "3.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:300])
    with pytest.raises(InputError, match=r"1 of 20 records rejected"):
        built(described, tmp_path / "run", packed=True, max_rejects=0.0)
    broken.write_bytes(whole)
    Image.new("RGB", (90, 70)).save(tmp_path / "images" / "x.jpg")
    run, _ = built(described, tmp_path / "run", packed=True, max_rejects=0.0)
    assert pixels(run, "images/3.jpg").shape == (32, 48, 3)
    assert pixels(run, "images/x.jpg").shape == (70, 90, 3)
    assert not run.packing.exists()


def test_a_build_that_fails_leaves_the_catalog_before_it_whole(data, tmp_path):
    described = data()
    run, _ = built(described, tmp_path / "run", packed=True)
    gone = described.model_copy(update={"general": (str(tmp_path / "gone.json"),)})
    with pytest.raises(InputError, match=r"gone\.json"):
        built(gone, tmp_path / "run", packed=True)
    assert pixels(run, "images/a.jpg").shape == (32, 48, 3)


def test_a_store_that_cant_be_reached_is_no_broken_image():
    class Unreachable:
        def read_bytes(self):
            raise ConnectionError("no route to the bucket")

    with pytest.raises(ConnectionError):
        images.check(Unreachable())


def test_many_images_are_looked_at_by_ray(data, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "PART", 9)
    described = data()
    (tmp_path / "images" / "7.jpg").write_bytes(b"")
    expected, _ = built(described, tmp_path / "threads", packed=True)
    monkeypatch.setattr(sizing, "FEW", 3)
    with session(processes=1):  # as on a cluster, where the whole run is in one
        run, _ = built(described, tmp_path / "ray", packed=True)
        assert ray.is_initialized()
    rows = pq.read_table(run.catalog / "rows.parquet")
    assert rows.equals(pq.read_table(expected.catalog / "rows.parquet"))
    (reject,) = (run.catalog / "rejects.jsonl").read_text().splitlines()
    assert json.loads(reject)["record"] == 8
    assert pixels(run, "images/b.jpg").shape == (32, 48, 3)


def test_a_broken_index_is_named(data, tmp_path):
    run, _ = built(data(), tmp_path / "run", packed=True)
    (run.catalog / "images" / "index.arrow").write_bytes(b"no index")
    with pytest.raises(InputError, match=r"index\.arrow: can't read it"):
        pixels(run, "images/a.jpg")
