"""Training files in LLaVA's shape: every record is a row or a reject, labels are kept."""

import json

import pytest
from PIL import Image

from qsit_ray import pipeline
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.data import LlavaData
from qsit_ray.config.files import override
from qsit_ray.data import catalog, llava
from qsit_ray.data.encode import Encoder
from qsit_ray.data.tokens import read_tokens
from qsit_ray.errors import InputError
from qsit_ray.models import load
from qsit_ray.stages.catalog import build
from qsit_ray.terminal import Terminal


def scored(number, level="good"):
    return {
        "id": f"{number}.jpg->{number}.5",
        "image": f"{number}.jpg",
        "conversations": [
            {"from": "human", "value": "How would you rate it?\n<image>"},
            {"from": "gpt", "value": f"The quality of the image is {level}."},
        ],
    }


def asked(**changes):
    turns = [
        {"from": "human", "value": "<image>\nWhat is wrong?"},
        {"from": "gpt", "value": "Blur."},
    ]
    return {"id": "x", "image": "x.jpg", "conversations": turns} | changes


QUESTION = {
    "type": 1,
    "concern": 0,
    "question": "Which?",
    "img_path": "q.jpg",
    "candidates": ["Blur", "Noise"],
    "correct_ans": "Noise",
}


@pytest.fixture
def data(tmp_path):
    """A small data set; `changes` replaces the records of a domain, or the `questions`."""
    images = tmp_path / "images"
    images.mkdir()
    for name in [*(f"{n}.jpg" for n in range(20)), "x.jpg", "q.jpg", "a.jpg", "b.jpg"]:
        Image.new("RGB", (48, 32)).save(images / name)

    def make(questions=(QUESTION,), **changes):
        records = {
            "scoring": [scored(n) for n in range(20)],
            "interpreting": [asked()],
            "general": [asked(image=None, conversations=[
                {"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hello."},
            ])],
        } | changes  # fmt: skip
        for name, content in records.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        (tmp_path / "questions.json").write_text(json.dumps(questions))
        (tmp_path / "koniq.csv").write_text("image,mos\na.jpg,3.5\nb.jpg,4\n")
        files = {name: (str(tmp_path / f"{name}.json"),) for name in records}
        return LlavaData(
            images=str(images),
            validation_questions=str(tmp_path / "questions.json"),
            test_questions=str(tmp_path / "questions.json"),
            test_images={"koniq": str(tmp_path / "koniq.csv")},
            **files,
        )

    return make


def read(data, seed=0):
    return llava.read(data, seed, lambda done, total, what: None)


def test_a_tenth_of_the_scoring_rows_validates_and_no_row_is_in_both(data):
    rows = read(data())
    held_out = {row["id"] for row in rows.validation if row["domain"] == "scoring"}
    kept = {row["id"] for row in rows.train if row["domain"] == "scoring"}
    assert (len(held_out), len(kept)) == (2, 18)
    assert not held_out & kept
    assert read(data()) == rows
    assert {row["id"] for row in read(data(), seed=1).train} != {row["id"] for row in rows.train}


def test_released_labels_are_kept(data):
    rows = read(data(scoring=[scored(7, "excellent")] * 20))
    assert {(row["mos"], row["level"]) for row in rows.train if row["domain"] == "scoring"} == {
        (7.5, "excellent")
    }


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (asked(image=["a.jpg", "b.jpg"]), "2 images"),
        (asked(image=7), "image is not a file name"),
        (asked(image=[7]), "image is not a file name"),
        (asked(image=None), "0 images but <image> 1 times"),
        (asked(conversations=[{"from": "gpt", "value": "Hi."}]), "alternate"),
        (asked(conversations=[]), "alternate"),
        (asked(conversations="x"), "no list of conversations"),
        ("x", "no list of conversations"),
        (asked(conversations=["x", "y"]), "a turn is not an object"),
        (
            asked(
                conversations=[{"from": "human", "value": "<image>"}, {"from": "gpt", "value": ""}]
            ),
            "empty turn",
        ),
    ],
)
def test_a_record_that_is_not_a_row_is_a_reject_with_its_number(data, record, reason):
    rows = read(data(interpreting=[asked(), record]))
    (reject,) = rows.rejects
    assert reason in reject["reason"]
    assert reject["record"] == 2
    assert len([row for row in rows.train if row["domain"] == "interpreting"]) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"id": "7.jpg"}, "no MOS"), ({"id": "7.jpg->nan"}, "no MOS")],
)
def test_a_scoring_record_needs_its_mos_and_one_level(data, change, reason):
    rows = read(data(scoring=[*(scored(n) for n in range(20)), scored(1) | change]))
    assert reason in rows.rejects[0]["reason"]
    rows = read(data(scoring=[*(scored(n) for n in range(20)), scored(1, "fine")]))
    assert "0 level words" in rows.rejects[0]["reason"]


def test_a_scoring_record_needs_its_image(data):
    turns = [{"from": "human", "value": "Rate it."}, {"from": "gpt", "value": "It is good."}]
    record = {"id": "7.jpg->7", "conversations": turns}
    rows = read(data(scoring=[*(scored(n) for n in range(20)), record]))
    assert "without an image" in rows.rejects[0]["reason"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("x", "not an object"),
        ({"correct_ans": "Fog"}, "correct_ans is none of the candidates"),
        ({"candidates": ["Noise"]}, "2 to 26 texts"),
        ({"candidates": "Noise"}, "2 to 26 texts"),
        ({"candidates": [str(n) for n in range(27)]}, "2 to 26 texts"),
        ({"candidates": ["Noise", 2]}, "2 to 26 texts"),
        ({"candidates": ["Noise", "Noise"]}, "two candidates are the same"),
        ({"question": None}, "question is not a text"),
        ({"img_path": ["q.jpg"]}, "img_path is not a text"),
        ({"type": 3}, "type 3 is not one of 0 yes-or-no"),
        ({"concern": None}, "concern None is not one of 0 distortion"),
        ({"img_path": "gone.jpg"}, "gone.jpg: image file is missing"),
    ],
)
def test_a_question_that_could_not_be_asked_or_graded_is_refused(data, change, words):
    question = QUESTION | change if isinstance(change, dict) else change
    with pytest.raises(InputError, match=rf"questions.json, question 2: .*{words}"):
        read(data(questions=[QUESTION, question]))


def test_only_test_questions_are_graded_by_type_and_concern(data):
    plain = {k: v for k, v in QUESTION.items() if k not in ("type", "concern")}
    described = data(questions=[plain]).model_copy(update={"test_questions": None})
    assert read(described).questions["validation"][0]["question"] == "Which?"


def test_a_test_image_that_is_missing_is_named(data, tmp_path):
    described = data()
    (tmp_path / "images" / "b.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"koniq\.csv, row 2: .*b\.jpg: not a readable image"):
        read(described)


def test_a_record_without_a_readable_image_is_a_reject_and_rows_know_their_size(data, tmp_path):
    broken, whole = tmp_path / "images" / "3.jpg", tmp_path / "images" / "4.jpg"
    broken.write_bytes(whole.read_bytes()[:400])
    (tmp_path / "images" / "5.jpg").unlink()
    records = [
        asked(),
        asked(image="x\\y.jpg"),
        asked(image="0.jpg"),
        asked(image="../images/0.jpg"),
    ]
    rows = read(data(interpreting=records))
    found = {(reject["domain"], reject["record"]): reject["reason"] for reject in rows.rejects}
    assert set(found) == {("scoring", 4), ("scoring", 6), ("interpreting", 2)}
    assert found["scoring", 4].startswith("not a readable image: 3.jpg (")
    assert found["scoring", 6] == "image file is missing: 5.jpg"
    assert found["interpreting", 2] == "image file is missing: x\\y.jpg"
    assert str(tmp_path) not in "".join(found.values())
    for row in (*rows.train, *rows.validation):
        size = (None, None) if row["domain"] == "general" else (32, 48)
        assert (row["height"], row["width"]) == size
    assert len([row for row in (*rows.train, *rows.validation) if row["mos"]]) == 18


def test_every_image_is_opened_once(data, monkeypatch):
    from qsit_ray.data import images

    opened = []
    check = images.check
    monkeypatch.setattr(images, "check", lambda file: opened.append(file.name) or check(file))
    shown = []
    content = [scored(n % 20) for n in range(400)]
    llava.read(data(scoring=content), 0, lambda *now: shown.append(now))
    assert sorted(opened) == sorted({*opened})
    assert len(opened) == 24
    assert shown[-1] == (24, 24, "images")


class Told(Terminal):
    """What was said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def run_of(tmp_path, described):
    return RunFolder(tmp_path / "run"), presets.demo().model_copy(update={"data": described})


def test_rejects_are_counted_on_the_screen_by_domain_and_reason(data, tmp_path):
    bad = [asked(image=f"gone{n}.jpg") for n in range(3)] + [asked(image=None)]
    run, config = run_of(tmp_path, data(interpreting=[asked(), *bad]))
    told = Told()
    build(run, config, told)
    assert "20 training rows; rejects: 4" in told.lines
    assert (
        "  interpreting: 1 training rows; rejects: 4, 3 × image file is missing, "
        "1 × 0 images but <image> 1 times" in told.lines
    )
    assert len((run.catalog / "rejects.jsonl").read_text().splitlines()) == 4
    assert not run.rejects.exists()


def test_a_domain_without_rows_says_why_and_keeps_its_rejects(data, tmp_path):
    described = data(interpreting=[asked(image=f"gone{n}.jpg") for n in range(7)])
    run, config = run_of(tmp_path, described)
    with pytest.raises(
        InputError,
        match=r"domain interpreting: no record became a training row: 7 × image file is missing; "
        r"the first: .*interpreting\.json, record 1: .*gone0\.jpg \(images are below .*/images\); "
        rf"all: {run.rejects}$",
    ):
        build(run, config, Told())
    assert len(run.rejects.read_text().splitlines()) == 7
    assert not run.catalog.exists()
    (tmp_path / "interpreting.json").write_text(json.dumps([asked()]))
    build(run, config, Told())
    assert not run.rejects.exists()


def images_there(run):
    """Whether every image of the catalog opens; the number of images."""
    catalog.open_catalog.cache_clear()
    named = catalog.open_catalog(run.catalog).all_images()
    return len(named), all((run.catalog / name).is_file() for name in named)


def test_images_are_found_where_run_and_data_move_together(data, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    described = data()
    (tmp_path / "images").rename(work / "images")
    monkeypatch.chdir(work)
    config = presets.demo().model_copy(
        update={"data": described.model_copy(update={"images": "images"})}
    )
    build(RunFolder(work / "runs" / "a"), config, Told())
    assert images_there(RunFolder(work / "runs" / "a")) == (24, True)
    manifest = (work / "runs" / "a" / "catalog" / "manifest.json").read_bytes()
    monkeypatch.chdir(tmp_path)
    work.rename(tmp_path / "moved")
    moved = RunFolder(tmp_path / "moved" / "runs" / "a")
    assert images_there(moved) == (24, True)

    # The same data elsewhere give the same catalog, so that nothing made from it is lost.
    other = tmp_path / "deep" / "er"
    other.mkdir(parents=True)
    (tmp_path / "moved" / "images").rename(other / "images")
    corrected = config.model_copy(
        update={"data": described.model_copy(update={"images": str(other / "images")})}
    )
    build(moved, corrected, Told())
    assert images_there(moved) == (24, True)
    assert (moved.catalog / "manifest.json").read_bytes() == manifest


def test_a_run_that_moved_without_its_images_finds_them_or_says_so(data, tmp_path):
    run, config = run_of(tmp_path, data())
    build(run, config, Told())
    moved = RunFolder(tmp_path / "far" / "away" / "run")
    moved.path.parent.mkdir(parents=True)
    run.path.rename(moved.path)
    assert images_there(moved) == (24, False)
    build(moved, config, Told())
    assert images_there(moved) == (24, True)
    (tmp_path / "images").rename(tmp_path / "hidden")
    with pytest.raises(InputError, match=r"images: the images have gone, such as images/"):
        build(moved, config, Told())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mix.yaml", "YAML lists of data sets are not read; name their .json or .jsonl files"),
        ("rows.xml", "ending must be one of"),
    ],
)
def test_a_file_of_another_kind_is_refused(data, tmp_path, name, said):
    (tmp_path / name).write_text("datasets: []")
    with pytest.raises(InputError, match=rf"{name}: .*{said}"):
        read(data().model_copy(update={"general": (str(tmp_path / name),)}))


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "jsonl.gz"])
def test_json_lines_are_read_whatever_their_ending(data, tmp_path, ending):
    import gzip

    described = data()
    path = tmp_path / f"one.{ending}"
    odd = "Blur\u2028and\x85noise."
    record = asked()
    record["conversations"][1] = {"from": "gpt", "value": odd}
    text = "\ufeff" + json.dumps(record, ensure_ascii=False) + "\n\n"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    rows = read(described.model_copy(update={"interpreting": (str(path),)}))
    (row,) = [row for row in rows.train if row["domain"] == "interpreting"]
    assert row["conversation"][1]["value"] == odd


def test_half_a_surrogate_pair_is_a_reject(data):
    record = asked()
    record["conversations"][1] = {"from": "gpt", "value": "\ud83d"}
    (reject,) = read(data(interpreting=[asked(), record])).rejects
    assert "surrogate" in reject["reason"]


def test_questions_validate_interpreting_and_tables_test_scoring(data, tmp_path):
    rows = read(data())
    (question,) = rows.questions["validation"]
    assert question["img_path"] == "images/q.jpg"
    (validating,) = [row for row in rows.validation if row["domain"] == "interpreting"]
    assert validating["conversation"][-1]["value"] == "Noise"
    assert [(row["dataset"], row["mos"]) for row in rows.images["test"]] == [
        ("koniq", 3.5), ("koniq", 4.0)
    ]  # fmt: skip
    folder = tmp_path / "catalog"
    folder.mkdir()
    catalog.write(folder, rows)
    opened = catalog.open_catalog(folder)
    assert opened.sizes == {"scoring": 18, "interpreting": 1, "general": 1}
    assert opened.take([19])[0]["image"] is None


def test_an_unreadable_file_is_named(data, tmp_path):
    described = data()
    (tmp_path / "general.json").write_text("[{")
    with pytest.raises(InputError, match=r"general\.json"):
        read(described)


def test_real_llava_records_are_rows(data, shared_data, tmp_path):
    import gzip

    packed = (shared_data / "llava_instruct_samples.json.gz").read_bytes()
    shapes = json.loads(gzip.decompress(packed))
    record = shapes["doc_example_llava_instruct_150k"]
    described = data(general=[record])
    photograph = tmp_path / "images" / "000000033471.jpg"
    Image.new("RGB", (64, 48)).save(photograph)
    rows = read(described)
    assert not rows.rejects
    assert rows.train[-1]["image"] == f"images/{photograph.name}"


def test_a_built_run_has_the_tokens_of_its_rows(data, tmp_path, checkpoint):
    base = tmp_path / "base"
    load.save(checkpoint.model, checkpoint.processor, base)
    models = ["proxy", "primary"]
    settings = [f"models.{which}={base}" for which in models]
    run, config = run_of(tmp_path, data())
    config = override(
        config.model_copy(update={"pretraining": None}),
        [*settings, "models.remember_features=false"],
    )
    pipeline.build_data(run, config, Told())
    opened = catalog.open_catalog(run.catalog)
    encoder = Encoder(checkpoint.processor, run.catalog, config.models.max_length)
    encoded = [encoder.encode(row) for row in opened.take(range(len(opened.rows)))]
    for which in models:
        counted = read_tokens(run, which)
        assert counted.tokens.tolist() == [len(row["input_ids"]) for row in encoded]
        assert counted.tiles.tolist() == [len(row["pixel_values"]) for row in encoded]
