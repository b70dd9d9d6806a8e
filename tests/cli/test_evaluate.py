"""The four commands as in scripts: one JSON object, exit status, one line for a mistake."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from qsit_ray.artifacts import RunFolder
from qsit_ray.cli import app
from qsit_ray.config.presets import resolve
from qsit_ray.run_config import RunConfig


@pytest.fixture
def qsit(monkeypatch, capsys):
    """Run a command line; (exit status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["qsit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture
def predictions(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.normal(50, 10, 60)
    frame = pd.DataFrame(
        {
            "image": [f"{i}.jpg" for i in range(60)],
            "mos": truth,
            "pred": truth + rng.normal(0, 5, 60),
            "set": ["koniq", "spaq"] * 30,
            "g": truth / 10,
            "p": -truth / 10,
        }
    )
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    return tmp_path / "predictions.csv"


@pytest.fixture
def benchmark(tmp_path):
    asked = [
        {
            "type": i % 3,
            "concern": i % 4,
            "question": f"q{i}",
            "img_path": f"{i}.jpg",
            "candidates": ["Yes", "No"],
            "correct_ans": "Yes",
        }
        for i in range(8)
    ]
    path = tmp_path / "questions.json.gz"
    path.write_bytes(gzip.compress(json.dumps(asked).encode()))
    hidden = [{k: v for k, v in q.items() if k != "correct_ans"} for q in asked]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, hidden)))
    (tmp_path / "answers.json").write_text(json.dumps(["A"] * 5 + [None, "no", "what?"]))
    return tmp_path


def one_object(out):
    found = json.loads(out)
    assert isinstance(found, dict) and out.count("\n") == 1
    return found


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_levels_are_written_and_counted(qsit, predictions, tmp_path, ending):
    out = tmp_path / f"levels.{ending}"
    call = ("data", "levels", predictions, "--id", "image", "--mos", "mos", "--out", out)
    status, printed, err = qsit(*call, "--range", "explicit:40:60", "--boundary", "left", "--json")
    assert (status, err) == (0, "")
    found = one_object(printed)
    read = {
        "csv": pd.read_csv,
        "jsonl": lambda p: pd.read_json(p, lines=True),
        "parquet": pd.read_parquet,
    }
    table, source = read[ending](out), pd.read_csv(predictions)
    assert list(table.columns) == ["id", "mos", "level"]
    assert table.id.tolist() == source.image.tolist()
    assert table.mos.to_numpy() == pytest.approx(source.mos.to_numpy(), abs=1e-9)
    assert found["counts"] == {
        w: int((table.level == w).sum()) for w in ("bad", "poor", "fair", "good", "excellent")
    }
    assert (found["rows"], found["low"], found["high"], found["rejected"]) == (60, 40, 60, 0)
    assert found["clipped"] == int(((source.mos < 40) | (source.mos > 60)).sum())
    assert found["srcc"] > 0.8 and found["plcc"] > 0.8


def test_rejects_are_accounted_for(qsit, tmp_path):
    (tmp_path / "spaq.tsv").write_text("id\tmos\na\t50\nb\t94\nc\t10\nd\t70\n")
    call = ("data", "levels", tmp_path / "spaq.tsv", "--id", "id", "--mos", "mos")
    _, printed, _ = qsit(*call, "--range", "spaq-release", "--out", tmp_path / "o.csv", "--json")
    found = one_object(printed)
    assert (found["rows"], found["written"], found["rejected"]) == (4, 3, 1)
    assert found["rejected_rows"][0]["id"] == "b"
    assert (tmp_path / "o.csv").read_text().splitlines()[0] == "id,mos,level"


def test_iqa_from_scores_and_from_logits(qsit, predictions):
    call = ("evaluate", "iqa", "--predictions", predictions, "--id", "image", "--truth", "mos")
    status, printed, err = qsit(*call, "--score", "pred", "--by", "set", "--json")
    found = one_object(printed)
    assert (status, err) == (0, "")
    assert set(found["groups"]) == {"koniq", "spaq"}
    for block in (found, found["overall"], *found["groups"].values()):
        for key in ("rows", "srcc", "plcc", "plcc_logistic", "krcc", "rmse", "intervals"):
            assert block[key] is not None
    two = one_object(qsit(*call, "--two-level", "good=g,poor=p", "--temperature", "1", "--json")[1])
    assert two["srcc"] == pytest.approx(1) and two["temperature"] == 1
    words = one_object(qsit(*call, "--logits", "bad=p,fine=g", "--json")[1])
    assert words["srcc"] == pytest.approx(1)


def test_seed_and_confidence_change_only_the_interval(qsit, predictions):
    call = ("evaluate", "iqa", "--predictions", predictions, "--id", "image", "--truth", "mos")
    runs = [
        one_object(qsit(*call, "--score", "pred", "--json", *more)[1])
        for more in ((), (), ("--seed", "1"), ("--confidence", "0.5"))
    ]
    assert runs[0] == runs[1]
    assert runs[0]["srcc"] == runs[2]["srcc"] == runs[3]["srcc"]
    widths = [np.ptp(run["intervals"]["srcc"]) for run in runs]
    assert widths[0] != widths[2] and widths[3] < widths[0]


def test_llvisionqa_and_its_submission(qsit, benchmark):
    call = ("evaluate", "llvisionqa", "--answers", benchmark / "answers.json", "--questions")
    found = one_object(qsit(*call, benchmark / "questions.json.gz", "--json")[1])
    assert found["accuracy"] == 5 / 8 and found["random_guess"] == 0.5 and found["rows"] == 8
    assert (found["missing"], found["unparsable"]) == (1, 1)
    assert found["unparsable_replies"][0]["reply"] == "what?"
    official = one_object(
        qsit(*call, benchmark / "questions.json.gz", "--rule", "official", "--json")[1]
    )
    assert official["unparsable"] == 2 and official["accuracy"] == 5 / 8
    sent = benchmark / "out" / "submission.json"
    status, printed, _ = qsit(*call, benchmark / "test.jsonl", "--submission", sent, "--json")
    assert status == 0 and one_object(printed)["accuracy"] is None
    records = json.loads(sent.read_text())
    assert [r["img_path"] for r in records] == [f"{i}.jpg" for i in range(8)]
    assert records[5]["response"] is None


def test_an_output_of_another_program_needs_no_option(qsit, tmp_path):
    rows = [("Is it sharp?", "Yes", "No", "A", "A. Yes"), ("Noisy?", "Yes", "No", "B", "Yes")]
    frame = pd.DataFrame(rows, columns=["question", "A", "B", "answer", "prediction"])
    frame.rename_axis("index").to_excel(tmp_path / "m_Q-Bench1_VAL.xlsx")
    call = ("evaluate", "llvisionqa", "--answers", tmp_path / "m_Q-Bench1_VAL.xlsx")
    found = one_object(qsit(*call, "--json")[1])
    assert (found["rows"], found["accuracy"], found["random_guess"]) == (2, 0.5, 0.5)
    status, printed, _ = qsit(*call)
    assert status == 0 and "0.5000" in printed and "the file does not tell them" in printed


def test_compare_both_tasks(qsit, predictions, benchmark):
    frame = pd.read_csv(predictions)
    worse = frame.assign(pred=np.roll(frame.pred, 1)).iloc[2:]
    worse.to_json(benchmark / "b.jsonl", orient="records", lines=True)
    found = one_object(
        qsit("evaluate", "compare", predictions, benchmark / "b.jsonl", "--task", "iqa", "--json")[
            1
        ]
    )
    assert found["rows"] == 58 and found["difference"] > 0 and found["p_value"] < 0.05
    assert found["only_in_a"] == ["0.jpg", "1.jpg"] and found["only_in_b"] == []
    (benchmark / "other.json").write_text(json.dumps(["B"] * 8))
    found = one_object(
        qsit(
            *("evaluate", "compare", benchmark / "answers.json", benchmark / "other.json"),
            *("--task", "llvisionqa", "--questions", benchmark / "questions.json.gz", "--json"),
        )[1]
    )
    assert found["difference"] == 5 / 8 and found["p_value"] == pytest.approx(2 / 2**5)


def test_tables_without_json_have_every_digit(qsit, predictions, benchmark):
    call = ("evaluate", "iqa", "--predictions", predictions, "--id", "image", "--truth", "mos")
    found = one_object(qsit(*call, "--score", "pred", "--by", "set", "--json")[1])
    _, printed, _ = qsit(*call, "--score", "pred", "--by", "set", "--trained-on", "koniq")
    assert "koniq (intra)" in printed and "spaq (cross)" in printed
    for block in (found, *found["groups"].values()):
        assert f"{block['srcc']:.4f}" in printed and f"{block['rmse']:.4f}" in printed
    asked = ("--questions", benchmark / "questions.json.gz")
    _, printed, _ = qsit("evaluate", "llvisionqa", "--answers", benchmark / "answers.json", *asked)
    assert "random guess" in printed and "0.6250" in printed and "unparsable: 1 of 8" in printed
    _, printed, _ = qsit("evaluate", "compare", predictions, predictions, "--task", "iqa")
    assert "p_value" in printed
    out = benchmark / "o.csv"
    call = ("data", "levels", predictions, "--id", "image", "--mos", "mos", "--range", "dataset")
    assert "excellent" in qsit(*call, "--out", out)[1]


def test_constant_predictions_are_null_with_the_reason(qsit, tmp_path):
    (tmp_path / "a.csv").write_text("id,mos,pred\n" + "".join(f"{i},{i},3\n" for i in range(9)))
    call = ("evaluate", "iqa", "--predictions", tmp_path / "a.csv", "--id", "id", "--truth", "mos")
    status, printed, _ = qsit(*call, "--score", "pred", "--json")
    found = one_object(printed)
    assert status == 0 and found["srcc"] is None and "equal" in found["reasons"]["srcc"]
    assert "every prediction is equal" in qsit(*call, "--score", "pred")[1]


IQA = "evaluate iqa --predictions {0} --id id --truth mos "


def test_dmos_falls_with_quality(qsit, tmp_path):
    table, out = tmp_path / "csiq.csv", tmp_path / "levels.csv"
    rows = [(f"{n}.png", n / 10, 90 - 8 * n) for n in range(10)]
    pd.DataFrame(rows, columns=["image", "dmos", "score"]).to_csv(table, index=False)
    call = ("data", "levels", table, "--id", "image", "--mos", "dmos", "--range", "dataset")
    status, printed, _ = qsit(*call, "--out", out, "--lower-better", "--json")
    assert status == 0
    assert pd.read_csv(out)["level"].iloc[[0, -1]].tolist() == ["excellent", "bad"]
    assert json.loads(printed)["srcc"] > 0.9
    call = ("evaluate", "iqa", "--predictions", table, "--id", "image", "--truth", "dmos")
    status, printed, _ = qsit(*call, "--score", "score", "--lower-better", "--json")
    found = json.loads(printed)
    assert (status, found["srcc"], found["rmse"]) == (0, 1, None)
    assert "rmse" in found["reasons"]
    assert json.loads(qsit(*call, "--score", "score", "--json")[1])["srcc"] == -1


LEVELS = "data levels {0} --id id --mos mos --out {1}/o.csv --range "


@pytest.mark.parametrize(
    ("content", "command", "words"),
    [
        ("id,mos,p\na,1,2\nb,,3\n", IQA + "--score p", "row 2 (line 3) is missing"),
        ("id,mos,p\na,1,2\nb,nan,3\n", LEVELS + "dataset", "row 2 (line 3) is missing"),
        ("id,mos,p\na,1,x y\nb,2,3\n", IQA + "--score p", "row 1 (line 2) is 'x y'"),
        ("id,mos,p\na,1,2\na,2,3\n", IQA + "--score p", "'a' in row 1 (line 2) and row 2 (line 3)"),
        ("id,mos,p\na,1,2\na,2,3\n", LEVELS + "dataset", "'a' in row 1 (line 2)"),
        ("id,mos,p\na,1,2\n", IQA + "--score q", "no column 'q'; it has id, mos, p"),
        ("id,mos,p\na,1,2\n", IQA, "one of --score"),
        ("id,mos,p\na,1,2\n", IQA + "--logits bad", "WORD=COLUMN"),
        ("id,mos,p\na,1,2\n", IQA + "--score p --confidence 95", "between 0 and 1"),
        ("id,mos,p\na,1,2\n", IQA + "--score p --trained-on koniq", "--by"),
        ("id,mos,p\na,1,2\n", IQA + "--two-level good=p,poor=mos --temperature 0", "positive"),
        ("id,mos,p\na,1,2\nb,1,2\n", LEVELS + "dataset", "two different MOS"),
        ("id,mos,p\na,1,2\n", LEVELS + "minmax", "range 'minmax' is not known"),
        ("id,mos,p\na,1,2\n", LEVELS + "spaq-release --boundary right", "left-closed"),
        ("", IQA + "--score p", "empty"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(qsit, tmp_path, content, command, words):
    path = tmp_path / "a.csv"
    path.write_text(content)
    for more in ([], ["--json"]):
        status, printed, err = qsit(*(p.format(path, tmp_path) for p in command.split()), *more)
        assert (status, printed) == (2, "")
        assert err.startswith("qsit: ") and err.count("\n") == 1 and words in err
    assert not (tmp_path / "o.csv").exists()


def test_the_input_is_never_overwritten(qsit, predictions):
    before = predictions.read_bytes()
    call = ("data", "levels", predictions, "--id", "image", "--mos", "mos", "--range", "dataset")
    status, _, err = qsit(*call, "--out", predictions)
    assert status == 2 and "--out" in err and predictions.read_bytes() == before


def test_no_ray_and_no_torch_are_loaded(predictions):
    code = (
        "import sys; from qsit_ray.cli import app\n"
        f"sys.argv = ['qsit', 'evaluate', 'compare', {str(predictions)!r}, {str(predictions)!r},"
        " '--task', 'iqa', '--json']\n"
        "try: app.main()\nexcept SystemExit: pass\n"
        "print({'ray', 'torch', 'transformers', 'deepspeed'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_missing_model_is_said_before_ray_is_started(qsit, tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    RunConfig(resolve("demo"), {"versions": {}}, []).write(run)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # no head is there to join
    status, _, error = qsit("evaluate", "run", run.path)
    assert status == 2 and "the primary model is missing; train first" in error


def test_selected_rows_keep_their_columns(qsit, tmp_path):
    table, out = tmp_path / "labels.csv", tmp_path / "chosen.csv"
    mos = np.random.default_rng(0).normal(50, 15, 400)
    frame = pd.DataFrame({"image": [f"{n}.jpg" for n in range(400)], "mos": mos, "x": range(400)})
    frame.to_csv(table, index=False)
    call = ("data", "select", table, "--mos", "mos", "--n", 100, "--seed", 1, "--out", out)
    status, printed, _ = qsit(*call, "--json")
    assert status == 0
    chosen = pd.read_csv(out)
    content = json.loads(printed)
    assert content["written"] == len(chosen) == 100
    assert content["sd"] == pytest.approx(chosen.mos.std(ddof=0))
    pd.testing.assert_frame_equal(chosen, frame.loc[chosen.x].reset_index(drop=True))
    status, _, error = qsit(*call[:5], "--n", 401, "--out", out)
    assert (status, len(error.splitlines())) == (2, 1)
