"""Python's clock is off by the seconds in the file that CHAOS_CLOCK names, once there is one."""

import os
import time

FILE, true = os.environ.get("CHAOS_CLOCK", ""), time.time


def shifted():
    try:
        with open(FILE) as file:  # noqa: PTH123  pathlib would take a while at each start
            return true() + float(file.read())
    except (OSError, ValueError):
        return true()


if FILE:
    time.time = shifted
    time.time_ns = lambda: int(1e9 * shifted())
