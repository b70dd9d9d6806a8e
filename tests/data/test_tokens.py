"""Counts of tokens and tiles are the encoder's own, found without opening an image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llava_files import Told
from PIL import Image
from wide_model import GRIDS

from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.data import catalog, writing
from qsit_ray.data.encode import IGNORED, Encoder
from qsit_ray.data.tokens import count, read_tokens
from qsit_ray.demo import models
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS
from qsit_ray.models import load
from qsit_ray.stages.tokens import count_tokens, ruler_of

SIZES = [(32, 32), (20, 60), (100, 31), (64, 64), (97, 130)]


def save(folder, grids, pooling, texts=()):
    """A checkpoint of the demo's proxy with other image grids."""
    tokenizer = models.make_tokenizer(texts)
    model = models.make_model(models.DECODERS["proxy"], tokenizer, 0)
    model.config.image_grid_pinpoints = grids
    model.config.vision_aspect_ratio = pooling
    processor = models.processor_of(model, tokenizer)
    processor.image_processor.image_grid_pinpoints = grids
    load.save(model, processor, folder)
    return str(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    grids = [[32, 32], [32, 64], [64, 32], [64, 64], [32, 96], [96, 96]]
    return save(tmp_path_factory.mktemp("base"), grids, "anyres_max_1")


@pytest.fixture(scope="module")
def processor(base):
    return load.load_processor(base)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for height, width in SIZES:
        Image.new("RGB", (width, height)).save(folder / f"{height}.png")
    return folder


def row(turns, sizes=(), domain="general", name="r"):
    """`turns`: texts, the user's first; `sizes`: (height, width) of the images."""
    return {
        "id": name,
        "domain": domain,
        "images": [{"path": f"{h}.png", "height": h, "width": w} for h, w in sizes],
        "conversation": [
            {"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(turns)
        ],
        "mos": None,
        "level": None,
        "photograph": None,
        "dataset": "",
    }


def table(rows):
    import pyarrow as pa

    whole = [{**each, "row": number} for number, each in enumerate(rows)]
    return pa.Table.from_pylist(whole, schema=catalog.SCHEMA)


def counted(rows, base, max_length):
    return count(table(rows), ruler_of(base, max_length)[0], lambda done, total: None)


texts = st.text(st.sampled_from("ab ?\n\u2028é图<|"), max_size=12)


@st.composite
def rows(draw):
    count = 2 * draw(st.integers(1, 3))
    sizes = draw(st.lists(st.sampled_from(SIZES), max_size=3))
    of = draw(st.lists(st.integers(0, count - 1), min_size=len(sizes), max_size=len(sizes)))
    turns = ["<image>".join(draw(texts) for _ in range(of.count(n) + 1)) for n in range(count)]
    return row(turns, sizes)


@settings(max_examples=150, deadline=None)
@given(st.lists(rows(), min_size=1, max_size=6), st.integers(8, 200))
def test_counts_are_the_encoders(base, processor, root, made, max_length):
    found = counted(made, base, max_length)
    encoder = Encoder(processor, root, max_length)
    for number, each in enumerate(made):
        cut_before = encoder.cut
        try:
            encoded = encoder.encode(each)
        except InputError as error:
            assert f"{found.whole[number]} tokens leave no answer" in str(error)
            assert found.lost[number]
            continue
        assert not found.lost[number]
        assert found.tokens[number] == len(encoded["input_ids"])
        assert found.tiles[number] == len(encoded["pixel_values"])
        assert found.cut[number] == encoder.cut - cut_before
        assert (encoded["labels"] != IGNORED).any()


@pytest.mark.parametrize("size", [(300, 200), (384, 384), (500, 900), (1100, 400), (768, 3000)])
def test_real_tiles_count_alike(tmp_path, size):
    """384-pixel tiles of 27 x 27 patches, as the released models have them."""
    import wide_model

    base = wide_model.write(tmp_path / "base")
    picture = Encoder(load.load_processor(base), tmp_path, 8192).picture(
        Image.new("RGB", size[::-1])
    )
    assert ruler_of(base, 8192)[0].picture(size) == (picture.tokens, len(picture.pixel_values))
    assert len(picture.pixel_values) <= 1 + max(h * w for h, w in GRIDS) // 384**2


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row(["Q", "A"], [(32, 32)]), "expected <image> once for its image, found it 0 times"),
        (row(["<image><image>", "A"], [(32, 32)]), "found it 2 times"),
        (row(["<image>", "A"], SIZES[:2]), "expected <image> 2 times, once for each image"),
        (row(["<image>", "A"]), "the row has no image"),
        (row(["Q", "A", "Q"]), "must alternate"),
        (row([]), "must alternate"),
        (row(["<image>", "A"], [(None, 32)]), "does not hold its image's size"),
    ],
)
def test_a_row_that_could_not_be_encoded_is_named(base, bad, said):
    with pytest.raises(InputError, match=rf"row 1 \(general, id bad\): .*{said}"):
        counted([row(["Q", "A"]), bad | {"id": "bad"}], base, 512)


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.catalog.mkdir(parents=True)
    rows = [row([f"Is it {domain}?", "yes " * 40], domain=domain) for domain in DOMAINS]
    writing.write(run.catalog, catalog.Content(rows, rows[:2]))
    return run


def configured(proxy, primary, max_length=512):
    config = presets.demo()
    models = config.models.model_copy(
        update={"proxy": proxy, "primary": primary, "max_length": max_length}
    )
    return config.model_copy(update={"models": models})


def test_the_counts_lie_in_the_run_folder_and_follow_model_and_length(run, base, tmp_path):
    told = Told()
    count_tokens(run, configured(base, base), told)
    first = read_tokens(run, "primary")
    assert first.tokens.tolist() == read_tokens(run, "proxy").tokens.tolist()
    assert (len(first.tokens), first.tokens.dtype) == (3, np.int64)
    assert sum("training rows" in line for line in told.lines) == 1  # alike: counted once
    before = run.tokens("primary").stat().st_mtime_ns
    count_tokens(run, configured(base, base), told)
    assert run.tokens("primary").stat().st_mtime_ns == before

    manifest = (run.catalog / "manifest.json").read_bytes()
    other = save(tmp_path / "other", [[32, 32]], "anyres_max_1", ["yes yes is it general"] * 9)
    count_tokens(run, configured(base, other), told)
    assert (read_tokens(run, "primary").tokens < first.tokens).all()
    assert read_tokens(run, "proxy").tokens.tolist() == first.tokens.tolist()
    assert (run.catalog / "manifest.json").read_bytes() == manifest

    shorter = int(first.tokens.max()) - 60
    count_tokens(run, configured(base, base, shorter), told)
    assert (read_tokens(run, "primary").tokens < first.tokens).any()
    assert "answers are cut at models.max_length" in told.lines[-1]


def test_a_row_too_long_for_an_answer_is_named_before_any_training(run, base):
    with pytest.raises(
        InputError,
        match=r"row 0 \(scoring, id r\): its \d+ tokens leave no answer within "
        r"models.max_length 12; so do 2 other rows",
    ):
        count_tokens(run, configured(base, base, 12), Told())
    with pytest.raises(InputError, match=r"primary\.arrow: .* run `qsit data build`"):
        read_tokens(run, "primary")
