"""The report shows the results in the run folder, names missing stages, and is one file."""

import re

import pytest
from planted_run import CONFIG, Balanced, epoch, fill, read, search

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.errors import InputError
from qsit_ray.mixture import Mixture
from qsit_ray.report.formats import fixed, percent, significant
from qsit_ray.report.page import build
from qsit_ray.search.trials import TrialOutcome, write_trials


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = RunFolder(tmp_path_factory.mktemp("runs") / "<b>demo & son")
    fitted = fill(run)
    path = build(run, CONFIG)
    return run, fitted, path.read_text(encoding="utf-8")


def test_planted_numbers_are_in_the_page(finished):
    run, fitted, page = finished
    text = read(page)
    for expected in (
        "= 1 : 2.50 : 1.04", "1,503 rows", "of 0.215 there",
        "SRCC 0.612 and PLCC 0.634 against pseudo-MOS on demo & co",
        "answers 55.1 % of the questions right (untrained 44.0 %, random guess 38.1 %).",
        "Preset demo · seed 0 · ray 2.60.0 · git abc1234",
        fitted.verdict, f"optimum {significant(fitted.fit.optimum)}", "quartic over log (used)",
        "Gaussian process over log (recommended)", "Gaussian process over log (used, recommended)",
        f"quartic over ratio {significant(fitted.curves['quartic over ratio'].optimum)}",
        "Degraded: 1 of 18 rows have no score",
        "18 trials with 3 seeds; 17 have a score. 1 failed : worker <died>.",
        "0.183", "grow D2 and D3", "1,804", "3,149", "2 of 3 epochs are done so far",
        "0.501 to 0.702", "every prediction is equal", "the same <again>",
        "65.7 %", "51.2 %", "53.5 %", "49.3 % to 60.4 %",
        "41.2", "201.8", "243.0", "83.0 %",
    ):  # fmt: skip
        assert expected in text, expected
    assert artifacts.read_json(run.ledger)["device_seconds"] == 243.0


def test_plots_hold_the_ratios_and_follow_the_page_s_colours(finished):
    _, _, page = finished
    plots = re.findall(r"<svg role.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) == 5
    assert "D2 : D3" in plots[0] and "(D2 + D3) : D1" in plots[1]
    for plot in plots:
        assert "var(--ink)" in plot
        assert set(re.findall(r"#[0-9a-f]{6}", plot)) <= {"#000000"}
    for colour in ("d1", "d2", "d3"):
        assert f"var(--{colour})" in plots[1] and f"var(--{colour})" in plots[4]


def test_the_page_asks_for_nothing_from_outside(finished):
    _, _, page = finished
    text = re.sub(r"sha256-[\w+/]+=|data:image/jpeg;base64,[\w+/]+=*|http-equiv", "", page)
    assert "http" not in text and "//" not in text and "@import" not in text
    assert not re.search(r"<(link|iframe|object)\b", page)
    assert re.findall(r"<script\b[^>]*>", page) == ["<script>"]
    links = [v for _, name, v in Balanced(page).attributes if name in {"href", "src"}]
    assert links and all(v.startswith("#") or v[0].isalpha() for v in links)
    assert "url(" not in re.sub(r"url\(#\w+\)", "", page)


def test_names_are_escaped(finished):
    _, _, page = finished
    assert "<b>demo" not in page and "&lt;b&gt;demo &amp; son" in page
    assert "<died>" not in page and "<again>" not in page and "demo &amp; co" in page


def test_links_lead_to_files_of_the_run(finished):
    run, _, page = finished
    found = [v for tag, name, v in Balanced(page).attributes if (tag, name) == ("a", "href")]
    assert "train/epochs.jsonl" in found and "search/interpreting_general/trials.csv" in found
    sections = [path[1:] for path in found if path.startswith("#")]
    assert len(sections) == 6 and all(f'id="{name}"' in page for name in sections)
    assert all((run.path / path).exists() for path in found if not path.startswith("#"))


def test_two_builds_give_the_same_page(finished):
    run, _, page = finished
    assert build(run, CONFIG).read_text(encoding="utf-8") == page


def test_a_run_without_any_stage_names_the_next_commands(tmp_path):
    text = read(build(RunFolder(tmp_path), CONFIG).read_text())
    for expected in (
        "is not found yet", "This search has not run yet", "has not finished an epoch yet",
        "Scoring has not been evaluated yet", "Questions have not been evaluated yet",
        "No stage has finished yet", "(not there yet)",
    ):  # fmt: skip
        assert expected in text
    assert artifacts.read_json(RunFolder(tmp_path).ledger)["device_seconds"] == 0


def test_a_search_without_fit_or_scores_is_drawn(tmp_path):
    run = RunFolder(tmp_path)
    search(run, "interpreting_general")
    failed = TrialOutcome(0.1, 0, Mixture.of(1, 1, 1), status="failed", reason="no result")
    write_trials(run.trials("interpreting_scoring"), [failed])
    text = read(build(run, CONFIG).read_text())
    assert text.count("Not fitted yet") == 2
    assert "18 have a score" in text and "1 failed : no result." in text


def test_an_epoch_not_trained_as_planned_is_marked(tmp_path):
    run = RunFolder(tmp_path)
    artifacts.write_jsonl(run.epochs, [epoch(0, (600, 0, 0), 0.2, "hold", lost=1)])
    text = read(build(run, CONFIG).read_text())
    assert "not what was planned" in text and "exactly once" not in text


@pytest.mark.parametrize("name", ["mixture.json", "train/epochs.jsonl", "evaluation/iqa.json"])
@pytest.mark.parametrize("content", ["{", '{"primary": {"demo": {}}}', "[3]"])
def test_an_unreadable_file_is_named(tmp_path, name, content):
    artifacts.write_text(tmp_path / name, content)
    with pytest.raises(InputError, match=name):
        build(RunFolder(tmp_path), CONFIG)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.4178, "2.42"), (0.99961, "1.00"), (0.01234, "0.0123"), (1234.5, "1,230"), (0, "0"),
        (-0.5, "−0.500"), (12, "12.0"), (None, "–"), (1.5e-7, "1.50e-07"), (2.5e9, "2.50e+09"),
    ],
)  # fmt: skip
def test_three_significant_digits(value, text):
    assert significant(value) == text


def test_shares_and_correlations():
    assert (fixed(-0.0567), fixed(None)) == ("−0.057", "–")
    assert (percent(0.5512), percent(None)) == ("55.1\xa0%", "–")
