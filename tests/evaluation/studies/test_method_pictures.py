"""The pictures of docs/METHOD.md: the same each time, and of what the package computes."""

import re
from pathlib import Path

from qsit_ray.evaluation.studies import method_pictures

PAGE = Path(__file__).parents[3] / "docs" / "METHOD.md"


def test_the_page_shows_every_picture_that_is_made_and_no_other(tmp_path):
    method_pictures.draw_path(tmp_path / "method_path.svg")
    method_pictures.draw_controller(tmp_path / "method_controller.svg")
    shown = set(re.findall(r"\]\((method_\w+\.svg)\)", PAGE.read_text()))
    assert shown == {"method_path.svg", "method_search.svg", "method_controller.svg"}
    assert {path.name for path in PAGE.parent.glob("method_*.svg")} == shown
    for path in tmp_path.iterdir():
        assert "<svg" in path.read_text()


def test_a_picture_is_the_same_each_time(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        method_pictures.draw_controller(tmp_path / folder / "method_controller.svg")
    a, b = (tmp_path / name / "method_controller.svg" for name in "ab")
    assert a.read_bytes() == b.read_bytes()
