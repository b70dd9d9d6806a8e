"""Pages of the checkout that lie beside docs/ become pages of the site, and links lead to them.

A hook of mkdocs. In the files links are those of the checkout, as a code host follows them:
docs/A.md links to ../cluster/README.md, README.md to docs/A.md. In the site docs/ is the top.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent
# By their place in the checkout; docs/index.md is what a README.md would be.
BESIDE = {
    "README.md": "OVERVIEW.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "LICENSE": "LICENSE",
    "cluster/README.md": "cluster/README.md",
}
PLACES = {uri: path for path, uri in BESIDE.items()}
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)")


def on_files(files, config):
    for path, uri in BESIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    here = page.file.src_uri
    folder = posixpath.dirname(PLACES.get(here, f"docs/{here}"))

    def in_site(link):
        path = posixpath.normpath(posixpath.join(folder, link[2]))
        target = BESIDE.get(path, path.removeprefix("docs/"))
        return link[1] + posixpath.relpath(target, posixpath.dirname(here) or ".")

    return LINK.sub(in_site, markdown)
