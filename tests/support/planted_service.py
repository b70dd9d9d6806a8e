"""A model of planted values behind the service's page, and a visit to the page in a browser."""

import asyncio
import io
import threading

from PIL import Image

from qsit_ray.prompts import PROFILES
from qsit_ray.rating.results import Choice, Reject, Reply, Score

LEVELS = ("bad", "poor", "fair", "good", "excellent")
SHARES = (0.05, 0.1, 0.15, 0.5, 0.2)
SCORES = {"good.png": 3.7, "poor.png": 2.25}


class Planted:
    """Scores by file name, answers that repeat the question. `raising`: what it raises once.
    While `goes_on` is clear, answers wait."""

    def __init__(
        self, profile="paper", answer="Answer to: {}", name="planted-model", is_whole=True
    ):
        self.profile, self.answer, self.name = PROFILES[profile], answer, name
        self.is_whole = is_whole
        self.raising = None
        self.asked = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    async def conditions(self):
        return {
            "model": self.name,
            "profile": self.profile.name,
            "score_range": list(self.profile.score_range),
            "precision": "bfloat16",
        }

    async def scores(self, images):
        await self._ready()
        return [self._score(image.name) for image in images]

    def _score(self, name):
        if name.endswith(".txt"):
            return Reject(name, f"{name}: no image of a known format")
        shares = dict(zip(self.profile.words, SHARES, strict=True))
        score = SCORES.get(name, 3.7) if self.profile.name == "paper" else 0.6751
        return Score(name, score, shares, std=1.0712, entropy=1.0, rank_key=0.0)

    async def answers(self, image, questions, choices, most_tokens):
        self.asked.append((image.name, *questions, choices))
        await self._ready()
        if choices:
            shares = dict(zip(choices, (0.125, 0.75, 0.125), strict=False))
            return [Choice(image.name, each, choices[1], shares) for each in questions]
        texts = [self.answer.format(each) for each in questions]
        return [
            Reply(image.name, each, text, self.is_whole)
            for each, text in zip(questions, texts, strict=True)
        ]

    async def _ready(self):
        raising, self.raising = self.raising, None
        if raising:
            raise raising
        assert await asyncio.to_thread(self.goes_on.wait, 20)


def png(name="good.png", size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


NOTES = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}


class Visit:
    """A page, and what it logged and requested."""

    def __init__(self, browser, address, **context):
        self.page = browser.new_page(**context)
        self.address, self.errors, self.requests = address, [], []
        self.page.set_default_timeout(10_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._logged)
        self.page.on("request", self._requested)
        self.page.goto(address)

    def _logged(self, message):
        # A refusal is a line of the console too; what the page makes of it is tested.
        if message.type in ("error", "warning") and "Failed to load" not in message.text:
            self.errors.append(message.text)

    def _requested(self, request):
        self.requests.append(request)

    def close(self):
        self.page.close()
        assert not self.errors
        own = (self.address, f"blob:{self.address}", "data:")
        assert not [each.url for each in self.requests if not each.url.startswith(own)]

    def slot(self, number=0):
        return self.page.get_by_role("region", name=("First image", "Second image")[number])

    def put(self, *files, slot=0):
        self.slot(slot).locator("input").set_input_files(list(files))

    def ask(self, question, choices=""):
        self.page.get_by_label("Your question").fill(question)
        self.page.get_by_label("Choices").fill(choices)
        self.page.get_by_role("button", name="Ask", exact=True).click()

    @property
    def answers(self):
        return self.page.get_by_role("list", name="Answers").locator("> li")
