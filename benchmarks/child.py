"""pure: one function in a process of its own: `python -m benchmarks.child MODULE:NAME JSON OUT`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.pairs import called


def main(function: str, arguments: str, out: str) -> None:
    """Call it with the JSON arguments, and write its result as JSON; of several ranks, rank 0's."""
    result = called(function, json.loads(arguments))
    if os.environ.get("RANK", "0") == "0":
        Path(out).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # an interpreter that ends is sometimes aborted by threads of gloo
