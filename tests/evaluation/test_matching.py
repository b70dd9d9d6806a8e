"""Replies of all sorts mean the candidate that they name, whatever is put around it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsit_ray.evaluation import llvisionqa
from qsit_ray.evaluation.matching import match, official_matches
from qsit_ray.evaluation.wrappers import unwrapped
from qsit_ray.reading import read_values

YES_NO = ["Yes", "No"]
CLEAR = ["Blurry", "Fair", "Clear"]
NOISE = ["Blur", "Noise", "Overexposure", "Compression"]

WRAPPERS = {
    "answer": lambda letter: f"<answer>{letter}</answer>",
    "think": lambda letter: f"<think>Is it A. Blur? The answer is C.</think>\n\n{letter}",
    "both": lambda letter: f"<think>Surely A. No, D.</think><answer> {letter} </answer>",
    "opened in the prompt": lambda letter: f"It could be A.\nOr B.\n</think>\n{letter}.",
    "box": lambda letter: rf"A would be wrong, so \boxed{{{letter}}}",
    "text in a box": lambda letter: rf"$\boxed{{\text{{{letter}}}}}$",
    "json": lambda letter: json.dumps({"reasoning": "A. is soft", "answer": letter}),
    "fenced json": lambda letter: f'```json\n{{"Answer": ["{letter}"]}}\n```',
    "token": lambda letter: f"{letter}<|im_end|>",
    "sentence end": lambda letter: f"{letter}.</s>",
    "therefore": lambda letter: f"Region A. is sharp. Therefore, {letter}.",
    "conclusion": lambda letter: f"Option A is blur. So the correct answer is ({letter}).",
    "bold": lambda letter: f"Looking at A first.\n\n**Answer: {letter}**",
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_letter_is_the_letter(wrap):
    for number, letter in enumerate("ABCD"):
        assert match(wrap(letter), NOISE) == number


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrapped_letters_of_real_runs_have_their_accuracy(shared_data, wrap):
    questions = read_values(shared_data / "llvisionqa_dev.json.gz")
    runs = read_values(shared_data / "llvisionqa_dev_model_answers.json.gz")["answers"]
    replies = next(replies for name, replies in runs.items() if "gpt4o" in name)
    pairs = zip(replies, questions, strict=True)
    numbers = [match(reply, question["candidates"]) for reply, question in pairs]
    letters = [None if number is None else "ABCDEF"[number] for number in numbers]
    bare = llvisionqa.grade_replies(questions, letters)
    wrapped = llvisionqa.grade_replies(questions, [each and wrap(each) for each in letters])
    assert bare.accuracy > 0.7
    assert abs(wrapped.accuracy - bare.accuracy) <= 0.002


@pytest.mark.parametrize(
    ("reply", "candidates", "expected"),
    [
        ("There is no doubt that this image is blurry", YES_NO, None),
        ("There is no doubt that this image is blurry", CLEAR, 0),
        ("Without a doubt it is clear.", CLEAR, 2),
        ("It is not only fair but sharp", ["Fair", "Soft"], 0),
        ("far from clear", CLEAR, None),
        ("It is hardly clear", CLEAR, None),
        ("It lacks noise", NOISE, None),
        ("anything but clear", CLEAR, None),
        ("I would say no.", YES_NO, 1),
        ("The answer is no", YES_NO, 1),
        ("No.", YES_NO, 1),
        ("I see no haze here", YES_NO, None),
        ("b. The image is a little soft.", NOISE, 1),
        ("a dark image", NOISE, None),
        ("e.g. noise", NOISE, 1),
        ("The answer is A? No, grain means noise: the answer is B.", NOISE, 1),
        ("The answer is F.", NOISE, None),
        ("<think>Only A. thoughts", NOISE, None),
        ("<answer></answer>", NOISE, None),
        ('{"answer": 3}', NOISE, None),
        (r"\boxed{}", NOISE, None),
        ("Yes there is", YES_NO, 0),
        ("Yes it is blurry", YES_NO, 0),
        ("No there is not", YES_NO, 1),
        ("Yes and no", YES_NO, None),
        ("No blur is seen", YES_NO, None),
        ("The answer is B. The worst choice is A.", ["High", "Low"], 1),
        ("The answer is A. The other option is B.", ["High", "Low"], 0),
        ("A. High\nI see no blur, so B, Low, is wrong.", ["High", "Low"], 0),
        ("The answer is A, so B: Low is wrong", ["High", "Low"], 0),
        ("B. It is dark, so I, as a model, choose low", ["High", "Low"], 1),
        ("The answer is B. It would differ if the answer is A.", ["High", "Low"], 1),
        ('{"result": {"answer": "B"}}', NOISE, 1),
        ('[{"answer": "B"}]', NOISE, 1),
        ('```\n"B"\n```', NOISE, 1),
        ('{"Answer": "A", "answer": "B"}', NOISE, None),
        ('```json\n{"answer": "A"}\n``` But really the answer is B.', NOISE, 1),
    ],
)
def test_what_a_sentence_says(reply, candidates, expected):
    assert match(reply, candidates) == expected


def test_the_official_rule_reads_the_reply_as_it_is():
    assert official_matches("<answer>B</answer>", YES_NO) == []
    assert official_matches("B<|im_end|>", YES_NO) == []


@given(st.text(alphabet='AB.<>/{}\\think answer boxed:"\n', max_size=60))
def test_anything_can_be_unwrapped(text):
    assert isinstance(unwrapped(text), str)
    assert match(text, NOISE) in [None, 0, 1, 2, 3]
