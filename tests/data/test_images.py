"""An image file gives the picture that a viewer shows, or an error with its name."""

import errno
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from qsit_ray.data import images
from qsit_ray.errors import InputError

RAMP = np.add.outer(np.linspace(0, 128, 48), np.linspace(0, 127, 80))  # 0 to 255


def grey():
    return Image.fromarray(RAMP.astype(np.uint8))


def picture():
    """Smooth and without symmetry, so that each turn differs and JPEG keeps it."""
    return Image.merge("RGB", [grey(), ImageOps.mirror(grey()), ImageOps.flip(grey())])


FORMS = {
    "16.png": Image.fromarray(np.rint(RAMP * 257).astype(np.uint16)),
    "16.tif": Image.fromarray(np.rint(RAMP * 257).astype(np.uint16)),
    "16.pgm": Image.fromarray(np.rint(RAMP * 257).astype(np.uint16)),
    "dark16.png": Image.fromarray(RAMP.astype(np.uint16)),
    "32.tif": Image.fromarray((RAMP * (2**31 - 1) / 255).astype(np.int32)),
    "unit.tif": Image.fromarray((RAMP / 255).astype(np.float32)),
    "overshoot.tif": Image.fromarray((RAMP * 1.04 / 255 - 0.02).astype(np.float32)),
    "bytes.tif": Image.fromarray(RAMP.astype(np.float32)),
    "words.tif": Image.fromarray((RAMP * 257).astype(np.float32)),
    "8.png": grey(),
    "alpha.png": Image.merge("LA", [grey(), Image.new("L", grey().size, 0)]),
    "rgba.png": Image.merge("RGBA", [grey()] * 3 + [Image.new("L", grey().size, 9)]),
    "palette.png": grey().convert("P"),
    "palette.gif": grey().convert("P"),
    "grey.webp": grey().convert("RGB"),
    "cmyk.jpg": grey().convert("CMYK"),
    "ycc.jpg": grey().convert("RGB"),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_its_picture(tmp_path, name):
    FORMS[name].save(tmp_path / name)
    found = images.read(tmp_path / name)
    assert found.mode == "RGB"
    expected = RAMP / 257 if name == "dark16.png" else RAMP
    off = np.abs(np.asarray(found, float) - expected[:, :, None])
    assert off.max() <= (8 if name.endswith((".jpg", ".webp", "shoot.tif")) else 1.5)
    assert images.check(tmp_path / name) == (48, 80)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_pictures_are_upright(tmp_path, name, orientation):
    file = tmp_path / name
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(file, exif=exif)
    with Image.open(file) as opened:
        upright = ImageOps.exif_transpose(opened)
    assert np.array_equal(np.asarray(images.read(file)), np.asarray(upright))
    assert images.check(file) == (upright.height, upright.width)
    assert images.check(file) == ((80, 48) if orientation >= 5 else (48, 80))


def test_broken_exif_data_do_not_hide_the_picture(tmp_path):
    picture().save(tmp_path / "a.jpg", exif=b"Exif\x00\x00not TIFF")
    assert images.read(tmp_path / "a.jpg").size == (80, 48)
    assert images.check(tmp_path / "a.jpg") == (48, 80)


def bad_file(folder, name):
    """A file that is no readable image, for one reason after another."""
    file = folder / name
    if name.startswith("cut."):
        picture().save(file)
        file.write_bytes(file.read_bytes()[:-60])
    elif name == "empty.jpg":
        file.touch()
    elif name == "page.jpg":
        file.write_text("<html>404</html>")
    elif name == "bomb.png":
        Image.new("1", (16_000, 12_000)).save(file)
    elif name == "nan.tif":
        Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(file)
    elif name == "folder.jpg":
        file.mkdir()
    return file


@pytest.mark.parametrize("open_", [images.read, images.check])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cut.jpg", "not a readable image .*truncated"),
        ("cut.png", "not a readable image"),
        ("empty.jpg", "not a readable image"),
        ("page.jpg", "not a readable image"),
        ("bomb.png", "not a readable image .*192000000 pixels"),
        ("nan.tif", "no numbers"),
        ("folder.jpg", "a folder"),
        ("gone.jpg", "is missing"),
        ("gone/a.jpg", "is missing"),
        ("a caption in place of a name " * 20, "is missing"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, open_, name, said):
    file = bad_file(tmp_path, name)
    with pytest.raises(InputError, match=said) as refused:
        open_(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("open_", [images.read, images.check])
def test_a_file_without_permission_is_refused(tmp_path, monkeypatch, open_):
    def refuse(file):
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(Image, "open", refuse)  # root may read everything
    with pytest.raises(InputError, match=r"a\.png: .*permission"):
        open_(tmp_path / "a.png")


@pytest.mark.parametrize("open_", [images.read, images.check])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM])
def test_a_failing_machine_is_no_mistake_of_the_user(tmp_path, monkeypatch, open_, number):
    picture().save(tmp_path / "a.jpg")

    class Failing(io.BytesIO):
        def read(self, *arguments):
            if self.tell() > 600:
                raise OSError(number, "the machine's failure")
            return super().read(*arguments)

    data, real = (tmp_path / "a.jpg").read_bytes(), Image.open
    assert len(data) > 700
    monkeypatch.setattr(Image, "open", lambda file: real(Failing(data)))
    with pytest.raises(OSError, match="the machine's failure") as failed:
        open_(tmp_path / "a.jpg")
    assert failed.value.errno == number
    assert not isinstance(failed.value, InputError)


def outcome(open_, file):
    try:
        return bool(open_(file))
    except InputError as error:
        assert str(file) in str(error)
        return False


def noise():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (48, 80, 3), dtype=np.uint8))


def encoded(form, **options):
    noise().save(data := io.BytesIO(), form, **options)
    return data.getvalue()


ENCODED = {
    "a.jpg": encoded("jpeg"),
    "progressive.jpg": encoded("jpeg", progressive=True),
    "a.png": encoded("png"),
    "a.tif": encoded("tiff", compression="tiff_lzw"),
    "a.gif": encoded("gif"),
    "a.webp": encoded("webp"),
    "a.bmp": encoded("bmp"),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(ENCODED)),
    st.floats(0, 1, exclude_max=True),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
)
def test_check_refuses_what_read_refuses(tmp_path_factory, form, cut, changes):
    """Files cut and changed anywhere: both give a picture, or both an InputError with its name."""
    data = bytearray(ENCODED[form])
    for place, value in changes:
        data[int(place * len(data))] = value
    if cut > 0.3:
        data = data[: int(cut * len(data))]
    file = tmp_path_factory.mktemp("broken") / form
    file.write_bytes(data)
    assert outcome(images.check, file) == outcome(images.read, file)


def test_a_large_photograph_is_checked_to_its_end(tmp_path):
    """12 megapixels, stored sideways as a camera does."""
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 255, (375, 500, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    rough.resize((4000, 3000)).save(tmp_path / "a.jpg", exif=exif)
    assert images.check(tmp_path / "a.jpg") == (4000, 3000)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: -len(data) // 200])
    with pytest.raises(InputError, match=r"cut\.jpg: .*truncated"):
        images.check(tmp_path / "cut.jpg")
