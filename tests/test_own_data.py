"""From a folder of downloads to a report, as docs/DATA.md says it step by step."""

import downloads
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import FEWEST, call, read, sets

FEW = {key: value for key, value in FEWEST.items() if not key.startswith("data.")}


@pytest.mark.slow
def test_own_data_end_in_a_report(tmp_path):
    root, mine, run = tmp_path / "downloads", tmp_path / "mine.yaml", tmp_path / "run"
    downloads.make(root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = call("data", "init", root, "--out", mine)
    assert done.returncode == 0, done.stderr
    # The one thing that is edited: the size of a run that ends in minutes.
    settings = yaml.safe_load(mine.read_text()) | {"cache": str(tmp_path / "cache")}
    mine.write_text(yaml.safe_dump(settings))
    for words in (
        ["data", "build", run, "--preset", mine, *sets(FEW)],
        ["data", "audit", run],
        ["run", "--out", run],
    ):
        done = call(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"report: {run / 'report.html'}" in done.stdout
    assert (run / "report.html").stat().st_size > 10_000
    assert set(read(run / "evaluation" / "iqa.json")["primary"]) == {"koniq", "spaq"}
    rows = pq.read_table(run / "catalog" / "rows.parquet").to_pylist()
    counts = {d: sum(r["domain"] == d for r in rows) for d in ("interpreting", "general")}
    assert counts == {"interpreting": 80, "general": 80}
    assert read(run / "mixture.json")["rows"]["scoring"] == sum(
        r["domain"] == "scoring" for r in rows
    )
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    exported = tmp_path / "exported"
    done = call("export", run, "--out", exported)
    assert done.returncode == 0, done.stderr
    assert (exported / "model.safetensors").exists()
