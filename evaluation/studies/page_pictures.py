"""pure: pictures of the service's page, in a headless Chromium, with planted values in place of a
model's. Writes docs/page-light.png, page-dark.png and page-phone.png."""

from __future__ import annotations

import io
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from qsit_ray.data.images import Content
from qsit_ray.errors import InputError
from qsit_ray.prompts import PAPER
from qsit_ray.rating.results import Choice, Reject, Reply, Score, score_of
from qsit_ray.service.app import build
from qsit_ray.service.limits import Limits

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FilePayload, Page
    from starlette.types import ASGIApp

SIZE = (720, 960)
"""Height and width of the example image."""
SKY, SUN, NEAR = (244, 190, 150), (255, 240, 214), (31, 47, 66)
LOGITS = {"clear.png": (-3.0, -1.2, 0.9, 2.6, 1.5), "blurred.png": (0.6, 2.2, 1.4, -0.9, -3.0)}
"""Planted level logits, worst level first."""
ANSWERS = {
    "clear.png": "The ridges have sharp edges down to the nearest one, and the sky changes evenly, "
    "without bands or noise. The light is warm and low, with no part too dark or too bright.",
    "blurred.png": "The whole image is out of focus: the edges of the ridges are spread over many "
    "pixels, and the sun has no outline. Light and colours are as in a good image.",
}


class Example:
    """A model of planted values, which its name says."""

    async def conditions(self) -> dict[str, Any]:
        low, high = PAPER.score_range
        return {
            "model": "example values, not a model’s",
            "profile": PAPER.name,
            "score_range": [low, high],
            "precision": "float32",
        }

    async def scores(self, images: Sequence[Content]) -> list[Score | Reject]:
        return [score_of(image.name, LOGITS[image.name], PAPER) for image in images]

    async def answers(
        self,
        image: Content,
        questions: Sequence[str],
        choices: Sequence[str] | None,
        most_tokens: int,
    ) -> list[Reply | Choice]:
        if choices is None:
            return [Reply(image.name, each, ANSWERS[image.name], True) for each in questions]
        shares = [0.5 ** (number + 1) for number in range(len(choices) - 1)]
        planted = dict(zip(choices, [*shares, shares[-1]], strict=True))
        return [Choice(image.name, each, choices[0], planted) for each in questions]


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """An ASGI application on a free port of this machine; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, lifespan="off", log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def browsing() -> Iterator[Browser]:
    """A headless Chromium. Raises InputError where none is installed."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium")
    if found is None:
        raise InputError("chromium is not installed; Debian's package is chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def picture() -> Image.Image:
    """Ridges before an evening sky, from sums of sines."""
    height, width = SIZE
    y, x = np.mgrid[:height, :width].astype(np.float64)
    canvas = _blend(np.full((height, width, 3), SUN), SKY, 1 - y / height)
    canvas = _blend(canvas, (120, 148, 184), np.clip(1 - 1.6 * y / height, 0, 1))
    sun = np.hypot(x - 0.68 * width, y - 0.36 * height)
    canvas = _blend(canvas, SUN, np.clip(1.2 - sun / 170, 0, 1) ** 2)
    canvas = _blend(canvas, (255, 250, 240), np.clip(46 - sun, 0, 1))
    for number in range(6):
        share = number / 5
        ridge = height * (0.46 + 0.09 * number) - _waves(x / width, number) * (36 + 12 * number)
        colour = [(1 - share) * far + share * near
                  for far, near in zip((206, 164, 152), NEAR, strict=True)]  # fmt: skip
        canvas = _blend(canvas, colour, np.clip(y - ridge, 0, 1))
    return Image.fromarray(canvas.round().astype(np.uint8))


def _waves(x: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """A line of waves, each about half as high and twice as frequent as the one before."""
    total = np.zeros_like(x)
    for octave in range(7):
        phase = 7.3 * number + 2.1 * octave**2
        total += np.sin((1.7 + 0.4 * number) * 2.03**octave * 2 * x + phase) / 1.9**octave
    return total


def _blend(canvas: NDArray[Any], colour: Sequence[float], share: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(canvas + (np.asarray(colour) - canvas) * share[..., None])


def _file(name: str, image: Image.Image) -> FilePayload:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def _compared(page: Page, files: list[FilePayload]) -> None:
    page.get_by_label("Choose an image").set_input_files(files)
    page.get_by_text("scores 1").wait_for()
    page.get_by_role("button", name="Describe").click()
    page.get_by_role("list", name="Answers").get_by_text("out of focus").wait_for()


def _chosen(page: Page, files: list[FilePayload]) -> None:
    page.get_by_label("Choose an image").set_input_files(files[1:])
    page.get_by_label("Your question").fill("What is wrong with it?")
    page.get_by_label("Choices").fill("blur, noise, darkness")
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("list", name="Answers").get_by_text("blur", exact=True).first.wait_for()


def _scored(page: Page, files: list[FilePayload]) -> None:
    page.get_by_label("Choose an image").set_input_files(files[:1])
    page.get_by_text("Standard deviation").wait_for()


def write(out: Path) -> None:
    """Write the three pictures into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    clear = picture()
    blurred = clear.filter(ImageFilter.GaussianBlur(9))
    files = [_file("clear.png", clear), _file("blurred.png", blurred)]
    views = (
        ("light", "light", 1000, 1, _compared),
        ("dark", "dark", 1000, 1, _chosen),
        ("phone", "light", 360, 1.5, _scored),
    )
    app = build(Example(), Limits(), None, lambda *_: None)
    with serving(app) as address, browsing() as browser:
        for name, scheme, width, scale, act in views:
            page = browser.new_page(
                viewport={"width": width, "height": 700},
                device_scale_factor=scale,
                color_scheme=scheme,  # type: ignore[arg-type]
                reduced_motion="reduce",
                has_touch=name == "phone",
                is_mobile=name == "phone",
            )
            page.goto(address)
            act(page, files)
            page.evaluate("document.activeElement.blur()")
            page.mouse.move(0, 0)
            file = out / f"page-{name}.png"
            shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            # 256 colours: a third of the bytes, and hardly a difference to see.
            shot.quantize(kmeans=4, dither=Image.Dither.NONE).save(file, optimize=True)
            print(f"{file}: written")
            page.close()
