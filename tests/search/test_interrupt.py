"""Ctrl-C or SIGTERM ends a search with exit status 130 or 143, and is never taken for its end."""

import signal
import subprocess

import pytest
from command_line import call, read
from command_line import words as run_words

SMALL = {
    "search.interpreting_general.ratios": "[0.1, 0.3, 1.0, 3.0, 10.0]",
    "search.interpreting_general.seeds": "[0, 1]",
    "search.rehearsal.rows_per_second": 600_000,
}


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_search_is_finished_by_the_same_command(tmp_path, sign, status):
    run = tmp_path / "run"
    folder = run / "search" / "interpreting_general"
    with subprocess.Popen(
        run_words(run, "rehearsal", SMALL),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        while not list(folder.glob("outcomes/*.json")):
            assert command.poll() is None, command.stderr.read()
        command.send_signal(sign)
        assert command.wait() == status
        assert f"finished work is kept in {run}" in command.stderr.read()
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("outcomes/*.json")}
    assert 1 <= len(finished) < 10
    assert not (folder / "trials.parquet").exists()
    assert "search interpreting_general" not in read(run / "stages.json")
    done = call("search", "run", run)
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("outcomes/*.json"))) == 10
    assert finished == {path: path.stat().st_mtime_ns for path in finished}
