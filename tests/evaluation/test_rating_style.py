"""Adjectives and numbers of an answer, and the shares of real answers."""

import gzip
import json

import pytest
import typer
from typer.testing import CliRunner

from qsit_ray.cli import lldescribe
from qsit_ray.errors import InputError
from qsit_ray.evaluation import rating_style as style


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *[(f"The quality is {word}.", [word]) for word in (*style.LEVELS, *style.SIMILAR)],
        ("very low", ["low"]),
        ("A HIGH-quality photo", ["high"]),
        ("low contrast in low light, at high ISO", []),
        ("Of medium rating, not good", ["medium", "good"]),
        ("an average-quality picture", ["average"]),
        ("fairly goodish, better, good-looking, semi-good, poorly", []),
        ("ｇｏｏｄ", ["good"]),
        ("", []),
    ],
)
def test_adjectives(text, words):
    assert style.adjectives(text) == words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *[(f"I give it {number}.", True) for number in ("7", "7.5/10", "7-8", "80%", "-1", "3,5")],
        *[(text, True) for text in ("Score:7", "**6**", "(3)", "3 out of 5", "eight out of ten")],
        *[(text, True) for text in ("7. The image is soft.", "Taken in 2019", "2. a\n7. b")],
        *[(text, False) for text in ("4K", "at f/2.8", "a D750", "16:9", "1920x1080", "8-bit")],
        *[(text, False) for text in ("one flaw out there", "1. Blur\n2. Noise", "", "good")],
        ("1. Blur\n2. Noise\nOverall 6", True),
    ],
)
def test_numbers(text, found):
    assert style.has_number(text) is found


def test_shares_and_missing_answers():
    texts = ["good", "7", "Good: 7 of 10", None, "  ", "a cat", "poor, poor", "fair"]
    found = style.rating_style(texts)
    assert found.rows == 8 and found.missing_rows == [4, 5]
    assert found.counts == {"qualitative": 4, "numeric": 2, "both": 1, "neither": 1}
    assert found.share("qualitative") == 4 / 6 and found.share("both") == 1 / 6
    assert found.words == {"poor": 1, "fair": 1, "good": 2}
    for name in style.STYLES:
        low, high = found.intervals[name]
        assert 0 <= low < found.share(name) < high <= 1
    empty = style.rating_style([None])
    assert empty.share("numeric") is None and empty.intervals["numeric"] is None
    with pytest.raises(InputError, match="row 2"):
        style.rating_style(["good", 7])
    with pytest.raises(InputError, match="confidence"):
        style.rating_style([], confidence=0)


def test_wilson_interval():
    # Two textbook cases: 0 of 10, and 15 of 50 at 95 %.
    assert style.wilson(0, 10, 0.95) == pytest.approx([0, 0.2775], abs=5e-5)
    assert style.wilson(15, 50, 0.95) == pytest.approx([0.1910, 0.4375], abs=5e-5)
    assert style.wilson(10, 10, 0.95)[1] == 1


def test_shares_of_real_answers(shared_data):
    with gzip.open(shared_data / "judge_scores_sample.json.gz") as stream:
        models = json.load(stream)
    for model, counts in (("co-instruct", (100, 0)), ("depictqa", (85, 0))):
        found = style.rating_style(list(models[model]["answers"].values()))
        assert (found.counts["qualitative"], found.counts["numeric"]) == counts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '["good", "7", null]'),
        ("a.json", '[{"answer": "good"}, {"answer": "7"}, {"answer": null}]'),
        ("a.jsonl", '{"answer": "good"}\n{"answer": "7"}\n\n{"answer": null}\n'),
        ("a.csv", 'id,answer\n1,"good"\n2,7\n3,\n'),
        ("a.tsv", "id\tanswer\n1\tgood\n2\t7\n3\t\n"),
    ],
)
def test_the_command_reads_tables_and_prints_one_object(tmp_path, name, content):
    app = typer.Typer()
    lldescribe.register(app)
    path = tmp_path / name
    path.write_text(content)
    done = CliRunner().invoke(app, ["rating-style", str(path), "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["rows"] == 3 and found["missing_rows"] == [3]
    assert found["qualitative"] == found["numeric"] == 0.5
    assert "qualitative" in CliRunner().invoke(app, ["rating-style", str(path)]).stdout


def test_the_command_names_the_mistake(tmp_path):
    app = typer.Typer()
    lldescribe.register(app)
    path = tmp_path / "a.json"
    for content, wrong in [
        ('[{"reply": "good"}]', "no column 'answer'; it has reply"),
        ('[{"answer": 7}]', "row 1.*expected a string, got 7"),
        ("[7]", "row 1: expected a string, got 7"),
        ("{}", "no column 'answer'|expected records"),
        ("[", "not JSON"),
    ]:
        path.write_text(content)
        with pytest.raises(InputError, match=wrong):
            CliRunner().invoke(app, ["rating-style", str(path)], catch_exceptions=False)
