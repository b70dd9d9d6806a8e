"""The service in front of a small model, and its page in a browser."""

import shutil
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import small_model
from planted_service import Planted, Visit
from services import Local, served

from qsit_ray.evaluation.studies.page_pictures import browsing, serving
from qsit_ray.rating.rater import Rater
from qsit_ray.service.app import build
from qsit_ray.service.guard import digest
from qsit_ray.service.limits import Limits


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright", reason="playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def service():
    """A server whose application each test sets: to start one for each takes longer."""

    async def application(scope, receive, send):
        await service.app(scope, receive, send)

    with serving(application) as address:
        service = SimpleNamespace(app=None, address=address)
        yield service


@pytest.fixture(scope="module")
def rater(tmp_path_factory):
    return Rater.load(small_model.write(tmp_path_factory.mktemp("model") / "m"))


@pytest.fixture(scope="module")
def address(rater):
    """Of a service with low limits, around a small model in this process."""
    limits = Limits(body_bytes=2**20, pixels=500_000, images=4, send_seconds=0.3)
    with served(Local(rater), limits) as url:
        yield url


@pytest.fixture
def visit(browser, service):
    with ExitStack() as stack:

        def open_page(model=None, token=None, limits=None, **context):
            secret = None if token is None else digest(token)
            service.app = build(model or Planted(), limits or Limits(), secret, lambda *_: None)
            found = Visit(browser, service.address, **context)
            stack.callback(found.close)
            return found

        yield open_page
