"""Every shape of table gives the same columns; unreadable cells are named by row and line."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray import tables
from qsit_ray.errors import InputError

RECORDS = [
    {"id": "a.jpg", "mos": 1.5, "score": " 2.25 "},
    {"id": "b.jpg", "mos": 3, "score": "1e1"},
    {"id": "c.jpg", "mos": -0.5, "score": "\t7"},
]
FRAME = pd.DataFrame(RECORDS)
AS_LINES = "\n".join(json.dumps(r) for r in RECORDS)
SHAPES = {
    "records.json": json.dumps(RECORDS),
    "indented.json": json.dumps(RECORDS, indent=2),
    "concatenated.json": "".join(json.dumps(r) for r in RECORDS),
    "wrapped.json": json.dumps({"data": RECORDS}),
    "columns.json": json.dumps({name: [r[name] for r in RECORDS] for name in RECORDS[0]}),
    "pandas.json": FRAME.to_json(),
    "keyed.json": json.dumps({r["id"]: {k: v for k, v in r.items() if k != "id"} for r in RECORDS}),
    "lines.jsonl": AS_LINES + "\n\n",
    "lines.ndjson": AS_LINES,
    "table.csv": FRAME.to_csv(index=False),
    "blank_lines.csv": FRAME.to_csv(index=False).replace("\n", "\r\n\r\n"),
    "quoted.csv": FRAME.to_csv(index=False, quoting=1),
    "mark.csv": "\ufeff" + FRAME.to_csv(index=False),
    "names.csv": FRAME.to_csv(index=False).replace("id,mos,score", "id , mos, score"),
    "table.tsv": FRAME.to_csv(index=False, sep="\t", quoting=1),
}


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def check(table):
    assert table.rows == 3
    assert table.ids("key" if "key" in table.names else "id") == ["a.jpg", "b.jpg", "c.jpg"]
    assert table.numbers("mos").tolist() == [1.5, 3, -0.5]
    assert table.numbers("score").tolist() == [2.25, 10, 7]


@pytest.mark.parametrize("name", SHAPES)
def test_one_table_in_every_shape(tmp_path, name):
    check(tables.read(put(tmp_path, name, SHAPES[name])))
    check(tables.read(put(tmp_path, name + ".gz", gzip.compress(SHAPES[name].encode()))))


def test_parquet_utf16_and_keys_inside_records(tmp_path):
    FRAME.astype({"id": "category"}).to_parquet(tmp_path / "a.parquet")
    check(tables.read(tmp_path / "a.parquet"))
    check(tables.read(put(tmp_path, "a.csv", SHAPES["table.csv"].encode("utf-16"))))
    nested = [{"id": 7, "logits": {"good": 1.0, "poor": 2}}, {"id": 8.0, "logits": {"good": "3"}}]
    table = tables.read(put(tmp_path, "nested.json", json.dumps(nested)))
    assert table.numbers("logits.good").tolist() == [1, 3]
    assert table.ids("id") == ["7", "8"]
    pd.DataFrame({"logits": [{"good": 1.0}, {"good": 3.0}]}).to_parquet(tmp_path / "n.parquet")
    assert tables.read(tmp_path / "n.parquet").numbers("logits.good").tolist() == [1, 3]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_written_numbers_come_back_bit_for_bit(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("written")
    names = [f'x {i}, "y"\n' for i in range(len(values))]
    for ending in ("csv", "jsonl", "parquet"):
        path = folder / f"out.{ending}"
        tables.write(path, {"id": names, "mos": values})
        table = tables.read(path)
        assert table.numbers("mos").tolist() == values
        assert table.plain("id") == names
    assert sorted(p.name for p in folder.iterdir()) == ["out.csv", "out.jsonl", "out.parquet"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "id,mos\na,1\n\nb,x\nc,\n", r"row 2 \(line 4\) is 'x', row 3 .* is missing"),
        ("a.csv", "id,mos\na,inf\nb,NaN\nc,1\n", r"2 of 3 .*row 1 \(line 2\) is 'inf', row 2"),
        ("a.csv", "id,mos\na,1_000\n", r"'1_000'"),
        ("a.csv", '"i\nd",mos\n"x\ny",1\nb,z\n', r"row 2 \(line 5\) is 'z'"),
        ("a.tsv", "id\tmos\r\na\t1\r\nb\tz\r\n", r"row 2 \(line 3\) is 'z'"),
        ("b.json", '{"mos": 1}{"mos": null}\n{"mos": true}', r"row 2 .*, row 3 \(line 2\) is True"),
        ("a.json", '[\n{"mos": 1},\n{"id": "b"}]', r"row 2 \(line 3\) is missing"),
        ("a.json", '{"mos": [1, "x"]}', r"row 2 is 'x'"),
        ("a.jsonl", '{"mos": NaN}\n', r"row 1 \(line 1\) is missing"),
    ],
)  # fmt: skip
def test_a_cell_that_is_not_a_number_is_named(tmp_path, name, content, words):
    path = put(tmp_path, name, content)
    with pytest.raises(InputError, match=words) as caught:
        tables.read(path).numbers("mos")
    assert str(path) in str(caught.value) and "column 'mos'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "id,mos\na,1\nb,2,3\n", r"row 2 \(line 3\): 3 cells under 2 names"),
        ("a.csv", "id,mos\na,1\nb\n", r"row 2 \(line 3\): 1 cells under 2 names"),
        ("a.csv", 'id,mos\na,1\nb,"2\nc,3\n', r"after row 1 \(line 2\): .*quote"),
        ("a.csv", "id,mos\na,1\n\u00e9,2\n".encode("latin-1"), "line 3: byte 0xe9 is not utf-8"),
        ("a.csv", b"id,mos\na,1\n\0\0,2\n", "line 3: a zero byte"),
        ("a.csv", "", "empty"),
        ("a.csv", "\n \n", "empty"),
        ("a.csv", "id,mos\n", "a header and no rows"),
        ("a.json", '{"mos": 1}{"mos": 2', "record 2, line 1: not JSON"),
        ("a.jsonl", '{"mos": 1}\n{mos: 2}\n', "record 2, line 2: not JSON"),
        ("a.json", "[]", "no records"),
        ("a.json", '["a", null]', "row 1: expected a record, got 'a'"),
        ("a.json", '{"id": ["a"], "mos": [1, 2]}', "differ in length: id 1, mos 2"),
        ("a.json", "7", "expected records or columns, got 7"),
        ("a.json.gz", b"no gzip", "can't read"),
        ("a.parquet", b"no parquet", "can't read"),
        ("a.xlsx", b"PK", "can.t read it as .xlsx"),
        ("a", b"", "must be one of csv"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_by_name_and_place(tmp_path, name, content, words):
    path = put(tmp_path, name, content)
    with pytest.raises(InputError, match=words) as caught:
        tables.read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_missing_column_are_named(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        tables.read(tmp_path / "no.csv")
    path = put(tmp_path, "a.csv", "id,mos,mos\na,1,2\n")
    with pytest.raises(InputError, match=r"no column 'score'; it has id, mos, mos"):
        tables.read(path).numbers("score")
    with pytest.raises(InputError, match="2 columns are called 'mos'"):
        tables.read(path).numbers("mos")


def test_ids_are_unique_or_named_and_never_missing(tmp_path):
    path = put(tmp_path, "a.csv", "id,set,mos\na,x,1\n a ,y,2\nb,x,3\n")
    table = tables.read(path)
    with pytest.raises(InputError, match=r"1 ids occur .*'a' in row 1 \(line 2\) and row 2"):
        table.ids("id")
    assert table.ids("id", within=table.labels("set")) == ["a", "a", "b"]
    with pytest.raises(InputError, match=r"'id': missing in 1 rows: row 2 \(line 3\)"):
        tables.read(put(tmp_path, "b.csv", "id,mos\na,1\n ,2\n")).ids("id")


def test_an_empty_cell_is_null_and_the_word_none_is_a_string(tmp_path):
    table = tables.read(put(tmp_path, "a.csv", "id,answer\na,None\nb,\nc,NA\n"))
    assert table.texts("answer") == ["None", None, "NA"]
    table = tables.read(put(tmp_path, "a.jsonl", '{"answer": ""}\n{"answer": null}\n'))
    assert table.texts("answer") == ["", None]
    with pytest.raises(
        InputError, match=r"row 2 \(line 2\), column 'answer': expected a string, got 3"
    ):
        tables.read(put(tmp_path, "a.jsonl", '{"answer": "x"}\n{"answer": 3}\n')).texts("answer")


def test_half_and_single_precision_are_taken_exactly(tmp_path):
    values = np.array([0.1, 2.7, -5.3], dtype=np.float32)
    pd.DataFrame({"x": values}).to_parquet(tmp_path / "a.parquet")
    assert tables.read(tmp_path / "a.parquet").numbers("x").tolist() == values.tolist()


def test_an_unknown_output_format_is_refused_and_a_failed_write_is_named(tmp_path):
    with pytest.raises(InputError, match=r"\.csv, \.jsonl or \.parquet"):
        tables.check_output(tmp_path / "a.txt")
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(InputError, match="can't write"):
        tables.write(tmp_path / "a.csv", {"id": ["a"]})


@pytest.mark.parametrize("mark", [";", "\t", "|", " ", "   "])
def test_cells_of_a_txt_are_apart_by_anything_and_may_have_decimal_commas(tmp_path, mark):
    path = tmp_path / "labels.txt"
    rows = [["image", "mos"], ["a.png", "3,5"], ["b.png", "12"], ["c.png", "-0,25"]]
    path.write_text("\n".join(mark.join(row) for row in rows) + "\n")
    table = tables.read(path)
    assert table.texts("image") == ["a.png", "b.png", "c.png"]
    assert table.numbers("mos").tolist() == [3.5, 12, -0.25]


def test_a_csv_apart_by_semicolons_is_read_and_a_number_with_two_commas_is_refused(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image;mos\na,b.png;3,5\nc.png;1,234,5\n")
    with pytest.raises(InputError, match=r"row 1 .* is '3,5', row 2 .* is '1,234,5'"):
        tables.read(path).numbers("mos")
    path.write_text("image;mos\na,b.png;3,5\nc.png;\n")
    assert tables.read(path).texts("image") == ["a,b.png", "c.png"]
    assert tables.read(path).sparse_numbers("mos").tolist()[0] == 3.5


def test_a_table_of_one_quoted_column_is_read(tmp_path):
    """Its cells hold the marks that other tables' cells are apart by."""
    path = tmp_path / "a.csv"
    for mark in ";|":
        path.write_text(f'"a{mark}b"\n"1{mark}2"\n')
        assert tables.read(path).texts(f"a{mark}b") == [f"1{mark}2"]


def test_commas_within_cells_apart_by_commas_are_no_decimal_point(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('image,mos\na.png,"3,5"\n')
    with pytest.raises(InputError, match=r"row 1 .* is '3,5'"):
        tables.read(path).numbers("mos")


def test_per_cent_are_numbers_where_all_values_are(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("share\n80 %\n12.5%\n")
    assert tables.read(path).numbers("share").tolist() == [80, 12.5]
    path.write_text("share\n80%\n0.5\n")
    with pytest.raises(InputError, match=r"row 1 .* is '80%'"):
        tables.read(path).numbers("share")


def test_the_variables_of_a_mat_file_are_columns(tmp_path):
    import numpy as np
    from scipy.io import savemat

    path = tmp_path / "a.mat"
    names = np.array(["a.bmp", "b.bmp", "c.bmp"], object)
    savemat(path, {"names": names, "mos": [1.0, 2.5, 3.0], "version": 2, "ids": [[1], [2], [3]]})
    table = tables.read(path)
    assert list(table.names) == ["names", "mos", "ids"]
    assert table.texts("names") == ["a.bmp", "b.bmp", "c.bmp"]
    assert table.numbers("mos").tolist() == [1, 2.5, 3]
    path.write_bytes(b"no mat")
    with pytest.raises(InputError, match=r"a\.mat: can't read it as \.mat"):
        tables.read(path)


def test_a_table_without_names_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a.png 3.5\nb.png 4.5\n")
    with pytest.raises(InputError, match="its first line holds numbers; it must name the columns"):
        tables.read(path)


@pytest.mark.parametrize(
    "text", ["mos;share\n1,234;0.5\n1,300;0.25\n", "mos;n\n1,234;1\n1,300;2\n"]
)
def test_commas_that_may_be_thousands_are_refused(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"row 1 .* is '1,234'"):
        tables.read(path).numbers("mos")


def test_per_cent_may_have_decimal_commas_and_blank_lines_come_first(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\n\nimage;share\na;70,5%\nb;8%\n")
    assert tables.read(path).numbers("share").tolist() == [70.5, 8]


def test_rows_chosen_twice_keep_their_places(tmp_path):
    path = tmp_path / "w.csv"
    path.write_text("id,score,db,s\n1,1,b,x\n2,2,a,y\n3,3,a,x\n4,oops,a,x\n")
    chosen = tables.read(path).where("db", "a").where("s", "x")
    assert chosen.texts("id") == ["3", "4"]
    with pytest.raises(InputError, match=r"row 4 \(line 5\) is 'oops'"):
        chosen.numbers("score")


def test_columns_by_row_number_are_read_by_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"r": {"0": 1, "1": 2, "2": 3}, "s": {"1": 0.6, "0": 0.5, "2": 0.3}}')
    assert tables.read(path).numbers("s").tolist() == [0.5, 0.6, 0.3]
    path.write_text('{"r": {"0": 1, "1": 2}, "s": {"0": 0.5, "2": 0.3}}')
    with pytest.raises(InputError, match="column 's' has other row numbers"):
        tables.read(path)
