"""rim: pictures of Ray's dashboard while a rehearsal runs as a job, in a headless Chromium. Writes
docs/dashboard-jobs.png and dashboard-actors.png."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from evaluation.studies.own_head import Head, own_head
from evaluation.studies.page_pictures import browsing

SETTINGS = ("search.nodes={}", "search.cpus_per_trial=1", "search.rehearsal.rows_per_second=10000")
VIEW = {"width": 1180, "height": 560}
PATIENCE = 180.0


def write(out: Path) -> None:
    """Rehearse on a head with four logical GPUs until some trials run, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder, own_head(cpus=4, gpus=4) as head:
        run = Path(folder) / "koniq-mix"
        _submit(head, run)
        _wait(lambda: len(list(run.glob("search/*/attempts/*"))) >= 4)
        with browsing() as browser:
            token = {"Authorization": f"Bearer {head.token.read_text()}"}
            page = browser.new_context(viewport=VIEW, extra_http_headers=token).new_page()
            for name, words in {"jobs": "koniq-mix", "actors": "ratio="}.items():
                page.goto(f"{head.dashboard}/#/{name}")
                page.get_by_text(words).first.wait_for()
                page.screenshot(path=out / f"dashboard-{name}.png")


def _submit(head: Head, run: Path) -> None:
    code = "from qsit_ray.cli.app import main; main()"
    words = ["run", "--preset", "rehearsal", "--out", str(run)]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    subprocess.run(
        [sys.executable, "-c", code, "submit", "--no-wait", "--name", run.name, "--", *words],
        env={**os.environ, **head.environment, "RAY_ADDRESS": head.dashboard},
        check=True,
    )


def _wait(moment: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not moment():
        if time.monotonic() > until:
            raise RuntimeError("no trial began")
        time.sleep(1.0)
