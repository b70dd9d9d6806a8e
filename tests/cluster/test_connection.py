"""What is told of a dashboard that can't be asked: no server, another one, TLS, proxies."""

import contextlib
import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from qsit_ray import submission
from qsit_ray.errors import InputError

NOWHERE = "http://127.0.0.1:1"
TOKEN = "5" * 64


@contextlib.contextmanager
def answering(status, body, tls=None):
    """The address of a server that answers everything alike, in TLS where a context is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_CONNECT = do_GET

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (401, b"Unauthorized: Missing authentication token", "needs the cluster's token"),
        (403, b"Forbidden: Invalid authentication token", "refuses the token"),
        (404, b"", "not the dashboard of a Ray cluster"),
        (200, b"<html>a page</html>", "not the dashboard of a Ray cluster"),
        (200, b"{}", "not the dashboard of a Ray cluster"),
        (500, b"error", "not the dashboard of a Ray cluster: 500 Internal Server Error"),
        (502, b"bad gateway", "a proxy answers 502 Bad Gateway: it does not reach the dashboard"),
        (407, b"", "a proxy asks for a login: 407 Proxy Authentication Required"),
    ],
)
def test_a_server_that_takes_no_job_is_one_line(monkeypatch, status, body, named):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", NOWHERE)  # overridden, and restored afterwards
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with answering(status, body) as address, pytest.raises(InputError) as raised:
        submission.connect(address)
    assert str(raised.value).startswith(f"{address}: {named}")
    assert "\n" not in str(raised.value)
    assert TOKEN[:16] not in str(raised.value)


def unreachable(monkeypatch, address, **environment):
    """The one line of an address that can't be asked."""
    for name in [each for each in os.environ if each.upper().endswith("_PROXY")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", NOWHERE)  # overridden, and restored afterwards
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with pytest.raises(InputError) as raised:
        submission.connect(address)
    line = str(raised.value)
    assert line.startswith(f"{address}: ")
    assert "\n" not in line
    assert TOKEN[:16] not in line
    assert "secret" not in line
    return line.removeprefix(f"{address}: ")


def test_a_refused_connection_is_told_as_such(monkeypatch):
    line = unreachable(monkeypatch, NOWHERE)
    assert line.startswith("nothing answers there: Connection refused; is the cluster up")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (502, "a proxy answers 502 Bad Gateway: it does not reach the dashboard; "),
        (407, "a proxy asks for a login: 407 Proxy Authentication Required; "),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_reach_the_dashboard_is_named(monkeypatch, scheme, status, told):
    with answering(status, b"") as proxy:
        named = proxy.replace("http://", "http://me:secret@")
        address = f"{scheme}://dashboard.invalid:8265"
        line = unreachable(monkeypatch, address, **{f"{scheme}_proxy": named})
    assert line.startswith(told)
    assert "NO_PROXY" in line


def test_a_proxy_that_is_not_there_is_told_apart_from_the_dashboard(monkeypatch):
    line = unreachable(monkeypatch, "http://dashboard.invalid:8265", http_proxy=NOWHERE)
    assert line.startswith("the proxy does not answer: Connection refused; HTTP_PROXY")


def test_a_certificate_of_an_unknown_authority_is_named(monkeypatch, tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *words, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(200, b"{}", context) as address:
        line = unreachable(monkeypatch, address)
    assert line.startswith("its certificate is not trusted here: self-signed certificate; REQUESTS")


def test_https_for_a_dashboard_without_tls_is_told(monkeypatch):
    with answering(200, b"{}") as address:
        line = unreachable(monkeypatch, address.replace("http://", "https://"))
    assert line.startswith("no TLS there")
