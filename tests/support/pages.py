"""Sections of documentation pages, as tests read them."""


def read_section(page, name):
    """The text between the marks of a section, without the blank lines around it."""
    text = page.read_text(encoding="utf-8")
    inside = text.partition(f"<!-- {name}: begin -->")[2].partition(f"<!-- {name}: end -->")[0]
    return inside.strip()
