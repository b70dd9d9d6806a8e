"""A catalog that has changed since it was built is refused."""

import json

import pytest

from qsit_ray.data import catalog
from qsit_ray.errors import InputError

ROW = {
    "image": None,
    "conversation": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "yes"}],
    "mos": None,
    "level": None,
    "photograph": None,
}


def test_rows_lost_since_it_was_built_are_counted(tmp_path):
    rows = [{**ROW, "id": f"{domain}-0", "domain": domain} for domain in catalog.DOMAINS]
    (tmp_path / "catalog").mkdir()
    catalog.write(tmp_path / "catalog", catalog.Content(rows, rows))
    catalog.open_catalog(tmp_path / "catalog").check()
    manifest = tmp_path / "catalog" / "manifest.json"
    counted = json.loads(manifest.read_text())
    counted["rows"]["general"] += 1
    manifest.write_text(json.dumps(counted))
    catalog.open_catalog.cache_clear()
    with pytest.raises(InputError, match=r"rows\.arrow: 3 rows, but manifest\.json counts 4"):
        catalog.open_catalog(tmp_path / "catalog").check()
