"""The data stage on files in LLaVA's shape: what is said, kept and found again."""

import json

import pytest
from llava_files import Told, asked, scored

from qsit_ray import pipeline
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.config.files import override
from qsit_ray.config.prompts import Prompts
from qsit_ray.data import catalog
from qsit_ray.data.encode import Encoder
from qsit_ray.data.tokens import read_tokens
from qsit_ray.errors import InputError
from qsit_ray.models import load
from qsit_ray.prompts import SCORING_QUESTION
from qsit_ray.stages.catalog import build


def run_of(tmp_path, described):
    return RunFolder(tmp_path / "run"), presets.demo().model_copy(update={"data": described})


def test_rejects_are_counted_on_the_screen_by_domain_and_reason(data, tmp_path):
    bad = [asked(image=f"gone{n}.jpg") for n in range(3)] + [asked(image=None)]
    described = data(interpreting=[asked(), *bad])
    run, config = run_of(tmp_path, described.model_copy(update={"max_rejects": 0.8}))
    told = Told()
    build(run, config, told)
    assert "20 training rows; rejects: 4" in told.lines
    assert (
        "  interpreting: 1 training rows; rejects: 4, 3 × image file is missing, "
        "1 × 0 images but <image> 1 times" in told.lines
    )
    assert len((run.catalog / "rejects.jsonl").read_text().splitlines()) == 4
    assert not run.rejects.exists()


def test_too_many_rejects_stop_the_build_and_are_kept(data, tmp_path):
    described = data(interpreting=[*(asked() for _ in range(98)), *(asked(image=None),) * 2])
    run, config = run_of(tmp_path, described)
    with pytest.raises(InputError, match=r"interpreting: 2 of 100 records rejected \(2\.0%"):
        build(run, config, Told())
    assert len(run.rejects.read_text().splitlines()) == 2
    assert not run.catalog.exists()
    allowed = described.model_copy(update={"max_rejects": 0.02})
    build(run, config.model_copy(update={"data": allowed}), Told())
    assert catalog.read_sizes(run.catalog)["interpreting"] == 98


def test_a_data_set_that_srcc_cant_be_computed_on_is_refused_before_the_search(data, tmp_path):
    records = [scored(n) | {"dataset": "koniq" if n < 10 else "spaq"} for n in range(12)]
    run, config = run_of(tmp_path, data(scoring=records))
    wide = config.data.model_copy(update={"validation_share": 0.5})
    with pytest.raises(InputError, match=r"1 images of spaq with one score.*validation_share"):
        build(run, config.model_copy(update={"data": wide}), Told())
    told = Told()
    even = [record | {"dataset": "koniq"} for record in records]
    run, config = run_of(tmp_path, data(scoring=even).model_copy(update={"validation_share": 0.5}))
    build(run, config, told)
    assert "scoring is validated on 6 of koniq images: few, so SRCC is noisy" in told.lines


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
    return len(named), all((run.catalog / name).is_file() for name, _ in named)


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


def test_scoring_rows_of_another_wording_are_said(data, tmp_path):
    records = [scored(n) for n in range(20)]
    for record in records[:3]:
        record["conversations"][1]["value"] = "I would call it good."
    run, config = run_of(tmp_path, data(scoring=records))
    told = Told()
    build(run, config, told)
    assert any("scoring answers are not worded as scores are read" in line for line in told.lines)
    assert any("scoring rows ask another question" in line for line in told.lines)
    plain = [scored(n) for n in range(20)]
    for record in plain:
        record["conversations"][0]["value"] = SCORING_QUESTION
    again = Told()
    run = RunFolder(tmp_path / "again")
    build(run, config.model_copy(update={"data": data(scoring=plain)}), again)
    assert not any("scores are read" in line or "another question" in line for line in again.lines)


def test_rows_are_read_in_the_words_of_the_configuration(data, tmp_path):
    levels = ("plain", "very plain", "lovely", "Great", "great beyond words")
    own = Prompts(
        question="How beautiful?\n<image>", stem="Its beauty is", levels=levels,
        choice="<image>\n{options}\n{question}",
    )  # fmt: skip
    records = [scored(n) for n in range(20)]
    for number, record in enumerate(records):
        record["conversations"][0]["value"] = own.question
        word = levels[number % 5].upper() if number < 5 else levels[number % 5]
        record["conversations"][1]["value"] = f"{own.stem} {word}."
    records.append(scored(3, "good"))  # none of these words
    run, config = run_of(tmp_path, data(scoring=records).model_copy(update={"max_rejects": 0.1}))
    told = Told()
    build(run, config.model_copy(update={"prompts": own}), told)
    opened = catalog.open_catalog(run.catalog)
    rows = opened.take(range(opened.sizes["scoring"])) + opened.validation("scoring")
    assert len(rows) == 20
    assert {row["level"] for row in rows} == set(levels)
    assert all(row["level"] == levels[int(row["mos"]) % 5] for row in rows)
    (asked,) = opened.validation("interpreting")
    assert asked["conversation"][0]["value"] == "<image>\nA. Blur\nB. Noise\nWhich?"
    assert any("rejects: 1, 1 × 0 level words in the answer" in line for line in told.lines)
    # A word in capitals is found, and told: scores are read in exactly these words.
    trained = opened.take(range(opened.sizes["scoring"]))
    plain = [f"{own.stem} {row['level']}." for row in trained]
    others = sum(r["conversation"][1]["value"] != p for r, p in zip(trained, plain, strict=True))
    assert others and any(line.startswith(f"{others} of 18 scoring answers") for line in told.lines)


def test_soft_levels_need_opinions_and_the_plain_answer(data, tmp_path):
    shares = [0.0, 0.1, 0.2, 0.5, 0.2]
    records = [scored(n) | {"level_probs": shares} for n in range(20)]
    soft = ["levels.target=soft"]

    def built(name, records):
        described = data(scoring=records)
        run = RunFolder(tmp_path / name)
        config = presets.demo().model_copy(update={"data": described})
        build(run, override(config, soft), Told())
        return catalog.open_catalog(run.catalog)

    hard = presets.demo().model_copy(update={"data": data(scoring=[scored(n) for n in range(20)])})
    run = RunFolder(tmp_path / "finished")
    build(run, hard, Told())
    with pytest.raises(InputError, match=r"18 of 18 scoring records have no level_probs"):
        build(run, override(hard, soft), Told())
    rows = built("sound", records).take([0])
    assert rows[0]["level_shares"] == pytest.approx(shares)
    with pytest.raises(InputError, match=r"1 of \d+ scoring records have no level_probs"):
        built("lacking", [scored(0), *records[1:]])
    records[3]["conversations"][1]["value"] = "The quality of the image is Good."
    with pytest.raises(InputError, match=r"do not end with \"The quality of the image is <level>"):
        built("worded", records)
