"""The service's page in a browser."""

import shutil
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from planted_service import Planted, Visit

from qsit_ray.evaluation.studies.page_pictures import browsing, serving
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
