"""pure: SIGTERM ends a command as Ctrl-C does, with a status of its own."""

from __future__ import annotations

import signal
import threading


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a job's end sends it. Whatever ends at Ctrl-C ends at it too."""


def end_at_sigterm() -> None:
    """Raise `Terminated` in the main thread at SIGTERM, from now on.

    Ray's own handler, set when a session starts, would end the process with another status and
    without a word.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: object) -> None:
    raise Terminated
