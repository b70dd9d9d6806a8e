"""A folder of downloads becomes a configuration: what was taken for what, and what was not."""

import gzip
import json
import os
from pathlib import Path

import downloads
import pandas as pd
import pytest
import yaml
from llava_files import QUESTION, asked, read
from PIL import Image
from typer.testing import CliRunner

from qsit_ray.cli.app import app
from qsit_ray.config import presets
from qsit_ray.data import attributes, catalog, discovery, scoring
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


def test_a_folder_to_which_its_own_files_would_go_is_refused(tmp_path):
    """All of it would be passed over as written by an earlier call."""
    root = tmp_path / "mine"
    (root / "photos").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "photos" / "a.jpg")
    for folder in (root, root / "photos"):
        with pytest.raises(InputError, match="another name"):
            init(folder, tmp_path / "mine.yaml")
    assert not (tmp_path / "mine.yaml").exists()


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
    described = data()
    images = tmp_path / "images"
    (images / "deep").mkdir()
    (images / "x.jpg").rename(images / "deep" / "x.jpg")
    moved = described.model_copy(update={"folders": {described.interpreting[0]: "deep"}})
    content = read(moved)
    rows = [row for row in content.train if row["domain"] == "interpreting"]
    assert [image["path"] for row in rows for image in row["images"]] == [
        catalog.image_path("deep/x.jpg")
    ]
    wrong = described.model_copy(update={"folders": {"other.json": "deep"}})
    with pytest.raises(InputError, match=r"data\.folders: other\.json is none"):
        read(wrong)


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


def test_what_is_made_is_worded_as_a_configuration_says(tmp_path):
    own = {
        "question": "How beautiful?\n<image>",
        "stem": "Its beauty is",
        "levels": ["awful", "dull", "plain", "lovely", "great"],
        "choice": "<image>\n{options}\n{question}",
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"extends": "demo", "prompts": own}))
    scores = {"image": [f"{n}.png" for n in range(50)], "mos": range(50)}
    pd.DataFrame(scores).to_csv(tmp_path / "mine.csv", index=False)
    root = tmp_path / "downloads"
    downloads.make(root)
    init(root, tmp_path / "found.yaml", "--extends", str(tmp_path / "own.yaml"))
    words = ["data", "import", str(tmp_path / "mine.csv"), "--preset", str(tmp_path / "own.yaml")]
    done = CliRunner().invoke(app, [*words, "--to", str(tmp_path / "d1.json"), "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["levels"] == dict.fromkeys(own["levels"], 10)
    for made in (tmp_path / "d1.json", tmp_path / "found" / "koniq.json"):
        for record in json.loads(made.read_text()):
            asked, answered = (turn["value"] for turn in record["conversations"])
            assert asked == own["question"]
            assert answered.removeprefix("Its beauty is ").removesuffix(".") in own["levels"]
    votes = {"image": ["a.png"], **{name: [0.0] for name in attributes.DISTORTIONS}}
    worst = next(iter(attributes.DISTORTIONS))
    pd.DataFrame(votes | {worst: [0.9]}).to_csv(tmp_path / "votes.csv", index=False)
    words = ["data", "convert", "attributes", str(tmp_path / "votes.csv")]
    preset = ["--preset", str(tmp_path / "own.yaml")]
    done = CliRunner().invoke(app, [*words, "--to", str(tmp_path / "d2.json"), *preset])
    assert done.exit_code == 0, done.exception
    rows = json.loads((tmp_path / "d2.json").read_text())
    closed = [row["conversations"][0]["value"] for row in rows if ":multiple_choice:" in row["id"]]
    assert closed and all(text.startswith("<image>\nA. ") for text in closed)


def table(path, names, start=0, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"image": names, "mos": [float(start + n) for n in range(len(names))]} | columns
    pd.DataFrame(values).to_csv(path, index=False)


def pictures(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (32, 32)).save(folder / name)


NAMES = [f"{n}.png" for n in range(10)]


def test_tables_with_the_same_names_keep_their_own_images(tmp_path):
    root = tmp_path / "root"
    for folder, start in (("a", 0), ("b", 50)):
        pictures(root / folder / "images", NAMES)
        table(root / folder / "labels.csv", NAMES, start)
    init(root, tmp_path / "c.yaml")
    data = presets_data(tmp_path / "c.yaml")
    assert len(set(data["scoring"])) == len(data["test_images"]) == 2
    for file in data["scoring"]:
        for record in json.loads(Path(file).read_text()):
            high = float(record["id"].rpartition("->")[2]) >= 50
            assert record["image"].startswith("b/" if high else "a/")


def test_a_table_that_could_be_of_two_folders_is_not_guessed(tmp_path):
    root = tmp_path / "root"
    for folder in ("a", "b"):
        pictures(root / folder, NAMES)
    table(root / "labels.csv", NAMES)
    found = init(root, tmp_path / "c.yaml")
    assert "two folders have its images: a/ and b/" in found["unknown"][str(root / "labels.csv")]


def test_what_cant_be_d1_does_not_hide_the_rest(tmp_path):
    root = tmp_path / "root"
    pictures(root, NAMES)
    table(root / "one_score.csv", NAMES, mos=[3.0] * 10)
    table(root / "few.csv", NAMES[:2])
    table(root / "data.csv", NAMES[2:])  # AGIQA-3K's name
    pd.DataFrame({"image": NAMES, "mos": range(10)}).to_parquet(root / "again.parquet")
    table(root / "again.csv", NAMES)
    found = init(root, tmp_path / "c.yaml")
    assert found["databases"] == {"few": 2, "data": 8, "again": 10}
    assert any("every MOS equal" in reason for reason in found["unknown"].values())
    assert "the same labels as again's" in found["unknown"][str(root / "again.parquet")]
    data = presets_data(tmp_path / "c.yaml")
    assert set(data["test_images"]) == {"data", "again"}
    assert len(data["scoring"]) == 3


def presets_data(path):
    return yaml.safe_load(path.read_text())["data"]


def test_a_database_with_a_few_images_of_others_is_not_taken(tmp_path):
    root = tmp_path / "root"
    downloads.koniq(root / "koniq10k", 10)
    for n in range(3, 10):
        (root / "koniq10k" / "1024x768" / f"{1000 + n}.jpg").unlink()
    found = init(root, tmp_path / "c.yaml")
    assert found["databases"] == {}
    assert "3 of whose 10 images" in next(iter(found["unknown"].values()))


def test_only_the_questions_that_are_taken_have_a_folder(tmp_path):
    root = tmp_path / "root"
    for number in range(3):
        pictures(root / f"q{number}", ["q.jpg"])
        (root / f"q{number}" / f"q{number}.json").write_text(json.dumps([QUESTION]))
    init(root, tmp_path / "c.yaml")
    data = presets_data(tmp_path / "c.yaml")
    asked = {data["validation_questions"], data["test_questions"]}
    assert set(data["folders"]) == asked
    assert "more questions than two files" in (tmp_path / "c.yaml").read_text()


def test_a_file_whose_name_is_no_text_is_said(tmp_path):
    root = tmp_path / "root"
    pictures(root, NAMES)
    with Path(os.fsdecode(os.fsencode(root) + b"/\xe9.json")).open("w") as stream:
        stream.write("[]")
    found = init(root, tmp_path / "c.yaml")
    (reason,) = found["unknown"].values()
    assert "not UTF-8" in reason


def test_owners_splits_without_a_test_split_give_one():
    rows = [Label(f"{n}", f"{n}.png", float(n), split=("training", "validation")[n % 2])
            for n in range(20)]  # fmt: skip
    held = scoring.hold_out(Labels("paq2piq", rows), 0.2, 0)
    splits = [row.split for row in held.rows]
    assert (splits.count("test"), splits.count("validation")) == (2, 10)


def test_what_init_wrote_is_not_found_again_by_another_path(tmp_path, monkeypatch):
    root = tmp_path / "root"
    pictures(root, NAMES)
    table(root / "mine.csv", NAMES)
    monkeypatch.chdir(root)
    first = init("../root", "out.yaml")
    again = init("../root", "out.yaml", "--force")
    assert again["databases"] == first["databases"] == {"mine": 10}
    assert again["scoring"] == []


def test_real_files_are_taken_for_what_they_are(shared_data, tmp_path):
    def content(name):
        with gzip.open(shared_data / name) as stream:
            return json.load(stream)

    root = tmp_path / "root"
    general = [
        {"id": each["id"], "image": each["image"], "conversations": [
            {"from": "human", "value": f"<image>\n{each['instruction']}"},
            {"from": "gpt", "value": each["output"]},
        ]}
        for each in content("llava_instruct_samples.json.gz")["coco_val_gpt4_qa_30x3"]
    ]  # fmt: skip
    pathway = [
        {"id": f"{n}", "image": each["image"], "conversations": [
            {"from": "human", "value": each["feedbacks"][0]["q"]},
            {"from": "gpt", "value": each["feedbacks"][0]["a"]},
        ]}
        for n, each in enumerate(content("qpathway_400.json.gz"))
    ]  # fmt: skip
    questions = content("llvisionqa_dev.json.gz")
    files = {"llava": general, "pathway": pathway, "dev": questions}
    names = [each["image"] for each in (*general, *pathway)]
    names += [each["img_path"] for each in questions]
    for name in names:
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).touch()
    for name, records in files.items():
        (root / f"{name}.json").write_text(json.dumps(records))
    found = init(root, tmp_path / "c.yaml")
    assert found["general"] == [str(root / "llava.json")]
    assert found["interpreting"] == [str(root / "pathway.json")]
    assert found["questions"] == [str(root / "dev.json")]
