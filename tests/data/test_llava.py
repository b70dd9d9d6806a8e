"""Training files in LLaVA's shape: every record is a row or a reject, labels are kept."""

import json

import pytest

from qsit_ray.config.data import LlavaData
from qsit_ray.data import catalog, llava
from qsit_ray.errors import InputError


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
    """A small data set; `changes` replaces the records of a domain."""

    def make(**changes):
        records = {
            "scoring": [scored(n) for n in range(20)],
            "interpreting": [asked()],
            "general": [asked(image=None, conversations=[
                {"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hello."},
            ])],
        } | changes  # fmt: skip
        for name, content in records.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        (tmp_path / "questions.json").write_text(json.dumps([QUESTION]))
        (tmp_path / "koniq.csv").write_text("image,mos\na.jpg,3.5\nb.jpg,4\n")
        files = {name: (str(tmp_path / f"{name}.json"),) for name in records}
        return LlavaData(
            images="/images",
            validation_questions=str(tmp_path / "questions.json"),
            test_images={"koniq": str(tmp_path / "koniq.csv")},
            **files,
        )

    return make


def read(data, seed=0):
    return llava.read(data, seed, lambda done, total: None)


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


def test_image_names_are_relative_to_the_working_folder(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = read(data().model_copy(update={"images": "photos"}))
    assert rows.train[0]["image"].startswith(str(tmp_path / "photos"))


@pytest.mark.parametrize(
    ("question", "words"), [("x", "not an object"), (QUESTION | {"correct_ans": "Fog"}, "none of")]
)
def test_a_question_without_its_answer_is_refused(data, tmp_path, question, words):
    described = data()
    (tmp_path / "questions.json").write_text(json.dumps([QUESTION, question]))
    with pytest.raises(InputError, match=f"question 2: .*{words}"):
        read(described)


def test_questions_validate_interpreting_and_tables_test_scoring(data, tmp_path):
    rows = read(data())
    (question,) = rows.questions["validation"]
    assert question["img_path"] == "/images/q.jpg"
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
    rows = read(data(general=[record]))
    assert not rows.rejects
    assert rows.train[-1]["image"] == "/images/000000033471.jpg"
