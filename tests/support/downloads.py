"""A folder of downloads as a user has it: photographs with labels, records and questions."""

import json

import numpy as np
import openpyxl
import pandas as pd
from PIL import Image, ImageFilter
from skimage import data as photographs

SHOWN = ("astronaut", "chelsea", "coffee")
QUALITIES = ("sharp", "blurred", "noisy", "dark")


def photograph(seed, size=(160, 120)):
    """A part of a real photograph, and which of four qualities it was given."""
    random = np.random.default_rng(seed)
    whole = Image.fromarray(getattr(photographs, SHOWN[seed % len(SHOWN)])())
    left, top = (int(random.integers(0, most - 130)) for most in whole.size)
    image = whole.crop((left, top, left + 128, top + 96)).resize(size)
    quality = seed % len(QUALITIES)
    if quality == 1:
        image = image.filter(ImageFilter.GaussianBlur(4))
    elif quality == 2:
        pixels = np.asarray(image) + random.normal(0, 40, (size[1], size[0], 3))
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    elif quality == 3:
        image = image.point(lambda value: value * 0.3)
    return image, QUALITIES[quality]


def koniq(folder, count):
    """Photographs, and the scores that KonIQ-10k's owners would ship; no file of its splits."""
    (folder / "1024x768").mkdir(parents=True)
    rows = []
    for n in range(count):
        image, quality = photograph(n)
        image.save(folder / "1024x768" / f"{1000 + n}.jpg")
        score = 90.0 - 20 * QUALITIES.index(quality) - n / 10
        votes = [count // 5 + 1] * 5
        rows.append((f"{1000 + n}.jpg", *votes, sum(votes), 3.0, 0.5, score))
    names = ["image_name", *(f"c{k}" for k in range(1, 6)), "c_total", "MOS", "SD", "MOS_zscore"]
    frame = pd.DataFrame(rows, columns=names)
    frame.to_csv(folder / "koniq10k_scores_and_distributions.csv", index=False)


def spaq(folder, count):
    """Photographs, with SPAQ's sheet in a folder of its own."""
    (folder / "TestImage").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    book = openpyxl.Workbook()
    book.active.append(["Image name", "MOS", "Brightness", "Sharpness"])
    for n in range(count):
        image, quality = photograph(100 + n)
        image.save(folder / "TestImage" / f"{n:05}.jpg")
        book.active.append([f"{n:05}.jpg", 85 - 20 * QUALITIES.index(quality) - n / 10, 50, 40])
    book.save(folder / "Annotations" / "MOS and Image attribute scores.xlsx")


def instructions(path, count, ask, name):
    """Records in LLaVA's shape; every fifth without an image where they are not of quality."""
    records = []
    for n in range(count):
        question, answer = ask(n)
        image = {} if name(n) is None else {"image": name(n)}
        token = "<image>\n" if image else ""
        turns = [
            {"from": "human", "value": f"{token}{question}"},
            {"from": "gpt", "value": answer},
        ]
        records.append({"id": f"{n}", **image, "conversations": turns})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))


def make(folder, scored=40, asked=80):
    """The whole folder: two databases, Q-Instruct-like and LLaVA-like records, and questions."""
    koniq(folder / "koniq10k", scored)
    spaq(folder / "SPAQ", scored // 2)
    instructions(
        folder / "q_instruct" / "q_instruct_small.json",
        asked,
        lambda n: (
            "What distortion does this image suffer from?",
            {"sharp": "None.", "blurred": "Blur.", "noisy": "Noise.", "dark": "Underexposure."}[
                QUALITIES[n % scored % 4]
            ],
        ),
        lambda n: f"1024x768/{1000 + n % scored}.jpg",
    )
    (folder / "coco" / "train2017").mkdir(parents=True)
    for n in range(8):
        photograph(200 + n)[0].save(folder / "coco" / "train2017" / f"{n:012}.jpg")
    instructions(
        folder / "llava_instruct_small.json",
        asked,
        lambda n: ("What is in the picture?", f"Something round, and {n} other things."),
        lambda n: None if n % 5 == 0 else f"coco/train2017/{n % 8:012}.jpg",
    )
    (folder / "bench" / "images").mkdir(parents=True)
    questions = []
    for n in range(20):
        image, quality = photograph(300 + n)
        image.save(folder / "bench" / "images" / f"q{n}.jpg")
        questions.append(
            {
                "type": 1,
                "concern": 0,
                "question": "Which word fits this image?",
                "img_path": f"q{n}.jpg",
                "candidates": list(QUALITIES),
                "correct_ans": quality,
            }
        )
    (folder / "bench" / "llvisionqa_dev.json").write_text(json.dumps(questions))
    (folder / "notes.json").write_text('{"author": "someone"}')
