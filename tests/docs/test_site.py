"""The pages as a site: each is in its navigation once, and mkdocs finds no fault."""

import re
import subprocess
import sys

import markdown
import pytest
import yaml
from markdown_it import MarkdownIt
from page_commands import PAGES, ROOT

SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def places(nav):
    for each in nav:
        for value in each.values() if isinstance(each, dict) else [each]:
            yield from [value] if isinstance(value, str) else places(value)


def test_the_navigation_names_every_page_once():
    named = list(places(SITE["nav"]))
    own = [str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/*.md")]
    beside = ["OVERVIEW.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "cluster/README.md"]
    assert sorted(named) == sorted([*own, *beside])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_no_link_of_the_site_leads_nowhere_and_nothing_is_loaded_from_elsewhere(site):
    """Strictly: also an anchor that is not there is a fault."""
    pages = list(site.glob("**/*.html"))
    assert len(pages) > 30
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"?(http[^ \">]*)", page.read_text()
        )
        assert not loaded, page
    styles = [path.read_text() for path in site.glob("**/*.css")]
    assert styles and not any(re.search(r"url\([\"']?http", style) for style in styles)


def test_pages_beside_docs_link_to_those_in_it(site):
    assert 'href="SEARCH.html#any-table"' in (site / "OVERVIEW.html").read_text()
    assert (
        'href="../RESUMING.html#fewer-or-more-workers"'
        in (site / "cluster" / "index.html").read_text()
    )
    assert 'href="cluster/index.html#jobs"' in (site / "HOWTO_CLUSTER.html").read_text()


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_page_has_the_same_parts_on_a_code_host_and_in_the_site(page):
    """The two read Markdown differently where a blank line is missing, say before a list."""
    text = page.read_text()
    extensions = ["tables", "pymdownx.superfences"]
    there = markdown.markdown(text, extensions=extensions)
    here = MarkdownIt().enable("table").render(text)
    for tag in ("<li>", "<td>", "<pre>", "<h2"):
        counted = [len(re.findall(tag.replace(">", "[ >]"), each)) for each in (here, there)]
        assert counted[0] == counted[1], (tag, counted)
