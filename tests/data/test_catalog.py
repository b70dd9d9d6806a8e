"""A catalog of any size is read; one that has changed since it was built is refused."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.data import catalog, writing
from qsit_ray.errors import InputError
from qsit_ray.mixture import DOMAINS

ROW = {
    "images": [],
    "conversation": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "yes"}],
    "mos": None,
    "level": None,
    "photograph": None,
    "dataset": "",
}


def test_rows_lost_since_it_was_built_are_counted(tmp_path):
    rows = [{**ROW, "id": f"{domain}-0", "domain": domain} for domain in DOMAINS]
    (tmp_path / "catalog").mkdir()
    writing.write(tmp_path / "catalog", catalog.Content(rows, rows))
    catalog.open_catalog(tmp_path / "catalog").check()
    manifest = tmp_path / "catalog" / "manifest.json"
    counted = json.loads(manifest.read_text())
    counted["rows"]["general"] += 1
    manifest.write_text(json.dumps(counted))
    catalog.open_catalog.cache_clear()
    with pytest.raises(InputError, match=r"rows\.arrow: 3 rows, but manifest\.json counts 4"):
        catalog.open_catalog(tmp_path / "catalog").check()


ROWS = writing.WRITTEN + 3 * writing.BATCH


def opened(folder, count):
    """A catalog whose general rows are spread over several batches."""
    rows = [{**ROW, "id": f"{domain}-0", "domain": domain} for domain in DOMAINS]
    rows += [{**ROW, "id": f"general-{n}", "domain": "general", "mos": n} for n in range(1, count)]
    writing.write(folder, catalog.Content(rows, rows[:2]))
    return catalog.open_catalog(folder)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return opened(tmp_path_factory.mktemp("catalog"), ROWS)


@settings(deadline=None)
@given(st.lists(st.integers(0, ROWS + 1), max_size=40))
def test_rows_are_taken_in_the_order_asked_for(large, wanted):
    assert [row["row"] for row in large.take(wanted)] == wanted


def test_rows_of_all_batches_are_in_both_files_once(large):
    assert len(large.rows.to_batches()) == 2
    assert large.rows["row"].to_pylist() == list(range(ROWS + 2))
    assert pq.read_table(large.folder / "rows.parquet").equals(large.rows)
    assert large.rows["mos"].to_pylist()[3:6] == [1, 2, 3]
    with pytest.raises(IndexError):
        large.take([len(large.rows)])
    with pytest.raises(IndexError):
        large.take([-1])


def test_more_text_than_32_bits_can_count_is_read():
    """One batch of 300 MB eight times over, so that no memory is needed for the 2.4 GB."""
    row = {**ROW, "row": 0, "id": "long", "domain": "general"}
    text = [{"from": "human", "value": "x" * 300_000_000}, {"from": "gpt", "value": "y"}]
    batch = pa.RecordBatch.from_pylist([{**row, "conversation": text}, row], catalog.SCHEMA)
    rows = pa.Table.from_batches([batch] * 8)
    assert rows["conversation"].nbytes > 2**31
    large = catalog.Catalog(None, rows, catalog.Manifest({"general": 16}))
    assert [row["conversation"][1]["value"] for row in large.take([15, 1])] == ["yes", "yes"]


def test_a_catalog_with_other_columns_is_refused(tmp_path):
    opened(tmp_path, 1)
    old = pa.schema([field for field in catalog.SCHEMA if field.name != "images"])
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, old):
        pass
    catalog.open_catalog.cache_clear()
    with pytest.raises(InputError, match=r"rows\.arrow: .* build the catalog again"):
        catalog.open_catalog(tmp_path)


def test_a_run_folder_that_a_node_lacks_is_told_from_a_missing_catalog(tmp_path):
    with pytest.raises(InputError, match=r"gone: not on .*; the run folder must"):
        catalog.read_sizes(tmp_path / "gone" / "catalog")
    with pytest.raises(InputError, match=r"manifest\.json"):
        catalog.read_sizes(tmp_path / "catalog")
