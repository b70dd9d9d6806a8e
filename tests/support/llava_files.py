"""Records in LLaVA's shape, and a terminal that keeps what it was told."""

import tempfile
from pathlib import Path

from qsit_ray.data.catalog import Content
from qsit_ray.mixture import DOMAINS
from qsit_ray.stages import own_data
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


def read(data, seed=0, report=lambda *_: None):
    """The catalog's content, as lists."""
    with tempfile.TemporaryDirectory() as folder:
        found = own_data.read(data, DOMAINS[:2], seed, Path(folder) / "drafts.arrow", report)
        return Content(
            train=[row for _, rows in found.training() for row in rows.to_pylist()],
            validation=[row for rows in found.validating() for row in rows.to_pylist()],
            images={"validation": found.validation_images, "test": found.tested},
            questions={split: each.rows for split, each in found.asked.items()},
            rejects=found.rejects,
        )


class Told(Terminal):
    """What was said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)
