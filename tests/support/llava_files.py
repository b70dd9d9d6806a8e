"""Records in LLaVA's shape, and a terminal that keeps what it was told."""

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


class Told(Terminal):
    """What was said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)
