"""pure: SIGTERM ends a command as Ctrl-C does, with an exit status of its own."""

from __future__ import annotations

import signal
import threading

_terminated = threading.Event()


def end_at_sigterm() -> None:
    """Raise KeyboardInterrupt in the main thread at SIGTERM, from now on.

    Ray's own handler, set when a session starts, would end the process with another status and
    without a word.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)


def exit_status() -> int:
    """The exit status of a command that a KeyboardInterrupt ended: 143 for SIGTERM, else 130."""
    return 143 if _terminated.is_set() else 130


def _interrupt(number: int, frame: object) -> None:
    _terminated.set()  # libraries on the way raise a KeyboardInterrupt of their own
    raise KeyboardInterrupt
