"""One reader of JSON: lenient where nothing can be mistaken, strict where something can."""

import codecs
import gzip
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qsit_ray import artifacts, reading, tables
from qsit_ray.errors import InputError

# Python's splitlines breaks a line at each of these; JSON does not.
ODD = "a\u2028b\u2029c\x85d\x1ce"
LINES = [{"id": 1, "text": ODD}, {"id": 2, "text": "b"}]


def put(folder, name, content):
    path = folder / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def as_lines(records):
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in records)


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "A.NDJSON", "a.json"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n\r\n  \n") + "\n\n",
        lambda text: text.replace('{"id": 2', '{\n"id": 2'),
    ],
    ids=["plain", "mark", "blank lines", "over two lines"],
)
def test_records_are_read_whole_by_every_reader(tmp_path, name, change):
    path = put(tmp_path, name, change(as_lines(LINES)))
    assert reading.read_values(path) == LINES
    assert artifacts.read_jsonl(path) == LINES
    assert tables.read(path).texts("text") == [ODD, "b"]


def test_utf16_with_its_mark(tmp_path):
    path = put(tmp_path, "a.jsonl", codecs.BOM_UTF16_LE + as_lines(LINES).encode("utf-16-le"))
    assert reading.read_values(path) == LINES


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.ndjson.gz"])
def test_one_line_is_a_list_of_one(tmp_path, name):
    assert reading.read_values(put(tmp_path, name, '{"id": 1}')) == [{"id": 1}]
    assert reading.read_values(put(tmp_path, name, '"no"')) == ["no"]


def test_one_value_of_a_json_file_is_itself(tmp_path):
    assert reading.read_values(put(tmp_path, "a.json.gz", '{"id": [1]}')) == {"id": [1]}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(plain), st.sampled_from(["", " ", "\n\n", "\r\n", "\u2028"]), st.booleans())
def test_values_one_after_another_are_what_was_written(tmp_path_factory, made, between, ascii):
    text = f"\n{between}".join(json.dumps(value, ensure_ascii=ascii) for value in made)
    assert reading.values(tmp_path_factory.getbasetemp() / "a.jsonl", text, strict=True) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1}\n\n{"a"', "record 2, line 3: not JSON"),
        ('[{"a": 1},\n{"a": 2},\n{"a": }]', "record 3, line 3: not JSON"),
        ('[{"a": 1}\n{"a": 2}]', "record 2, line 2: not JSON"),
        ('[{"a": 1},\n{"a": 2}', "record 2, line 2: not JSON"),
        ('[{"a": 1},\n{"b": {"a": 1, "a": 2}}]', "record 2, line 2: the key 'a' occurs more"),
        ('{"a": 1}\n{"a": 1, "a": 2}', "record 2, line 2: the key 'a' occurs more than once"),
        ('{"a": 1}\n' + "[" * 100_000, "record 1, line 2: JSON nested too deep"),
        ('{"a": 1}\n{"a": ' + "9" * 5000 + "}", "record 2, line 2: Exceeds the limit"),
        ('{"a": "x\ny"}', "record 1, line 1: not JSON: Invalid control character"),
    ],
)
def test_errors_name_file_record_and_line(tmp_path, text, said):
    path = put(tmp_path, "a.json", text)
    for read in (reading.read_values, artifacts.read_jsonl, tables.read):
        with pytest.raises(InputError, match=rf"a\.json, {said}"):
            read(path)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_only_other_peoples_files_have_numbers_that_are_none(tmp_path, literal):
    path = put(tmp_path, "a.jsonl", f'{{"a": 1}}\n{{"a": {literal}}}')
    assert len(reading.read_values(path)) == 2
    with pytest.raises(InputError, match=rf"record 2, line 2: {literal} is not a JSON number"):
        artifacts.read_jsonl(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", " \n", "the file is empty"),
        ("a.jsonl", "", "the file is empty"),
        ("a.jsonl", b'{"a": 1}\n{"\xff', "line 2: byte 0xff is not utf-8"),
        ("a.yaml", "a: 1", "ending must be one of"),
        ("a.csv", "a\n1", "a .json or .jsonl file is needed"),
    ],
)
def test_a_file_that_is_no_json_is_refused(tmp_path, name, content, said):
    with pytest.raises(InputError, match=said):
        reading.read_values(put(tmp_path, name, content))


def test_a_file_of_ours_holds_one_value_or_any_number_of_lines(tmp_path):
    assert artifacts.read_jsonl(put(tmp_path, "a.jsonl", "")) == []
    for text, found in (("", 0), ("{}{}", 2)):
        with pytest.raises(InputError, match=rf"a\.json: expected one JSON value, found {found}"):
            artifacts.read_json(put(tmp_path, "a.json", text))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(plain, max_size=6),
    st.sampled_from(["a.json", "a.jsonl", "a.json.gz"]),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_records_are_the_same_whatever_piece_of_the_file_is_read_at_a_time(
    tmp_path, monkeypatch, made, name, piece, indent
):
    is_lines = name == "a.jsonl"
    text = "\n".join(map(json.dumps, made)) if is_lines else json.dumps(made, indent=indent)
    path = put(tmp_path, name, text)
    monkeypatch.setattr(reading, "PIECE", piece)
    if is_lines and not made:
        with pytest.raises(InputError, match="empty"):
            list(reading.records(path))
    else:
        assert list(reading.records(path)) == made


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1},\n{"a": }]', "record 2, line 2: not JSON: Expecting value"),
        ('[{"a": 1}\n{"a": 2}]', "record 2, line 2: not JSON: Expecting ',' delimiter"),
        ('[{"a": 1},\n{"a": 1, "a": 2}]', "record 2, line 2: the key 'a' occurs more than once"),
        ('[{"a": 1},\n', "record 1, line 2: not JSON: Expecting"),
        ('[{"a": "b', "record 1, line 1: not JSON: Unterminated"),
        ("[1,]", "record 1, line 1: not JSON"),
        ("[1,\n2x]\n", "record 3, line 2: not JSON"),
        ("[1]\n[2]", "line 2: more after the end of the list"),
        ('{"a": 1}', "expected a list of records"),
        (" \n", "the file is empty"),
        ("", "the file is empty"),
        ('["\0"]', "line 1: a zero byte"),
    ],
)
def test_a_mistake_in_a_file_read_piece_by_piece_is_named(tmp_path, monkeypatch, text, said, piece):
    monkeypatch.setattr(reading, "PIECE", piece)
    with pytest.raises(InputError, match=re.escape(said)):
        list(reading.records(put(tmp_path, "a.json", text)))


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PIECE", 5)
    path = put(tmp_path, "a.jsonl", '"ä"\n"ö"\n'.encode() + b'"\xff"\n')
    with pytest.raises(InputError, match=r"a\.jsonl, line 3: byte 0xff is not utf-8"):
        list(reading.records(path))
