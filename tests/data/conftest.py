"""A small data set in the formats that their owners ship."""

import json

import pytest
from llava_files import QUESTION, asked, scored
from PIL import Image

from qsit_ray.config.data import LlavaData


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
