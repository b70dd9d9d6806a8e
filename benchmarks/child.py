"""pure: one function in a process of its own: `python -m benchmarks.child MODULE:NAME JSON OUT`."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path


def main(function: str, arguments: str, out: str) -> None:
    """Call it with the JSON arguments, and write its result as JSON; of several ranks, rank 0's."""
    module, _, name = function.partition(":")
    result = getattr(import_module(module), name)(**json.loads(arguments))
    if os.environ.get("RANK", "0") == "0":
        Path(out).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # an interpreter that ends is sometimes aborted by threads of gloo
