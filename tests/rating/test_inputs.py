"""What a command line names: each image once, in order, and nothing silently left out."""

import io

import fsspec
import pytest
from PIL import Image

from qsit_ray.errors import InputError
from qsit_ray.rating.inputs import listed


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "deep/c.webp", ".hidden.png", ".thumbs/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).write_text("no image")
        else:
            Image.new("RGB", (8, 8)).save(tmp_path / name)
    return tmp_path


def found(words, column=None, stdin=""):
    return listed([str(word) for word in words], column, io.StringIO(stdin))


def test_a_folder_stands_for_the_images_below_it(folder):
    names = ["a.JPG", "b.png", "deep/c.webp"]
    assert found([folder]) == [str(folder / name) for name in names]


def test_words_keep_their_order_and_a_file_is_taken_as_it_is(folder):
    text, image = folder / "notes.txt", folder / "b.png"
    assert found([text, image, text]) == [str(text), str(image), str(text)]


def test_patterns_reach_below_and_a_name_with_brackets_is_a_name(folder):
    assert found([f"{folder}/**/*.webp"]) == [str(folder / "deep/c.webp")]
    (folder / "x[1].png").write_bytes((folder / "b.png").read_bytes())
    assert found([folder / "x[1].png"]) == [str(folder / "x[1].png")]


def test_a_tables_column_is_relative_to_its_folder(folder):
    table = folder / "t.csv"
    table.write_text("image,file\nb.png,deep/c.webp\n/x/y.png,s3://bucket/z.png\n")
    assert found([table]) == [str(folder / "b.png"), "/x/y.png"]
    assert found([table], "file") == [str(folder / "deep/c.webp"), "s3://bucket/z.png"]
    with pytest.raises(InputError, match=r"t\.csv: no column 'photo'"):
        found([table], "photo")


def test_lines_of_standard_input_and_addresses(folder):
    assert found(["-"], stdin=" a.png \n\nb c.png\n") == ["a.png", "b c.png"]
    assert found(["https://example.org/a.png"]) == ["https://example.org/a.png"]
    store = fsspec.filesystem("memory")
    store.pipe("/listed/1.png", b"x")
    store.pipe("/listed/2.png", b"x")
    assert found(["memory://listed/*.png"]) == ["memory:///listed/1.png", "memory:///listed/2.png"]


@pytest.mark.parametrize("word", ["missing.png", "*.nothing", "deep/.empty", "-"])
def test_a_word_that_stands_for_nothing_is_refused(folder, word, monkeypatch):
    (folder / "deep" / ".empty").mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"no such file|no images there"):
        found([word])


def test_what_pillow_only_writes_is_no_image(folder):
    (folder / "page.pdf").write_bytes(b"%PDF")
    assert found([folder]) == [str(folder / name) for name in ("a.JPG", "b.png", "deep/c.webp")]
