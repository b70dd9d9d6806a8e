"""The default and the official matching rule, and accuracies of real model runs."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.evaluation import llvisionqa as qa

YES_NO = ["Yes", "No"]
BLUR = ["Blur", "Motion blur", "Noise"]
CLEAR = ["Blurry", "Fair", "Clear"]
texts = st.text(st.characters(whitelist_categories=["Lu", "Ll"]), min_size=2, max_size=8)


def question(answer, candidates, kind=0, concern=0):
    return {"type": kind, "concern": concern, "candidates": candidates, "correct_ans": answer}


@pytest.mark.parametrize(
    ("reply", "candidates", "expected"),
    [
        ("B", YES_NO, 1),
        ("b", YES_NO, 1),
        ("(B)", YES_NO, 1),
        (" B. ", YES_NO, 1),
        ("B. No", YES_NO, 1),
        ("A - Yes, there is", YES_NO, 0),
        ("A\n\nThe image is clear", CLEAR, 0),
        ("**B. Fair**", CLEAR, 1),
        ("It is soft.\n\n*Answer*: A", CLEAR, 0),
        ("The correct option: C. Clear", CLEAR, 2),
        ("The distortion of the bed is C. Noise.", BLUR, 2),
        ("no", YES_NO, 1),
        ("Yes, there is no blur.", YES_NO, 0),
        ("The image is clear.", CLEAR, 2),
        ("I see motion blur here", BLUR, 1),
        ("It suffers from blur", BLUR, 0),
        ("'Noise.'", BLUR, 2),
        # An ambiguous reply has no match.
        ("D", BLUR, None),
        ("A. Yes or B. No", YES_NO, None),
        ("A. No", YES_NO, None),
        ("It is not clear", CLEAR, None),
        ("blur and noise", BLUR, None),
        ("A clear picture or a blurry one", CLEAR, None),
        ("I cannot tell", CLEAR, None),
        ("", CLEAR, None),
        (None, CLEAR, None),
        (float("nan"), CLEAR, None),
        ("clearly", CLEAR, None),
    ],
)
def test_the_default_rule(reply, candidates, expected):
    assert qa.match(reply, candidates) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("B", 1),
        ("B.", 1),
        ("Surely B. No", 1),
        ("No", 1),
        ("thinking\nB\n", 1),
        ("b", None),
        ("no", None),
        ("B - No", None),
    ],
)
def test_the_official_rule(reply, expected):
    assert qa.official_matches(reply, YES_NO) == ([] if expected is None else [expected])


@given(st.lists(texts, min_size=2, max_size=4, unique_by=str.casefold), st.data())
def test_every_plain_form_of_an_answer_is_understood(candidates, data):
    i = data.draw(st.integers(0, len(candidates) - 1))
    letter = "ABCD"[i]
    for reply in (letter, f"{letter}.", f"({letter})", f"{letter}. {candidates[i]}", candidates[i]):
        assert qa.match(reply, candidates) == i
    for reply in (letter, f"{letter}. {candidates[i]}"):
        assert i in qa.official_matches(reply, candidates)


@given(st.text(max_size=60), st.lists(texts, min_size=2, max_size=4, unique=True))
def test_any_text_gives_a_candidate_or_none(reply, candidates):
    assert qa.match(reply, candidates) in [None, *range(len(candidates))]
    assert set(qa.official_matches(reply, candidates)) <= set(range(len(candidates)))


def test_the_official_rule_counts_a_reply_that_names_everything_as_right():
    questions = [question("No", YES_NO)]
    everything = ["A. Yes or B. No"]
    assert qa.official_matches(everything[0], YES_NO) == [0, 1]
    assert qa.grade_replies(questions, everything, rule="official").accuracy == 1
    assert qa.grade_replies(questions, everything).accuracy == 0


def test_missing_and_unparsable_replies_are_wrong_and_listed():
    questions = [question("Yes", YES_NO, kind=i % 2, concern=i % 4) for i in range(5)]
    found = qa.grade_replies(questions, ["A", None, "perhaps", "Yes", "B"])
    assert found.accuracy == pytest.approx(2 / 5)
    assert (found.missing, found.missing_rows) == (1, [1])
    assert (found.unparsable, found.unparsable_rows) == (1, [2])
    assert found.by_type == {
        "yes-or-no": pytest.approx(1 / 3),
        "what": pytest.approx(1 / 2),
        "how": None,
    }
    assert found.by_concern["in-context other"] == 1
    assert found.random_guess == 0.5
    assert found.interval[0] <= found.accuracy <= found.interval[1]
    written = json.dumps(found.to_json(), allow_nan=False)
    assert qa.AnswerResult.from_json(json.loads(written)) == found


def test_questions_of_one_photograph_widen_the_interval():
    photo = np.repeat(np.arange(20), 20)
    replies = ["A" if i % 2 else "B" for i in photo]
    questions = [question("Yes", YES_NO)] * 400
    rows, photos = (qa.grade_replies(questions, replies, cluster=c).interval for c in (None, photo))
    assert np.ptp(photos) > 3 * np.ptp(rows)


def test_no_questions_give_nulls():
    found = qa.grade_replies([], [])
    assert (found.accuracy, found.random_guess, found.interval) == (None, None, None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"type": 3}, "type 3 is not one of 0 yes-or-no"),
        ({"concern": None}, "concern None"),
        ({"candidates": ["Yes"]}, "candidates must be a list of 2 to 26"),
        ({"correct_ans": "Maybe"}, "'Maybe' is not one of its candidates"),
        ({"correct_ans": None}, "correct_ans None"),
    ],
)
def test_a_broken_question_is_refused_by_row(changed, words):
    questions = [question("Yes", YES_NO), question("Yes", YES_NO) | changed]
    with pytest.raises(ValueError, match=f"question 2: .*{words}"):
        qa.grade_replies(questions, ["A", "B"])


def test_replies_that_do_not_fit_the_questions_are_refused():
    with pytest.raises(ValueError, match="1 replies to 2 questions"):
        qa.grade_replies([question("Yes", YES_NO)] * 2, ["A"])
    with pytest.raises(ValueError, match=r"question 1: expected a string or null .*got 7"):
        qa.grade_replies([question("Yes", YES_NO)], [7])
    with pytest.raises(ValueError, match="default or official"):
        qa.grade_replies([question("Yes", YES_NO)], ["A"], rule="loose")


def test_mcnemar_counts_only_the_questions_that_differ():
    both, a, b = [True] * 50, [True] * 8 + [False] * 1, [False] * 8 + [True] * 1
    found = qa.compare_replies(both + a, both + b)
    assert (found.only_a, found.only_b) == (8, 1)
    assert found.p_value == pytest.approx(2 * 10 / 2**9)
    assert found.difference == pytest.approx(7 / 59)
    assert found.interval[0] > 0
    assert qa.compare_replies(both, both).p_value == 1
    swapped = qa.compare_replies(both + b, both + a)
    assert swapped.difference == -found.difference
    assert swapped.p_value == found.p_value
    with pytest.raises(ValueError, match="the same questions"):
        qa.compare_replies([True], [True, False])


def load(path):
    return json.loads(gzip.decompress(path.read_bytes()))


def test_random_guess_of_both_splits(shared_data):
    dev, test = (load(shared_data / f"llvisionqa_{split}.json.gz") for split in ("dev", "test"))
    assert len(dev) == len(test) == 1495
    assert qa.random_guess(dev) == pytest.approx(0.3780, abs=5e-5)
    assert qa.random_guess(test) == pytest.approx(0.3794, abs=5e-5)


def test_almost_every_reply_of_real_runs_is_parsable(shared_data):
    questions = load(shared_data / "llvisionqa_dev.json.gz")
    runs = load(shared_data / "llvisionqa_dev_model_answers.json.gz")
    assert runs["order"] == [q["img_path"] for q in questions]
    for run, replies in runs["answers"].items():
        ours, official = (
            qa.grade_replies(questions, replies, rule=r) for r in ("default", "official")
        )
        assert ours.missing == official.missing == sum(r is None for r in replies), run
        assert ours.unparsable <= min(official.unparsable, 0.01 * 1495), run
        assert ours.accuracy > ours.random_guess
        assert ours.accuracy >= official.accuracy - 1e-9, run
    # Every reply of this run is a letter and a stop, so its accuracy needs no rule.
    plain = runs["answers"]["mplug-owl2/co-instruct"]
    by_hand = [
        q["candidates"]["ABCD".index(r[0])] == q["correct_ans"]
        for q, r in zip(questions, plain, strict=True)
    ]
    assert qa.grade_replies(questions, plain).accuracy == pytest.approx(np.mean(by_hand))
