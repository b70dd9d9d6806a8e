"""pure: addresses of files and servers elsewhere, which must hold no password: they are written to
config.yaml, logs and tables. Stores and trackers read credentials from their environment variables.
"""

from __future__ import annotations

import re

from qsit_ray.errors import InputError

# The second form: a secret with slashes, as those of AWS have; a number after a colon is a port.
_USER = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*://)"
    r"(?:[^/?#\s]*|[^/?#\s:@]*:(?!\d+(?:[/?#\s]|$))[^\s@]*)@"
)
REASON = "no user or password in an address; credentials are read from the environment"


def has_user(text: str) -> bool:
    """Whether a text has an address with a user or a password: s3://key:secret@bucket/folder."""
    return _USER.search(text) is not None


def masked(text: str) -> str:
    """A text without the users and passwords of its addresses, for messages."""
    return _USER.sub(r"\1…@", text)


def check(text: str) -> None:
    """Raises InputError for an address with a user or a password, which it does not repeat."""
    if has_user(text):
        raise InputError(f"{masked(text)}: {REASON}")
