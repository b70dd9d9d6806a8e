"""A run that judges beauty: other prompts and level words, from the rows to a score."""

import pyarrow.parquet as pq
import pytest
import yaml
from command_line import FEWEST, call, read, sets
from page_commands import ROOT, blocks


@pytest.mark.slow
def test_a_run_in_other_words_scores_with_them(tmp_path):
    ((_, page),) = blocks(ROOT / "docs" / "HOWTO_PROMPTS.md", ("yaml",))
    run, mine = tmp_path / "run", tmp_path / "prompts.yaml"
    prompts = yaml.safe_load(page)["prompts"]
    mine.write_text(page + f"\ncache: {tmp_path / 'cache'}\n")
    done = call("run", "--preset", mine, "--out", run, *sets(FEWEST))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pq.read_table(run / "catalog" / "rows.parquet").to_pylist()
    scored = [row for row in rows if row["domain"] == "scoring"]
    assert {row["conversation"][0]["value"] for row in scored} == {prompts["question"]}
    for row in scored:
        assert row["level"] in prompts["levels"]
        assert row["conversation"][1]["value"] == f"{prompts['stem']} {row['level']}."
    closed = [r for r in rows if "One of these, as it is written." in r["conversation"][0]["value"]]
    assert closed and not any("one option" in r["conversation"][0]["value"] for r in rows)

    # The model carries its words, and `qsit score` gives what the evaluation gave.
    assert read(run / "train" / "model" / "profile.json") == prompts
    assert read(run / "proxy" / "model" / "profile.json") == prompts
    found = pq.read_table(run / "evaluation" / "predictions.parquet").to_pylist()
    of_one, *_ = (r for r in found if (r["model"], r["benchmark"]) == ("primary", "iqa"))
    done = call("score", run / "catalog" / of_one["id"], "--model", run, "--json")
    assert done.returncode == 0, done.stderr
    (told,) = yaml.safe_load(done.stdout)["scores"]
    assert [name for name in told if name in prompts["levels"]] == prompts["levels"]
    assert told["score"] == pytest.approx(of_one["score"], abs=1e-3)
    page = (run / "report.html").read_text()
    assert "<span>awful</span><span>great</span>" in page
    out = tmp_path / "exported"
    done = call("export", run, "--out", out)
    assert done.returncode == 0, done.stderr
    assert 'stem = "Its beauty is"' in (out / "README.md").read_text()
    assert read(out / "profile.json") == prompts
    done = call("score", "--selftest", "--model", out)
    assert done.returncode == 0, done.stdout + done.stderr
    changed = call("run", "--out", run, "--set", "prompts.stem=It looks")
    assert changed.returncode == 2 and "prompts.stem" in changed.stderr
