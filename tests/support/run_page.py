"""The files of a run folder as docs/RUN_FOLDER.md names them."""

import re
from fnmatch import fnmatch
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "RUN_FOLDER.md"


def documented():
    """Patterns of the page's tables: `<axis>` is any name, a folder all that it holds. A name
    after another is in its folder, an ending alone is of its name."""
    found = []
    for cell in re.findall(r"^\| ((?:`[^`]+`[, …]*)+) \|", PAGE.read_text(), re.MULTILINE):
        folder, stem = "", ""
        for each in re.findall(r"`([^`]+)`", cell):
            if each.startswith(".") and stem:
                found.append(f"{folder}{stem}{each}")
                continue
            whole = each if "/" in each.rstrip("/") else f"{folder}{each}"
            folder, _, name = whole.rstrip("/").rpartition("/")
            folder, stem = f"{folder}/" if folder else "", Path(name).stem
            found.append(f"{whole}*" if whole.endswith("/") else whole)
    return [re.sub(r"<[^>]*>", "*", each) for each in found]


def unnamed(run):
    """Files of a run that the page does not name, without those of Ray's own folders."""
    patterns = documented()
    return [
        path
        for path in sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file())
        if not re.search(r"(^|/)(tune|ray-[^/]*)/", path)
        and not any(fnmatch(path, pattern) for pattern in patterns)
    ]
