"""The report shows the results in the run folder, names missing stages, and is one file."""

import re
from html.parser import HTMLParser

import pytest

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.config import presets
from qsit_ray.errors import InputError
from qsit_ray.report.formats import fixed, percent, significant
from qsit_ray.report.page import build
from qsit_ray.search.trials import TrialOutcome, write_trials
from qsit_ray.surrogate.comparison import compare_curves
from qsit_ray.surrogate.observations import observed

CONFIG = presets.demo()
SIZES = {"scoring": 600, "interpreting": 2400, "general": 1600}
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Balanced(HTMLParser):
    """Collects text and attribute values; fails where tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.attributes = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(page):
    return " ".join(" ".join(Balanced(page).text).replace("\xa0", " ").split())


def search(run, axis, lost=None):
    space = CONFIG.space(axis)
    rows = [
        TrialOutcome(ratio, seed, 1, 1, 1, status="failed", reason="worker <died>")
        if (ratio, seed) == lost
        else TrialOutcome(
            *(ratio, seed, 1, 1, 1),
            score=0.5 - 0.01 * (place - 4) ** 2 + 0.004 * seed,
            device_seconds=2.0,
        )
        for place, ratio in enumerate(space.ratios)
        for seed in space.seeds
    ]
    write_trials(run.trials(axis), rows)
    return rows


def fit(run, axis, table, use="polynomial"):
    seen = observed([row.ratio for row in table], [row.score for row in table])
    found = compare_curves(seen, use=use, coordinate="log")
    artifacts.write_json(run.fit(axis), found.to_json())
    return found


def epoch(number, sizes, ratio, verdict, lost=0):
    total = sum(sizes)
    return {
        "epoch": number,
        "sizes": dict(zip(SIZES, sizes, strict=True)),
        "loss_scoring": ratio * 1.5,
        "loss_interpreting": 1.5,
        "loss_ratio": ratio,
        "reference_loss_ratio": 0.2147,
        "verdict": verdict,
        "next_sizes": None,
        "srcc": 0.5,
        "accuracy": None,
        "plan_sha256": "",
        "planned": 2**64 - 1,
        "consumed": 2**64 - 1 - lost,
        "rows_planned": total,
        "rows_trained": total - lost,
        "rows_skipped": 0,
        "answers_cut": 0,
        "timing": {},
    }


def fill(run):
    """A finished run with planted numbers; returns the fit of the first axis."""
    made_with = "made_with:\n  versions: {ray: 2.60.0}\n  git: abc1234\n"
    artifacts.write_text(run.config, made_with)
    first = fit(run, "interpreting_general", search(run, "interpreting_general"))
    rest = search(run, "interpreting_scoring", lost=(10.0, 2))
    fit(run, "interpreting_scoring", rest, use="recommended")
    rows = {"scoring": 600, "interpreting": 1503, "general": 621}
    mixture = {"scoring": 1.0, "interpreting": 2.5049, "general": 1.0351, "rows": rows}
    mixture["loss_mask"] = "answer"
    artifacts.write_json(run.mixture, {**mixture, "reference_loss_ratio": 0.2147})
    epochs = [
        epoch(0, (600, 1503, 621), 0.1831, "grow_interpreting"),
        epoch(1, (600, 1804, 745), 0.2313, "grow_scoring"),
    ]
    artifacts.write_jsonl(run.epochs, epochs)
    others = ("plcc_logistic", "krcc", "rmse", "rmse_logistic", "average")
    scores = {"rows": 300, "srcc": 0.6123, "plcc": 0.6344, **dict.fromkeys(others)}
    scores |= {"confidence": 0.95, "reasons": {}}
    scores["intervals"] = {"srcc": [0.5011, 0.7022], "plcc": None}
    undefined = {**scores, "srcc": None, "plcc": None, "intervals": {"srcc": None}}
    undefined["reasons"] = {"srcc": "every prediction is equal", "plcc": "the same <again>"}
    artifacts.write_json(
        run.evaluation / "iqa.json",
        {"proxy": {"demo & co": undefined}, "primary": {"demo & co": scores}},
    )
    answers = {
        "accuracy": 0.5512,
        "interval": [0.4933, 0.6044],
        "confidence": 0.95,
        "random_guess": 0.3811,
        "by_type": {"yes-or-no": 0.6567, "what": 0.5123, "how": None},
        "by_concern": {"distortion": 0.5346},
        "missing": 4,
        "unparsable": 7,
        "rows": 420,
        "missing_rows": [],
        "unparsable_rows": [],
        "rule": "default",
    }
    artifacts.write_json(
        run.evaluation / "llvisionqa.json",
        {"primary": answers, "primary_untrained": {**answers, "accuracy": 0.4404}},
    )
    costs = {
        "data": {"inputs": "", "wall_seconds": 41.25, "device_seconds": 41.25},
        "train": {"inputs": "", "wall_seconds": 104.5, "device_seconds": 201.75},
    }
    artifacts.write_json(run.stages, costs)
    return first


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
    assert len(plots) == 4
    assert "D2 : D3" in plots[0] and "(D2 + D3) : D1" in plots[1]
    for plot in plots:
        assert "var(--ink)" in plot
        assert set(re.findall(r"#[0-9a-f]{6}", plot)) <= {"#000000"}
    for domain in SIZES:
        assert f"var(--{domain})" in plots[1] and f"var(--{domain})" in plots[3]


def test_the_page_asks_for_nothing_from_outside(finished):
    _, _, page = finished
    assert "http" not in page and "//" not in page.replace("://", "") and "@import" not in page
    assert not re.search(r"<(script|link|img|iframe|object)\b", page)
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
    assert all((run.path / path).exists() for path in found)


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
    failed = TrialOutcome(0.1, 0, 1, 1, 1, status="failed", reason="no result")
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
