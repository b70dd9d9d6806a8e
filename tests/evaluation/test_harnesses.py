"""Outputs of lmms-eval and VLMEvalKit: every row is graded, and none is guessed at."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsit_ray.errors import InputError
from qsit_ray.evaluation import harnesses, replies

ASKED = [
    # question, candidates, right letter, reply, type and concern (Q-Bench's numbers)
    ("Is it sharp?", ["Yes", "No"], "B", "B", 0, 0),
    ("What is worst?", ["Noise", "Blur", "Glare", "Banding"], "D", "Banding", 1, 1),
    ("How is the light?\nLook at the sky.", ["High", "Low", "Medium"], "A", "It is Low.", 2, 2),
    ("Are the colours true?", ["Yes", "No"], "A", "perhaps", 0, 3),
    ("Which part is dark?", ["A. Smith", "Wall", "Sky"], "C", None, 1, 0),
]
RIGHT = [True, True, False, False, False]
NO_TYPES = "the file does not tell them"


def lmms(number, with_doc=True, **changes):
    """A line of lmms-eval's samples: until 0.4 with the document, since then with the prompt."""
    question, candidates, letter, reply, kind, concern = ASKED[number]
    options = [f"{'ABCD'[i]}. {text}" for i, text in enumerate(candidates)]
    ending = "Answer with the option's letter from the given choices directly.\n"
    known = {"id": number + 100, "question_concern": concern, "question_type": kind}
    record = {
        "doc_id": number,
        "target": letter,
        "filtered_resps": [reply] if with_doc else reply,
        "doc_hash": "ab" * 32,
        "qbench_acc": {**known, "answer": letter, "parsed_pred": "A"},
        "submission": {str(number + 100): reply},
    }
    if with_doc:
        padded = [*candidates, *["N/A"] * 4][:4]
        named = {f"option{i}": text for i, text in enumerate(padded)}
        document = {**known, "question": question, **named, "correct_choice": letter}
        record |= {"doc": document, "resps": [[reply]]}
    else:
        record["input"] = "\n".join([question, *options, ending])
    return record | changes


def written(folder, records, name="0101_samples_qbench_dev.jsonl"):
    path = folder / name
    lines = path.suffix == ".jsonl"
    text = "\n".join(map(json.dumps, records)) if lines else json.dumps(records)
    path.write_text(text)
    return path


def kit(folder, name="model_Q-Bench1_VAL.xlsx", **changes):
    """A file of VLMEvalKit's predictions."""
    frame = pd.DataFrame(
        {
            "index": range(len(ASKED)),
            "question": [each[0] for each in ASKED],
            **{
                letter: [each[1][i] if i < len(each[1]) else None for each in ASKED]
                for i, letter in enumerate("ABCD")
            },
            "answer": [each[2] for each in ASKED],
            "prediction": [each[3] for each in ASKED],
        }
    ).assign(**changes)
    path = folder / name
    if path.suffix == ".xlsx":
        frame.to_excel(path, index=False)
    elif path.suffix == ".json":
        path.write_text(json.dumps(frame.to_dict("records")))
    else:
        frame.to_csv(path, sep="\t", index=False, quoting=1)
    return path


@pytest.fixture(params=["lmms", "lmms prompt", "lmms logs", "xlsx", "tsv", "json"])
def output(request, tmp_path):
    kind = request.param
    if kind == "lmms logs":
        return written(tmp_path, {"args": {}, "logs": [lmms(n) for n in range(5)]}, "qbench.json")
    if kind.startswith("lmms"):
        return written(tmp_path, [lmms(n, kind == "lmms") for n in range(5)])
    return kit(tmp_path, f"model_Q-Bench1_VAL.{kind}")


def test_every_row_is_graded(output):
    scored = replies.score_llvisionqa(None, output)
    found = scored.to_json()
    assert [q["question"] for q in scored.questions] == [each[0] for each in ASKED]
    assert [q["candidates"] for q in scored.questions] == [each[1] for each in ASKED]
    assert found["rows"] == len(ASKED)
    assert found["accuracy"] == pytest.approx(sum(RIGHT) / len(RIGHT))
    assert found["random_guess"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 3 + 1 / 2 + 1 / 3) / 5)
    assert [each["row"] for each in found["missing_replies"]] == [5]
    assert [each["row"] for each in found["unparsable_replies"]] == [4]


def test_types_and_concerns_are_those_of_the_file(tmp_path):
    for with_doc in (True, False):
        path = written(tmp_path, [lmms(n, with_doc) for n in range(5)])
        found = replies.score_llvisionqa(None, path)
        assert found.result.by_type == {"yes-or-no": 1 / 2, "what": 1 / 2, "how": 0}
        assert list(found.result.by_concern.values()) == [1 / 2, 1, 0, 0]
        assert found.reasons == {}
    found = replies.score_llvisionqa(None, kit(tmp_path))
    assert set(found.result.by_type.values()) | set(found.result.by_concern.values()) == {None}
    assert found.reasons == {"by_type": NO_TYPES, "by_concern": NO_TYPES}


def test_a_test_split_has_no_accuracy(tmp_path):
    hidden = {"target": "", "qbench_acc": {"id": 1}, "doc": lmms(0)["doc"] | {"correct_choice": ""}}
    for path in (written(tmp_path, [lmms(0, **hidden)]), kit(tmp_path, answer=None)):
        found = replies.score_llvisionqa(None, path)
        assert found.result.accuracy is None and "accuracy" in found.reasons


def test_a_failed_call_is_a_missing_reply(tmp_path):
    failed = ["Failed to obtain answer via API.", "Failed to obtain answer.", "A", "A", "A"]
    found = replies.score_llvisionqa(None, kit(tmp_path, prediction=failed))
    assert found.result.missing_rows == [0, 1]


def test_questions_of_one_image_are_drawn_together(tmp_path):
    found = harnesses.read(kit(tmp_path, image_path=["a.jpg"] * 3 + ["b.jpg"] * 2))
    assert [q["img_path"] for q in found.questions] == ["a.jpg"] * 3 + ["b.jpg"] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": "E"}, r"row 2 .*'E' is none of its options A to D"),
        ({"filtered_resps": ["A", "B"]}, r"row 2 .*expected one reply, got \['A', 'B'\]"),
        ({"filtered_resps": 3}, r"row 2 .*expected one reply, got 3"),
        ({"doc_id": 0}, r"id '0' is in row 1 and row 2"),
        ({"doc": {"question": "What?"}}, r"row 2 .*no options"),
        ({"doc": None, "input": "Why?\nA. x\nB. y\nmore\nC. z\n"}, r"row 2 .*no options"),
        ({"doc": None, "input": None}, r"row 2 .*no options"),
        ({"doc_id": None}, r"row 2 .*no doc_id"),
        ({"doc": "What?"}, r"row 2 .*must be objects"),
        ({"qbench_acc": 1.0}, r"row 2 .*must be objects"),
        ({"target": 0}, r"row 2 .*0 is none of its options"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, change, words):
    path = written(tmp_path, [lmms(0), lmms(1, **change), lmms(2)])
    with pytest.raises(InputError, match=rf"samples_qbench_dev\.jsonl, .*{words}"):
        replies.score_llvisionqa(None, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": ["B", "E", "A", "A", "C"]}, r"row 2 \(line 3\).*'E' is none of its options"),
        ({"B": ["No", None, "Low", "No", "Wall"]}, r"row 2 \(line 3\).*an option B is missing"),
        ({"index": [0, 1, 1, 2, 3]}, r"'1' in row 2 \(line 3\) and row 3 \(line 4\)"),
        ({"question": ["q", None, "q", "q", "q"]}, r"missing in 1 rows: row 2 \(line 3\)"),
    ],
)
def test_a_row_of_a_sheet_that_does_not_fit_is_named(tmp_path, change, words):
    with pytest.raises(InputError, match=rf"VAL\.xlsx, .*{words}"):
        replies.score_llvisionqa(None, kit(tmp_path, **change))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from("ABCDE")), min_size=1))
def test_all_rows_are_graded_or_the_file_is_refused(tmp_path_factory, rows):
    records = [lmms(kind, doc, doc_id=i, target=t) for i, (kind, doc, t) in enumerate(rows)]
    fits = all(target in "ABCD"[: len(ASKED[kind][1])] for kind, _, target in rows)
    path = written(tmp_path_factory.mktemp("rows"), records)
    if fits:
        found = replies.score_llvisionqa(None, path).result
        assert found.rows == len(rows)
        known = [row for row, (kind, _, _) in enumerate(rows) if ASKED[kind][3] is None]
        assert found.missing_rows == known
    else:
        with pytest.raises(InputError, match="is none of its options"):
            replies.score_llvisionqa(None, path)


def test_other_files_need_their_questions(tmp_path):
    path = written(tmp_path, ["A", "B"], "a.json")
    assert harnesses.read(path) is None
    with pytest.raises(InputError, match=r"a\.json: give --questions FILE"):
        replies.score_llvisionqa(None, path)


def test_questions_beside_an_output_that_has_its_own_are_refused(tmp_path, output):
    """Its column `answer` is the right letter, not the reply."""
    record = {"type": 0, "concern": 0, "question": "Is it sharp?", "img_path": "a.jpg"}
    record |= {"candidates": ["Yes", "No"], "correct_ans": "No"}
    asked = written(tmp_path, [record], "questions.json")
    with pytest.raises(InputError, match=r"holds its own questions; leave --questions out"):
        replies.score_llvisionqa(asked, output)


def test_two_outputs_are_compared_by_their_questions(tmp_path):
    a = written(tmp_path, [lmms(n) for n in range(5)])
    other = [lmms(n, with_doc=False, filtered_resps="A") for n in range(1, 5)]
    b = written(tmp_path, other, "b.jsonl")
    found = replies.compare_llvisionqa(a, b).content
    assert (found["rows"], found["a"], found["b"]) == (4, 1 / 4, 2 / 4)
    assert (found["only_a"], found["only_b"]) == (1, 2)
    assert found["only_in_a"] == ["0: Is it sharp?"] and found["missing_a"] == 1
    # The same number of another question is no match.
    swapped = written(tmp_path, [lmms(1, doc_id=0), lmms(0, doc_id=1)], "c.jsonl")
    with pytest.raises(InputError, match="no id is in both"):
        replies.compare_llvisionqa(a, swapped)
    with pytest.raises(InputError, match=r"holds its own ids .*; leave --id out"):
        replies.compare_llvisionqa(a, b, id_column="target")
