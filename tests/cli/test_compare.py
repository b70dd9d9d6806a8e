"""qsit compare: two folders of the same images, from the command line to the page."""

import base64
import csv
import io
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import qsit_ray
from qsit_ray.cli.app import app, main
from qsit_ray.errors import InputError
from qsit_ray.models import load

HOSTILE = 'n<img src=x onerror="x">&[red]'
N = 9


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from qsit_ray.demo import models
    from qsit_ray.demo.pretrain import make_tokenizer

    folder = tmp_path_factory.mktemp("model") / "m"
    tokenizer = make_tokenizer([], 0)
    made = models.make_model(models.DECODERS["proxy"], tokenizer, 0)
    load.save(made, models.processor_of(made, tokenizer), folder)
    return folder


@pytest.fixture
def folders(tmp_path):
    """Noise, and the same darkened as another format; the first is a copy; one of a hostile
    name."""
    before, after = tmp_path / "before", tmp_path / "after"
    rng = np.random.default_rng(0)
    for folder in (before, after):
        folder.mkdir()
    for number in range(N):
        name = HOSTILE if number == 1 else f"{number}"
        pixels = rng.integers(0, 256, (240 + number, 300, 3), np.uint8)
        Image.fromarray(pixels).save(before / f"{name}.png")
        if number == 0:
            Image.fromarray(pixels).save(after / f"{name}.png")
        else:
            Image.fromarray(pixels // 3).save(after / f"{name}.bmp")
    return before, after


def call(*words):
    return CliRunner().invoke(app, ["compare", *map(str, words)])


def found_of(*words):
    return json.loads(call(*words, "--json").stdout)


def test_pairs_are_csv_where_there_is_no_terminal(model, folders):
    done = call(*folders, "--model", model)
    assert done.exit_code == 0
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == N
    rater = qsit_ray.Rater.load(model)
    for row in rows:
        for side in "ab":
            alone = rater.score(row[f"image_{side}"]).score
            assert float(row[f"score_{side}"]) == pytest.approx(alone, abs=1e-4)
        apart = float(row["score_b"]) - float(row["score_a"])
        assert float(row["difference"]) == pytest.approx(apart)
    assert float(rows[0]["difference"]) == 0
    assert f"n = {N}." in done.stderr


def test_json_has_all_and_swapped_folders_swap_it(model, folders):
    found = found_of(*folders, "--model", model)
    apart = {row["name"]: row["difference"] for row in found["pairs"]}
    result = found["comparison"]
    assert result["pairs"] == len(apart) == N
    assert result["difference"] == pytest.approx(np.mean(list(apart.values())))
    assert result["share_equal"] == pytest.approx(1 / N)
    assert 0 < result["p_value"] <= 1
    falling = sorted((name for name in apart if apart[name] < 0), key=apart.get)
    assert found["worst"] == falling
    assert found["folders"] == [str(folder) for folder in folders]
    assert found["conditions"]["profile"] == "paper"
    swapped = found_of(*folders[::-1], "--model", model)
    assert swapped["comparison"]["difference"] == pytest.approx(-result["difference"], abs=1e-6)
    assert swapped["best"] == found["worst"]


def test_identical_folders_differ_by_exactly_zero(model, folders, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folders[0].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    for other in (folders[0], copy):
        found = found_of(folders[0], other, "--model", model)
        result = found["comparison"]
        assert {row["difference"] for row in found["pairs"]} == {0}
        assert (result["difference"], result["interval"], result["share_equal"]) == (0, [0, 0], 1)
        assert (result["p_value"], result["reason"]) == (None, "no pair differs")
        assert found["worst"] == found["best"] == []


def test_the_page_is_one_file_with_the_sentence_and_escaped_names(model, folders, tmp_path):
    out = tmp_path / "page.html"
    done = call(*folders, "--model", model, "--out", out)
    assert (done.exit_code, done.stdout) == (0, "")
    page = out.read_text()
    found = found_of(*folders, "--model", model)
    result = found["comparison"]
    plain = page.replace("\xa0", " ")
    size = f"{abs(result['difference']):.3f}"
    assert size in re.search(r'<p class="result">(.*?)</p>', plain).group(1)
    assert f"n = {N}." in plain
    assert re.search(r'<p class="result">(.*?)</p>', plain).group(1) in done.stderr
    assert "<img src=x" not in page and "&lt;img src=x onerror=&#34;x&#34;&gt;&amp;[red]" in page
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([AB]): ', page)
    assert len(pictures) == page.count("<img") == 2 * (N - 1)
    for content, _ in pictures:
        assert max(Image.open(io.BytesIO(base64.b64decode(content))).size) == 200
    assert page.count("<svg") == 1 and "var(--ink)" in page
    assert (
        "http:" not in page and "https:" not in page and "url(" not in re.sub(r"url\(#", "", page)
    )
    assert not re.search(r"<(script|link|iframe|object)\b", page)
    table = (tmp_path / "page.html.pairs.csv").read_text()
    assert [row["name"] for row in csv.DictReader(io.StringIO(table))] == [
        pair["name"] for pair in found["pairs"]
    ]
    call(*folders, "--model", model, "--out", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page


def test_no_more_cases_are_shown_than_asked(model, folders, tmp_path):
    out = tmp_path / "page.html"
    assert call(*folders, "--model", model, "--out", out, "--cases", 1).exit_code == 0
    found = found_of(*folders, "--model", model, "--cases", 1)
    shown = found["worst"] + found["best"]
    assert len(found["worst"]) <= 1 >= len(found["best"]) and shown
    assert out.read_text().count("<img") == 2 * len(shown)
    assert len(found["pairs"]) == N


def test_names_in_are_pairs_and_rejects_and_the_rest_is_compared(
    model, folders, tmp_path, capsys, monkeypatch
):
    before, after = folders
    (before / "alone.png").write_bytes((before / "0.png").read_bytes())
    (before / "bad.png").write_text("no image")
    (after / "bad.png").write_bytes((before / "0.png").read_bytes())
    out = tmp_path / "page.html"
    words = ["compare", before, after, "--model", model, "--json", "--out", out]
    monkeypatch.setattr(sys, "argv", ["qsit", *map(str, words)])
    with pytest.raises(SystemExit, match="2"):
        main()
    printed, told = capsys.readouterr()
    found = json.loads(printed)
    assert len(found["pairs"]) == N
    assert [each["image"] for each in found["rejects"]] == [str(before / "alone.png"), "bad"]
    assert "bad.png: not a readable image" in found["rejects"][1]["reason"]
    for text in (told, out.read_text()):
        assert "alone.png" in text and "bad.png: not a readable image" in text
    assert f"2 of {N + 2} names are rejected" in told


def test_without_a_readable_pair_all_are_rejected(model, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_text(folder)
    done = call(tmp_path / "a", tmp_path / "b", "--model", model)
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == "1 of 1 names are rejected"
    assert done.stdout == "name,image_a,image_b,score_a,score_b,difference\n"
    found = found_of(tmp_path / "a", tmp_path / "b", "--model", model)
    assert (found["comparison"], found["pairs"]) == (None, [])
    assert [each["image"] for each in found["rejects"]] == ["x"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "page.csv"], r"page\.csv: expected a name that ends in \.html"),
        (["--out", "nowhere/page.html"], "its folder is missing"),
        (["--cases", "25"], "or equal to 24"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(folders, more, message):
    done = call(*folders, "--model", "no/model", *more)
    assert re.search(message, f"{done.exception} {done.output}")
    assert "Loading" not in done.output


def test_what_is_no_pair_is_told_before_a_model_is_loaded(folders, tmp_path):
    before, after = folders
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no two images have the same name"):
        raise call(before, tmp_path / "empty", "--model", "no/model").exception
    (tmp_path / "empty" / "1.HEIC").touch()
    with pytest.raises(InputError, match=r"the same name; Pillow does not read \.heic$"):
        raise call(before, tmp_path / "empty", "--model", "no/model").exception
    with pytest.raises(InputError, match="gone: no such folder"):
        raise call(before, tmp_path / "gone", "--model", "no/model").exception
    (before / "2.jpg").write_bytes((before / "2.png").read_bytes())
    with pytest.raises(InputError, match=r"2: which are a pair\? .*2\.jpg, .*2\.png, .*2\.bmp"):
        raise call(before, after, "--model", "no/model").exception


def test_a_terminal_gets_tables_with_names_as_they_are(model, folders, monkeypatch):
    class Shown(io.StringIO):
        def isatty(self):
            return True

    screen = Shown()
    words = ["compare", *folders, "--model", model]
    monkeypatch.setattr(sys, "argv", ["qsit", *map(str, words)])
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(SystemExit, match="0"):
        main()
    text = screen.getvalue()
    assert "mean of B - A" in text and "p-value" in text
    assert HOSTILE in text
    assert "name,image_a" not in text
