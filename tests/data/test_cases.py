"""Files shaped after public bug reports (../shared/cases, kind data) give what is right."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from llava_files import Told
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from typer.testing import CliRunner

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli.app import app
from qsit_ray.config import presets
from qsit_ray.config.data import LlavaData
from qsit_ray.data.catalog import open_catalog
from qsit_ray.data.encode import Encoder
from qsit_ray.errors import InputError
from qsit_ray.evaluation import correlation
from qsit_ray.levels import LEVELS
from qsit_ray.stages.catalog import build


@pytest.fixture
def case(shared_data, tmp_path, monkeypatch):
    """Works in a copy of a case's folder."""

    def copied(name):
        shutil.copytree(shared_data.parent / "cases" / name, tmp_path / name)
        monkeypatch.chdir(tmp_path / name)

    return copied


def run():
    return RunFolder(Path("run").absolute())


def built(**changes):
    """The catalog of the files in the working folder, and what was said."""
    files = {"scoring": ["s.json"], "interpreting": ["i.json"], "general": ["g.json"]}
    values = {**files, "images": "img", "validation_questions": "q.json", **changes}
    config = presets.demo().model_copy(update={"data": LlavaData.model_validate(values)})
    told = Told()
    build(run(), config, told)
    open_catalog.cache_clear()
    return open_catalog(run().catalog), told.lines


def rows_of(catalog, domain):
    return [row for row in catalog.rows.to_pylist() if row["domain"] == domain]


def records(name):
    return json.loads(Path(name).read_text())


def test_q_aligns_image_tokens_are_read(case):
    case("01-qalign-image-token")
    catalog, _ = built()
    assert sum(catalog.sizes.values()) + len(catalog.validation("scoring")) == sum(
        len(records(f"{name}.json")) for name in "sig"
    )
    texts = [turn["value"] for row in catalog.rows.to_pylist() for turn in row["conversation"]]
    assert any("<image>" in text for text in texts)
    assert not any("<|image|>" in text for text in texts)


def test_paths_with_backslashes_are_refused_at_build_where_nothing_is(case):
    case("02-windows-path")
    with pytest.raises(InputError, match=r"10 × not below the images. folder; .*/ph0\.png"):
        built()


def test_data_sets_of_two_scales_are_ranked_each_for_itself(case):
    case("03-two-mos-scales")
    catalog, _ = built(
        scoring=["koniq.json", "spaq.json"], validation_share=0.5, images="img"
    )  # fmt: skip
    held_out = {row["images"][0]["path"]: row for row in catalog.validation("scoring")}
    images = catalog.images("validation")
    levels = [LEVELS.index(held_out[image["image"]]["level"]) for image in images]
    mos, sets = [image["mos"] for image in images], [image["dataset"] for image in images]
    assert correlation.mean_over_sets(correlation.srcc, mos, levels, sets) > 0.9


def test_half_of_a_domain_lost_is_said_by_domain_and_reason(case):
    case("04-image-without-token")
    with pytest.raises(InputError, match=r"domain interpreting: 20 of 40 .*1 images but <image> 0"):
        built()
    catalog, lines = built(max_rejects=0.5)
    assert any("interpreting: 20 training rows; rejects: 20" in line for line in lines)
    assert catalog.sizes["interpreting"] == 20


def test_an_empty_answer_is_a_reject_with_its_reason(case):
    case("05-empty-answer")
    with pytest.raises(InputError, match=r"1 of 9 .*i\.json, record \d+: an empty turn"):
        built()
    built(max_rejects=0.2)
    rejects = (run().catalog / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in rejects] == ["an empty turn"]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("labels.txt", "its first line holds numbers; it must name the columns"),
        ("labels.tsv", "its first line holds numbers; it must name the columns"),
        ("labels.xlsx", "can't read it as .xlsx"),
        ("labels.mat", "can't read it as .mat"),
        ("space.csv", "apart by spaces, not by commas"),
    ],
)
def test_label_tables_of_other_forms_are_refused_with_what_to_do(case, file, said):
    case("07-label-txt-xlsx-mat")
    words = ["data", "levels", file, "--id", "image", "--mos", "mos", "--range", "dataset"]
    done = CliRunner().invoke(app, [*words, "--out", "o.csv"])
    assert isinstance(done.exception, InputError)
    assert file in str(done.exception)
    assert said in str(done.exception)


def test_a_file_listed_twice_does_not_train_on_validation_images(case):
    case("09-same-image-in-both-splits")
    catalog, _ = built(scoring=["s.json", "s.json"], validation_share=0.3)
    trained = {row["images"][0]["path"] for row in rows_of(catalog, "scoring")}
    validated = {row["images"][0]["path"] for row in catalog.validation("scoring")}
    assert len(validated) == 12
    assert not trained & validated


def test_a_llava_next_yaml_is_a_domains_file(case):
    case("13-llava-next-yaml")
    catalog, _ = built(interpreting=["mix.yaml"])
    assert 0 < catalog.sizes["interpreting"] <= 2 * len(records("i.json"))


def test_openai_messages_are_read_and_system_turns_named(case):
    case("14-openai-roles")
    with pytest.raises(InputError, match=r"domain general: 2 of 6 .*a system turn"):
        built(general=["g.jsonl"])
    catalog, _ = built(general=["g.jsonl"], max_rejects=0.5)
    assert catalog.sizes["general"] == 4


def test_each_form_of_image_is_read_as_what_it_is(case):
    case("17-image-forms")
    catalog, _ = built(max_rejects=0.9, outside="allow")
    rejects = (run().catalog / "rejects.jsonl").read_text().splitlines()
    wanted = records("i.json")
    found = rows_of(catalog, "interpreting")
    assert len(found) + len(rejects) == len(wanted)
    read = {row["id"]: [image["path"] for image in row["images"]] for row in found}
    for record in wanted:
        image = record.get("image")
        names = image if isinstance(image, list) else [image] if image else []
        if str(record["id"]) in read:
            paths = read[str(record["id"])]
            assert [path.rpartition("/")[2] for path in paths] == [
                name.rpartition("/")[2] for name in names
            ]
    assert Counter(map(len, read.values()))[1] >= 1


def test_dmos_rise_with_quality_once_said(case):
    case("18-dmos-as-mos")
    levels = ["data", "levels", "csiq.csv", "--id", "image", "--mos", "dmos", "--lower-better"]
    done = CliRunner().invoke(app, [*levels, "--range", "dataset", "--out", "levels.csv", "--json"])
    assert done.exit_code == 0, done.exception
    written = [line.split(",") for line in Path("levels.csv").read_text().splitlines()[1:]]
    mildest = min(written, key=lambda row: float(row[1]))
    assert mildest[2] == "excellent"
    judged = ["evaluate", "iqa", "--predictions", "pred.csv", "--id", "image", "--truth", "dmos"]
    done = CliRunner().invoke(app, [*judged, "--score", "score", "--lower-better", "--json"])
    assert json.loads(done.stdout)["srcc"] > 0.9


class Processor:
    """As much of a processor as reading a picture needs."""

    image_token_id, image_token = 1, "<image>"
    image_processor = LlavaOnevisionImageProcessorPil(
        size={"height": 32, "width": 32},
        image_grid_pinpoints=[[32, 32], [32, 64], [64, 32], [64, 64]],
        do_normalize=False,
    )

    def replace_image_token(self, inputs, i):
        return "<image>" * 3


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_image_files_are_their_picture_or_refused_by_name(case, tmp_path):
    case("40-image-files")
    encoder = Encoder(Processor(), tmp_path / "40-image-files", 512)
    reference = encoder.picture("ok.png")
    for name in ("cmyk.jpg", "palette.png", "alpha.png", "exif6.jpg"):
        picture = encoder.picture(name)
        assert abs(picture.pixel_values[0].mean() - reference.pixel_values[0].mean()) < 15
    assert encoder.picture("exif6.jpg").size == (96, 64)
    grey = np.asarray(encoder.picture("gray16.png").pixel_values[0], float)
    assert 100 < grey.mean() < 155
    assert grey.std() > 20
    for name in ("cut.jpg", "empty.jpg", "page.jpg", "bomb.png"):
        with pytest.raises(InputError, match=name):
            encoder.picture(name)
