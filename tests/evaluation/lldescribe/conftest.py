"""A judge on this machine, and no pauses."""

import contextlib

import openai._base_client
import pytest
from planted_judge import Judge


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("QSIT_JUDGE_URL", "QSIT_JUDGE_MODEL", "QSIT_JUDGE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Seconds that the package would pause before it repeats a call; here it does not pause."""
    found, client = [], openai._base_client.BaseClient
    calculated = client._calculate_retry_timeout

    def none(*arguments):
        found.append(calculated(*arguments))
        return 0

    monkeypatch.setattr(client, "_calculate_retry_timeout", none)
    return found


@pytest.fixture
def served():
    with contextlib.ExitStack() as stack:

        def start(plan):
            if isinstance(plan, list):
                acts = iter(plan)
                judge = Judge(lambda number, text: next(acts))
            else:
                judge = Judge(plan)
            stack.callback(judge.close)
            return judge

        yield start
