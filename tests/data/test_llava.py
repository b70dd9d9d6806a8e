"""Training files in LLaVA's shape: every record is a row or a reject, labels are kept."""

import json
from collections import Counter

import pytest
from llava_files import QUESTION, asked, read, scored
from PIL import Image

from qsit_ray.data import catalog, writing
from qsit_ray.errors import InputError


def test_a_tenth_of_the_scoring_rows_validates_and_no_row_is_in_both(data):
    rows = read(data())
    held_out = {row["id"] for row in rows.validation if row["domain"] == "scoring"}
    kept = {row["id"] for row in rows.train if row["domain"] == "scoring"}
    assert (len(held_out), len(kept)) == (2, 18)
    assert not held_out & kept
    assert read(data()) == rows
    assert {row["id"] for row in read(data(), seed=1).train} != {row["id"] for row in rows.train}


def test_an_image_with_several_records_is_in_one_split(data):
    twice = [scored(n) for n in (*range(20), *range(20))]
    for seed in range(5):
        found = read(data(scoring=twice), seed)
        held_out, kept = (
            [row["images"][0]["path"] for row in rows if row["domain"] == "scoring"]
            for rows in (found.validation, found.train)
        )
        assert not set(held_out) & set(kept)
        assert (len(held_out), len(kept)) == (4, 36)
        assert {image["image"] for image in found.images["validation"]} == set(held_out)


def test_images_of_one_reference_are_in_one_split(data):
    records = [scored(n) | {"reference": f"I{n // 4}", "dataset": "kadid10k"} for n in range(20)]
    settings = data(scoring=records).model_copy(update={"validation_share": 0.4})
    for seed in range(5):
        found = read(settings, seed)
        held_out, kept = (
            {int(row["id"].partition(".")[0]) // 4 for row in rows if row["domain"] == "scoring"}
            for rows in (found.validation, found.train)
        )
        assert (len(held_out), len(kept)) == (2, 3)
        assert not held_out & kept
        assert len(found.images["validation"]) == 8
        assert {image["photograph"] for image in found.images["validation"]} == {
            f"kadid10k/I{number}" for number in held_out
        }


def test_validation_has_the_same_share_of_each_data_set_and_level(data):
    records = [
        scored(n, ("bad", "good")[n % 2]) | {"dataset": ("koniq", "spaq")[n // 10]}
        for n in range(20)
    ]
    settings = data(scoring=records).model_copy(update={"validation_share": 0.4})
    for seed in range(5):
        found = read(settings, seed)
        scored_rows = [row for row in found.validation if row["domain"] == "scoring"]
        counted = Counter((row["dataset"], row["level"]) for row in scored_rows)
        assert counted == {(s, level): 2 for s in ("koniq", "spaq") for level in ("bad", "good")}
        assert {image["dataset"] for image in found.images["validation"]} == {"koniq", "spaq"}


def test_a_row_is_of_its_files_data_set_unless_it_names_another(data):
    rows = read(data(scoring=[scored(n) for n in range(19)] + [scored(19) | {"dataset": "spaq"}]))
    found = {row["id"]: row["dataset"] for row in [*rows.train, *rows.validation]}
    assert found["19.jpg->19.5"] == "spaq"
    assert found["18.jpg->18.5"] == "scoring"


def test_released_labels_are_kept(data):
    rows = read(data(scoring=[scored(7, "excellent")] * 20))
    assert {(row["mos"], row["level"]) for row in rows.train if row["domain"] == "scoring"} == {
        (7.5, "excellent")
    }


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (asked(image=["a.jpg", "b.jpg"]), "2 images but <image> 1 times"),
        (scored(7) | {"image": ["a.jpg", "b.jpg"]}, "2 images but <image> 1 times"),
        (asked(image=7), "image is not a file name"),
        (asked(image=[7]), "image is not a file name"),
        (asked(image=None), "0 images but <image> 1 times"),
        (asked(conversations=[{"from": "gpt", "value": "Hi."}]), "alternate"),
        (asked(conversations=[]), "alternate"),
        (asked(conversations="x"), "no list of conversations"),
        ("x", "no list of conversations"),
        (asked(conversations=["x", "y"]), "a turn is not an object"),
        (asked(video="x.mp4"), "a video"),
        (asked(image="../x.jpg"), "not below the images' folder"),
        (asked(image="/etc/passwd"), "not below the images' folder"),
        (asked(image="a\0.jpg"), "null byte"),
        (asked(image="https://example.org/x.jpg"), "an image by its address"),
        (
            asked(
                conversations=[{"from": "system", "value": "Be brief."}] + asked()["conversations"]
            ),
            "a system turn",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
            "neither text nor image",
        ),
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
    assert "with 0 images" in rows.rejects[0]["reason"]


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
    assert found["interpreting", 2] == "image file is missing: x/y.jpg"
    assert str(tmp_path) not in "".join(found.values())
    for row in (*rows.train, *rows.validation):
        assert len(row["images"]) == (row["domain"] != "general")
        assert all((image["height"], image["width"]) == (32, 48) for image in row["images"])
    assert len([row for row in (*rows.train, *rows.validation) if row["mos"]]) == 18


def test_a_record_of_several_images_is_a_row_if_all_are_there(data, tmp_path):
    turns = [
        {"from": "human", "value": "<image>\n<image>\nWhich is sharper?"},
        {"from": "gpt", "value": "The first."},
    ]
    records = [asked(image=names, conversations=turns) for names in (["0.jpg", "x.jpg"],) * 2]
    records[1]["image"] = ["0.jpg", "gone.jpg"]
    rows = read(data(interpreting=[*records, asked()]))
    assert [each["reason"] for each in rows.rejects] == ["image file is missing: gone.jpg"]
    assert rows.train[18]["images"] == [
        {"path": f"images/{name}", "height": 32, "width": 48} for name in ("0.jpg", "x.jpg")
    ]
    writing.write(tmp_path, rows)
    shown = catalog.open_catalog(tmp_path).all_images()
    assert ("images/0.jpg", False) in shown and ("images/0.jpg", True) in shown
    assert len(shown) == len(set(shown))


def test_every_image_is_opened_once(data, monkeypatch):
    from qsit_ray.data import images

    opened = []
    check = images.check
    monkeypatch.setattr(images, "check", lambda file: opened.append(file.name) or check(file))
    shown = []
    content = [scored(n % 20) for n in range(400)]
    read(data(scoring=content), 0, lambda *now: shown.append(now))
    assert sorted(opened) == sorted({*opened})
    assert len(opened) == 24
    assert shown[-1] == (24, 24, "images")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mix.yaml", "expected one key, `datasets`, with a list"),
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
    writing.write(folder, rows)
    opened = catalog.open_catalog(folder)
    assert opened.sizes == {"scoring": 18, "interpreting": 1, "general": 1}
    assert opened.take([19])[0]["images"] == []


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
    assert rows.train[-1]["images"][0]["path"] == f"images/{photograph.name}"
