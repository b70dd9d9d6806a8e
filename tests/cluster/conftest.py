"""What all tests of clusters need."""

import pytest
from ray._raylet import AuthenticationTokenLoader


@pytest.fixture(autouse=True)
def forgotten():
    """Ray keeps the token that it reads first, for the tests of other files in this process too."""
    yield
    AuthenticationTokenLoader.instance().reset_cache()
