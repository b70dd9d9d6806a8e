"""A folder of downloads becomes a configuration: what was taken for what, and what was not."""

import json

import downloads
import pandas as pd
import pytest
import yaml
from llava_files import asked
from PIL import Image
from typer.testing import CliRunner

from qsit_ray.cli.app import app
from qsit_ray.config import presets
from qsit_ray.data import catalog, discovery, scoring
from qsit_ray.data.labels import Label, Labels
from qsit_ray.errors import InputError


def init(folder, out, *more):
    done = CliRunner().invoke(
        app, ["data", "init", str(folder), "--out", str(out), "--json", *more],
    )  # fmt: skip
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def test_downloads_become_a_configuration_that_is_whole(tmp_path):
    root = tmp_path / "downloads"
    downloads.make(root)
    found = init(root, tmp_path / "mine.yaml")
    assert found["databases"] == {"koniq": 40, "spaq": 20}
    assert found["interpreting"] == [str(root / "q_instruct" / "q_instruct_small.json")]
    assert found["general"] == [str(root / "llava_instruct_small.json")]
    assert found["questions"] == [str(root / "bench" / "llvisionqa_dev.json")]
    assert list(found["unknown"]) == [str(root / "notes.json")]
    assert found["lacking"] == []
    data = presets.resolve(str(tmp_path / "mine.yaml")).data
    assert data.images == str(root)
    assert data.folders == {
        str(root / "q_instruct" / "q_instruct_small.json"): "koniq10k/",
        str(root / "bench" / "llvisionqa_dev.json"): "bench/images/",
    }
    trained = json.loads((tmp_path / "mine" / "koniq.json").read_text())
    tested = pd.read_csv(tmp_path / "mine" / "koniq_test.csv")
    assert (len(trained), len(tested)) == (32, 8)
    names = {record["image"] for record in trained} | set(tested["image"])
    assert len(names) == 40
    assert all((root / name).is_file() for name in names)
    assert set(data.test_images) == {"koniq", "spaq"}
    # Written again the same, and nothing that it wrote itself is found.
    text = (tmp_path / "mine.yaml").read_text()
    assert init(root, tmp_path / "mine.yaml", "--force") == found
    assert (tmp_path / "mine.yaml").read_text() == text


def test_what_is_lacking_is_said_and_listed_by_the_configuration(tmp_path):
    root = tmp_path / "mine"
    root.mkdir()
    for n in range(10):
        Image.new("RGB", (32, 32)).save(root / f"{n}.png")
    pd.DataFrame({"File": [f"{n}.png" for n in range(10)], "MOS": range(10)}).to_csv(
        root / "my_scores.csv", index=False
    )
    pd.DataFrame({"image": ["0.png"], "dmos": [1.0]}).to_csv(root / "dmos2.csv", index=False)
    found = init(root, tmp_path / "c.yaml")
    assert found["databases"] == {"my_scores": 10}
    assert found["lacking"] == [
        "data.validation_questions",
        "data.interpreting",
        "data.general",
    ]
    assert "dmos" in found["unknown"][str(root / "dmos2.csv")]
    with pytest.raises(InputError) as error:
        presets.resolve(str(tmp_path / "c.yaml"))
    for key in ("data.interpreting", "data.general", "data.validation_questions"):
        assert key in str(error.value)
    assert yaml.safe_load((tmp_path / "c.yaml").read_text())["data"]["scoring"] == [
        str(tmp_path / "c" / "my_scores.json")
    ]


def test_images_that_are_nowhere_are_not_taken(tmp_path):
    root = tmp_path / "root"
    downloads.koniq(root / "koniq10k", 10)
    (root / "koniq10k" / "1024x768" / "1003.jpg").unlink()
    (root / "d2.json").write_text(json.dumps([asked(image="gone.jpg")]))
    (root / "cut.json").write_text('[{"id": 1')
    found = init(root, tmp_path / "c.yaml")
    assert "gone.jpg" in found["unknown"][str(root / "d2.json")]
    assert "record 1" in found["unknown"][str(root / "cut.json")]
    assert "1 images of its labels are not there" in (tmp_path / "c.yaml").read_text()
    taken = json.loads((tmp_path / "c" / "koniq.json").read_text())
    assert "1003" not in json.dumps(taken)


def test_a_folder_without_images_and_a_wrong_ending_are_refused(tmp_path):
    with pytest.raises(InputError, match="no image below it"):
        init(tmp_path, tmp_path / "c.yaml")
    with pytest.raises(InputError, match=r"must be \.yaml"):
        init(tmp_path, tmp_path / "c.json")
    with pytest.raises(InputError, match="no such folder"):
        discovery.discover(tmp_path / "no", tmp_path / "x", lambda done, total: None)


def test_held_out_images_keep_a_reference_together_and_owners_splits():
    rows = [Label(f"{n}", f"{n}.png", float(n % 7), reference=f"r{n % 10}") for n in range(100)]
    held = scoring.hold_out(Labels("own", rows), 0.2, 1)
    by_split = {}
    for row in held.rows:
        by_split.setdefault(row.split, set()).add(row.reference)
    assert len(by_split["test"]) == 2
    assert not by_split["test"] & by_split["training"]
    assert scoring.hold_out(held, 0.5, 2) is held


def test_folders_of_files_are_below_the_images(data, tmp_path):
    from qsit_ray.data import llava

    described = data()
    images = tmp_path / "images"
    (images / "deep").mkdir()
    (images / "x.jpg").rename(images / "deep" / "x.jpg")
    moved = described.model_copy(update={"folders": {described.interpreting[0]: "deep"}})
    content = llava.read(moved, 0, lambda *_: None)
    rows = [row for row in content.train if row["domain"] == "interpreting"]
    assert [image["path"] for row in rows for image in row["images"]] == [
        catalog.image_path("deep/x.jpg")
    ]
    wrong = described.model_copy(update={"folders": {"other.json": "deep"}})
    with pytest.raises(InputError, match=r"data\.folders: other\.json is none"):
        llava.read(wrong, 0, lambda *_: None)


def test_an_imported_table_and_its_test_table_share_no_image(tmp_path):
    pd.DataFrame({"image": [f"{n}.png" for n in range(50)], "mos": range(50)}).to_csv(
        tmp_path / "mine.csv", index=False
    )
    words = ["data", "import", str(tmp_path / "mine.csv"), "--hold-out", "0.2", "--seed", "3"]
    for to in (["d1.json"], ["test.csv", "--split", "test"]):
        done = CliRunner().invoke(app, [*words, "--to", str(tmp_path / to[0]), *to[1:]])
        assert done.exit_code == 0, done.exception
    trained = {record["image"] for record in json.loads((tmp_path / "d1.json").read_text())}
    tested = set(pd.read_csv(tmp_path / "test.csv")["image"])
    assert (len(trained), len(tested), trained & tested) == (40, 10, set())
