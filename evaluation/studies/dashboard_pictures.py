"""rim: pictures of Ray's dashboard while a rehearsal runs as a job, in a headless Chromium. Writes
docs/dashboard-job.png and dashboard-actors.png."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from qsit_ray.evaluation.studies.own_head import Head, own_head
from qsit_ray.evaluation.studies.page_pictures import browsing

SETTINGS = (
    "search.nodes={}",
    "train.nodes={}",
    "search.cpus_per_trial=1",
    "search.rehearsal.rows_per_second=40000",
)
"""Of a head without labels; a trial takes some ten seconds."""
WIDTH, HEIGHT = 1400, 1000
PATIENCE = 300.0


def write(out: Path) -> None:
    """Rehearse on a head with four logical GPUs, and take the pictures when trials have ended."""
    with tempfile.TemporaryDirectory() as folder, own_head(cpus=4, gpus=4) as head:
        run = Path(folder) / "rehearsal"
        _submit(head, run)
        _wait(lambda: len(list(run.glob("search/*/outcomes/*"))) >= 2)
        with browsing() as browser:
            token = {"Authorization": f"Bearer {head.token.read_text()}"}
            context = browser.new_context(
                viewport={"width": WIDTH, "height": HEIGHT}, extra_http_headers=token
            )
            page = context.new_page()
            page.goto(f"{head.dashboard}/#/jobs")
            page.get_by_role("link", name=re.compile(r"^\d+$")).first.click()
            page.get_by_text("Make the catalog").first.wait_for()
            page.screenshot(path=out / "dashboard-job.png")
            page.goto(f"{head.dashboard}/#/actors")
            page.get_by_text("Trial(rehearsal").first.wait_for()
            page.screenshot(
                path=out / "dashboard-actors.png",
                clip={"x": 0, "y": 0, "width": WIDTH, "height": 0.6 * HEIGHT},
            )


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
            raise RuntimeError("no trial ended")
        time.sleep(1.0)
