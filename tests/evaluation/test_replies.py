"""Files of replies to results: lists and tables, ids that differ, pairs, real runs."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qsit_ray.errors import InputError
from qsit_ray.evaluation import llvisionqa, replies


def table(folder, name="t.csv", **columns):
    path = folder / name
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def ids(rows):
    return [f"{i}.jpg" for i in range(rows)]


QUESTIONS = [
    {
        "type": i % 3,
        "concern": i % 4,
        "question": f"q{i}",
        "img_path": f"{i}.jpg",
        "candidates": ["Yes", "No"],
        "correct_ans": "Yes",
    }
    for i in range(6)
]


def questions(folder, records=QUESTIONS):
    path = folder / "q.json.gz"
    path.write_bytes(gzip.compress(json.dumps(records).encode()))
    return path


def answers(folder, content, name="a.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_replies_as_a_list_or_a_table_give_the_same(tmp_path):
    asked = questions(tmp_path)
    texts = ["A", "No", None, "Yes.", "perhaps", "A. Yes"]
    rows = [{"img_path": f"{i}.jpg", "answer": text} for i, text in enumerate(texts)]
    lines = "\n".join(json.dumps(row) for row in rows[::-1])
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    found = [
        replies.score_llvisionqa(asked, path).to_json()
        for path in (
            answers(tmp_path, texts),
            answers(tmp_path, lines, "a.jsonl"),
            answers(tmp_path, frame.to_csv(index=False), "a.csv"),
        )
    ]
    assert found[0] == found[1] == found[2]
    result = found[0]
    assert result["accuracy"] == pytest.approx(3 / 6) and result["random_guess"] == 0.5
    assert result["missing_replies"] == [{"row": 3, "img_path": "2.jpg"}]
    assert result["unparsable_replies"] == [{"row": 5, "img_path": "4.jpg", "reply": "perhaps"}]
    assert (result["missing"], result["unparsable"], result["unknown"]) == (1, 1, 0)


def test_omitted_questions_are_missing_and_unknown_images_are_listed(tmp_path):
    path = answers(tmp_path, "img_path,answer\n0.jpg,A\nzebra.jpg,A\n", "a.csv")
    found = replies.score_llvisionqa(questions(tmp_path), path)
    assert found.result.missing == 5 and found.replies.texts == ["A"] + [None] * 5
    assert found.replies.unknown == ["zebra.jpg"]
    assert found.result.accuracy == pytest.approx(1 / 6)


def test_several_questions_about_one_image_are_matched_by_their_text(tmp_path):
    records = [q | {"img_path": "same.jpg"} for q in QUESTIONS[:2]]
    rows = [{"img_path": "same.jpg", "question": f"q{i}", "answer": "AB"[i]} for i in (1, 0)]
    lines = "\n".join(map(json.dumps, rows))
    found = replies.score_llvisionqa(
        questions(tmp_path, records), answers(tmp_path, lines, "a.jsonl")
    )
    assert found.replies.texts == ["A", "B"]
    plain = answers(tmp_path, "img_path,answer\nsame.jpg,A\n", "a.csv")
    with pytest.raises(InputError, match="no column 'question'"):
        replies.score_llvisionqa(questions(tmp_path, records), plain)


def test_a_test_split_gives_null_with_a_reason_and_a_submission(tmp_path):
    records = [{k: v for k, v in q.items() if k != "correct_ans"} for q in QUESTIONS]
    texts = ["A", "perhaps", None, "B", "A", "A"]
    scored = replies.score_llvisionqa(questions(tmp_path, records), answers(tmp_path, texts))
    found = scored.to_json()
    assert found["accuracy"] is None and "correct_ans" in found["reasons"]["accuracy"]
    assert set(found["by_type"].values()) == {None} and found["random_guess"] == 0.5
    assert (found["missing"], found["unparsable"]) == (1, 1)
    sent = llvisionqa.submission(scored.questions, scored.replies.texts)
    assert [record["response"] for record in sent] == texts
    assert sent[1] == {"img_path": "1.jpg", "question": "q1", "response": "perhaps"}


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (["A"], "a.json", "1 replies to 6 questions"),
        (["A", 3, "A", "A", "A", "A"], "a.json", "row 2: expected a string or null, got 3"),
        ("img_path,answer\n0.jpg,A\n0.jpg,B\n", "a.csv", r"'0.jpg' in row 1 \(line 2\) and row 2"),
        ("img_path,answer\nx.jpg,A\n", "a.csv", "none of its img_path belongs to a question"),
        (
            "img_path,reply\n0.jpg,A\n",
            "a.csv",
            "none of the columns answer, response, text; it has img_path, reply",
        ),
    ],
)
def test_replies_that_do_not_fit_are_refused(tmp_path, content, name, words):
    with pytest.raises(InputError, match=words):
        replies.score_llvisionqa(questions(tmp_path), answers(tmp_path, content, name))


def test_a_broken_question_is_refused_with_the_file(tmp_path):
    path = questions(tmp_path, [QUESTIONS[0], QUESTIONS[1] | {"correct_ans": "Maybe"}])
    with pytest.raises(InputError, match=r"q.json.gz .*question 2: .*'Maybe'"):
        replies.score_llvisionqa(path, answers(tmp_path, ["A", "B"]))
    with pytest.raises(InputError, match=r"row 2: expected a question .*got 7"):
        replies.read_questions(questions(tmp_path, [QUESTIONS[0], 7]))


def test_table_v_starts_with_random_guess():
    result = llvisionqa.grade_replies(QUESTIONS, ["A"] * 6)
    rows = llvisionqa.table_v(QUESTIONS, {"m": result})
    assert list(rows) == ["random guess", "m"]
    guess, model = rows.values()
    assert guess["overall"] == guess["what"] == 0.5 and model["overall"] == 1
    assert list(model) == [*llvisionqa.TYPES, *llvisionqa.CONCERNS, "overall"]


def test_two_models_are_compared_over_what_both_answer(tmp_path):
    asked = questions(tmp_path)
    a = answers(tmp_path, ["A", "A", "A", "A", None, "B"], "a.json")
    b = answers(tmp_path, "img_path,answer\n0.jpg,B\n1.jpg,A\n9.jpg,A\n4.jpg,A\n", "b.csv")
    found = replies.compare_llvisionqa(a, b, questions_path=asked).content
    assert found["rows"] == 3 and found["missing_a"] == 1
    assert (found["a"], found["b"]) == pytest.approx((2 / 3, 2 / 3))
    assert (found["only_a"], found["only_b"]) == (1, 1)
    assert found["only_in_a"] == ["2.jpg", "3.jpg", "5.jpg"] and found["only_in_b"] == ["9.jpg"]


def test_mcnemar_from_files_with_their_own_grades(tmp_path):
    right_a = [True] * 50 + [True] * 8 + [False]
    right_b = [True] * 50 + [False] * 8 + [True]
    a = table(tmp_path, "a.csv", id=ids(59), correct=right_a)
    b = table(tmp_path, "b.csv", id=ids(59), correct=np.array(right_b).astype(int))
    found = replies.compare_llvisionqa(a, b).content
    assert found["p_value"] == pytest.approx(2 * 10 / 2**9)
    assert found["difference"] == pytest.approx(7 / 59)
    own = "\n".join(json.dumps(q | {"answer": "A"}) for q in QUESTIONS)
    wrong = own.replace('"answer": "A"', '"answer": "B"')
    pair = (answers(tmp_path, own, "o.jsonl"), answers(tmp_path, wrong, "w.jsonl"))
    assert replies.compare_llvisionqa(*pair).metrics["accuracy"].difference == 1
    with pytest.raises(InputError, match="give --questions FILE"):
        replies.compare_llvisionqa(table(tmp_path, "c.csv", id=["a"], answer=["A"]), b)
    with pytest.raises(InputError, match=r"row 1 \(line 2\), column 'correct': .*got 'yes'"):
        replies.compare_llvisionqa(table(tmp_path, "d.csv", id=["a"], correct=["yes"]), b)


def test_real_runs_keep_their_figures_from_files(shared_data: Path, tmp_path):
    runs = json.loads(
        gzip.decompress((shared_data / "llvisionqa_dev_model_answers.json.gz").read_bytes())
    )
    asked = shared_data / "llvisionqa_dev.json.gz"
    known = json.loads(gzip.decompress(asked.read_bytes()))
    for run, texts in runs["answers"].items():
        found = replies.score_llvisionqa(asked, answers(tmp_path, texts)).result
        assert found.accuracy == llvisionqa.grade_replies(known, texts).accuracy, run
        assert found.missing == sum(text is None for text in texts)
