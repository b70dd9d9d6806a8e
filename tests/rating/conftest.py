"""A server of a tiny model, and images for it."""

import numpy as np
import pytest
from PIL import Image
from vllm_server import Server


@pytest.fixture(scope="module")
def mixed_images(tmp_path_factory):
    """Images that servers read in other ways than this project, were they sent as they are."""
    made = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number, shape in enumerate([(64, 64), (300, 500), (500, 300), (70, 64), (90, 80)]):
        pixels = rng.integers(0, 256, (*shape, 3), np.uint8) // (number + 1)
        Image.fromarray(pixels).save(made / f"{number}.png")
    with Image.open(made / "1.png") as opened:
        picture = opened.convert("RGB")
    turn = Image.Exif()
    turn[0x0112] = 6
    picture.save(made / "plain.jpg", quality=90)
    picture.save(made / "turned.jpg", quality=90, exif=turn)
    picture.save(made / "plain.webp", lossless=True)
    picture.save(made / "picture.bmp")
    picture.convert("L").save(made / "grey.png")
    picture.convert("CMYK").save(made / "print.jpg")
    clear = rng.integers(0, 256, (60, 70, 4), np.uint8)
    Image.fromarray(clear, "RGBA").save(made / "clear.png")
    palette = picture.convert("P")
    palette.save(made / "palette.png", transparency=3)
    Image.fromarray(rng.integers(0, 65536, (60, 70)).astype(np.uint16)).save(made / "deep.png")
    return made


@pytest.fixture
def serve(checkpoint):
    servers = []

    def start(*given, **named):
        servers.append(Server(checkpoint, *given, **named))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def soon(monkeypatch):
    """Pauses between attempts take no time."""
    from openai import AsyncOpenAI

    monkeypatch.setattr(AsyncOpenAI, "_calculate_retry_timeout", lambda *_: 0.0)
