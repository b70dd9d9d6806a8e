"""What stands before the service's routes: sizes, times, a token, and how much at once."""

import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests
from services import Failing, Held, Local, image, post, reason, served

from qsit_ray.service.limits import Away, Busy, Deadly, Limits


def test_too_many_pixels_are_refused_by_the_header(address):
    assert "500,000 are read" in reason(
        post(address, "/v1/score", files={"files": image(size=(600, 900), form="JPEG")}), 413
    )


def test_a_long_body_is_refused_before_it_is_read(address):
    """Whether its length is said or not."""
    large = b"0" * (2**20 + 1)
    assert "1,048,576 bytes" in reason(post(address, "/v1/score", files={"files": large}), 413)
    pieces = (b"0" * 2**16 for _ in range(40))
    kind = {"Content-Type": "application/json"}
    try:
        answer = post(address, "/v1/score", data=pieces, headers=kind)
    except requests.ConnectionError:  # closed while the client was still sending
        return
    assert "1,048,576 bytes" in reason(answer, 413)


def said_to(url, request):
    """What the service answers to raw bytes; the connection stays open on this side."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=30) as client:
        client.sendall(request)
        found = b""
        while piece := client.recv(2**16):
            found += piece
            if b"\r\n\r\n" in found and b"}}" in found:
                break
    return found.decode()


def test_a_slow_client_is_let_go(address):
    head = "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    answer = said_to(address, f"{head}Content-Length: 100\r\n\r\n{{".encode())
    assert answer.startswith("HTTP/1.1 408")
    assert "took more than 0.3 s to arrive" in answer


def test_a_length_that_is_none_is_refused(address):
    for length, status in (("-1", 400), ("9" * 5_000, 413)):
        head = f"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        # Uvicorn refuses some of them itself.
        assert said_to(address, head.encode())[:12] in (f"HTTP/1.1 {status}", "HTTP/1.1 400")


def test_a_token_is_asked_for_where_there_is_one(rater):
    with served(Local(rater), token="secret") as url:
        files = {"files": image()}
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic secret"}):
            answer = post(url, "/v1/score", files=files, headers=headers)
            assert "a token is needed" in reason(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        right = {"Authorization": "Bearer secret"}
        assert post(url, "/v1/score", files=files, headers=right).status_code == 200
        for path in ("/", "/page.js", "/page.css", "/health", "/ready", "/openapi.json"):
            assert requests.get(url + path, timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [(Busy(), 429), (Away(), 503), (Deadly(), 500), (TimeoutError(), 504)],
)
def test_a_model_that_is_busy_or_away_is_said(error, status):
    with served(Failing(error)) as url:
        answer = post(url, "/v1/score", files={"files": image()})
        assert reason(answer, status)
        assert ("retry-after" in answer.headers) == (status in (429, 503))
        assert "not ready" in reason(requests.get(f"{url}/ready", timeout=60), 503)
        assert requests.get(f"{url}/health", timeout=60).status_code == 200


def test_a_form_in_another_charset_is_refused(address):
    for charset in ("undefined", "punycode", "unicode_escape"):
        head = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        part = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="\\ud800.png"\r\n\r\n'
        )
        answer = post(address, "/v1/score", data=part + image() + b"\r\n--x--\r\n", headers=head)
        assert "must be UTF-8" in reason(answer, 400)


def test_a_long_list_is_not_read_to_its_end(rater):
    with served(Local(rater)) as url:
        body = b'{"images":[' + b'{"a":1},' * 1_000_000 + b'{"a":1}]}'
        head = {"Content-Type": "application/json"}
        answer = post(url, "/v1/score", data=body, headers=head)
        assert "at most 1000 items" in reason(answer, 422)


def test_a_defect_is_a_json_reason_without_its_text():
    with served(Failing(RuntimeError("planted secret"))) as url:
        answer = post(url, "/v1/score", files={"files": image()})
        assert "planted" not in reason(answer, 500)


def test_requests_beyond_the_limit_are_told_to_come_again(rater):
    with served(Local(rater), Limits(requests=0)) as url:
        answer = post(url, "/v1/score", files={"files": image()})
        assert reason(answer, 429)
        assert requests.get(f"{url}/ready", timeout=60).status_code == 200
        assert int(answer.headers["retry-after"]) >= 1


def test_bodies_beyond_a_number_of_bytes_at_once_are_told_to_come_again(rater):
    """Whether their length is said or not; when one is answered, there is room for another."""
    model, content = Held(rater), image()
    files = {"files": content}
    with (
        served(model, Limits(held_bytes=3 * len(content) // 2)) as url,
        ThreadPoolExecutor(1) as other,
    ):
        first = other.submit(post, url, "/v1/score", files=files)
        try:
            model.asked.wait()
            said = post(url, "/v1/score", files=files)
            kind = {"Content-Type": "application/json"}
            unsaid = post(url, "/v1/score", data=iter([content]), headers=kind)
            for answer in (said, unsaid):
                assert "too many bytes at once" in reason(answer, 429)
                assert int(answer.headers["retry-after"]) >= 1
            assert requests.get(f"{url}/health", timeout=60).status_code == 200
        finally:
            model.go_on.set()
        assert first.result().status_code == 200
        assert post(url, "/v1/score", files=files).status_code == 200


def test_each_request_is_observed_by_its_route(rater):
    seen = []
    with served(Local(rater), seen=seen) as url:
        post(url, "/v1/score", files={"files": image()})
        post(url, "/v1/score", data="x")
        requests.get(f"{url}/{'x' * 50}", timeout=60)
    assert [(route, status) for route, status, _ in seen] == [
        ("/v1/score", 200),
        ("/v1/score", 415),
        ("other", 404),
    ]
