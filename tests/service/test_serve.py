"""`qsit serve`: a model on Ray Serve, from its start to its end."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
import small_model
from command_line import QSIT
from planted_secrets import arguments

from qsit_ray.rating.rater import Rater

TOKEN = "planted-token"
USE = Path(__file__).parents[2] / "docs" / "USE.md"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model.write(tmp_path_factory.mktemp("model") / "m")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_service_from_start_to_end(model, tmp_path):
    """The command of docs/USE.md: equal scores under many clients, also when a replica is killed;
    metrics; a client that leaves; a clean end."""
    (command,) = re.findall(r"^    qsit (serve .*)$", USE.read_text(), re.MULTILINE)
    (tmp_path / "MODEL").symlink_to(model)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    images = [small_model.image(seed, (40 + seed, 64)) for seed in range(24)]
    rater = Rater.load(model)
    known = [each.score for each in rater.scores(images)]

    def score(number):
        body = {"files": images[number % len(images)]}
        answer = requests.post(f"{url}/v1/score", files=body, headers=HEADERS, timeout=120)
        found = answer.json()["scores"][0]["score"] if answer.status_code == 200 else None
        return number % len(images), answer.status_code, found

    with subprocess.Popen(
        [QSIT, *shlex.split(command), "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "QSIT_SERVICE_TOKEN": TOKEN},
    ) as driver:
        try:
            lines = [next(driver.stdout) for _ in range(3)]
            metrics = re.search(r"metrics: (\S+)", lines[-1])[1]
            assert requests.get(f"{url}/ready", timeout=60).json() == {"status": "ready"}
            assert score_without_token(url, images[0]) == 401
            assert not [line for line in arguments(driver.pid) if TOKEN in line]
            replica = next(
                process
                for process in psutil.Process(driver.pid).children(recursive=True)
                if "ServeReplica:qsit:Model" in process.name() + " ".join(process.cmdline())
            )
            with ThreadPoolExecutor(8) as clients:
                answers = [clients.submit(score, number) for number in range(200)]
                answers[40].result()
                os.kill(replica.pid, signal.SIGKILL)
                found = [answer.result() for answer in answers]
            assert {status for _, status, _ in found} == {200}
            for number, _, value in found:
                assert value == pytest.approx(known[number], abs=1e-4)
            counted = requests.get(metrics, timeout=60).text
            assert re.search(r"qsit_service_requests\S*\{.*route=\"/v1/score\"", counted)
            assert TOKEN not in counted
            with pytest.raises(requests.ReadTimeout):
                fields = [("question", "Is it sharp?")] * 32 + [("most_tokens", "2048")]
                asked = {"files": {"file": images[0]}, "data": fields, "headers": HEADERS}
                requests.post(f"{url}/v1/ask", timeout=2, **asked)
            assert score(0)[1] == 200  # the replica does not answer who has gone
        finally:
            driver.send_signal(signal.SIGTERM)
        assert driver.wait(timeout=60) == 143


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
def test_curl_gets_a_score_and_ctrl_c_ends_the_service(model, tmp_path):
    """The line of docs/USE.md."""
    (line,) = re.findall(r"^    (curl .*)$", USE.read_text(), re.MULTILINE)
    (tmp_path / "photo.jpg").write_bytes(small_model.image(0, form="JPEG"))
    (tmp_path / "MODEL").symlink_to(model)
    port = free_port()
    with subprocess.Popen(
        [QSIT, "serve", "--model", "MODEL", "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as driver:
        try:
            lines = [next(driver.stdout) for _ in range(3)]
            assert f"page: http://127.0.0.1:{port}/\n" in lines
            line = line.replace(":8000/", f":{port}/")
            asked = subprocess.run(shlex.split(line), cwd=tmp_path, capture_output=True, text=True)
            (score,) = json.loads(asked.stdout)["scores"]
        finally:
            driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=60) == 130
        assert driver.stdout.read() == ""
    assert score["image"] == "photo.jpg"
    known = Rater.load(model).score(tmp_path / "photo.jpg").score
    assert score["score"] == pytest.approx(known, abs=1e-4)


@contextlib.contextmanager
def serving(model, port, address):
    """`qsit serve` on a cluster, from when it listens."""
    with subprocess.Popen(
        [QSIT, "serve", "--model", str(model), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RAY_ADDRESS": address},
    ) as driver:
        try:
            yield [next(driver.stdout) for _ in range(3)]
        finally:
            driver.send_signal(signal.SIGTERM)
        assert driver.wait(timeout=60) == 143


def test_what_a_cluster_serves_is_not_replaced_and_its_address_is_told(model, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    port, other = free_port(), free_port()

    def refused(port):
        words = [QSIT, "serve", "--model", str(model), "--port", str(port)]
        environment = {**os.environ, "RAY_ADDRESS": cluster.address}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert done.returncode == 2, done.stderr
        return done.stderr

    try:
        with serving(model, port, cluster.address) as lines:
            assert f"page: http://127.0.0.1:{port}/\n" in lines
            assert "serves an application qsit; end that first" in refused(port)
            ready = requests.get(f"http://127.0.0.1:{port}/ready", timeout=60)
            assert ready.json() == {"status": "ready"}
        assert f"listens at 127.0.0.1:{port} there" in refused(other)
    finally:
        cluster.shutdown()


def score_without_token(url, content):
    return requests.post(f"{url}/v1/score", files={"files": content}, timeout=60).status_code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nowhere"], "nowhere"),
        (["--model", "MODEL", "--port", "PORT"], "can't listen there"),
        (["--model", "MODEL", "--host", "0.0.0.0"], "others can reach it; set a token"),
    ],
)
def test_what_can_not_be_served_is_said_before_ray_starts(model, words, said):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        known = {"MODEL": str(model), "PORT": str(listener.getsockname()[1])}
        words = [known.get(word, word) for word in words]
        done = subprocess.run([QSIT, "serve", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
