"""pure: what a language model is asked to make of a feedback, and the rows made of its replies.

Four kinds of rows (paper III-B): what/how questions with answers as short as possible, the same as
multiple choice with three distractors, yes-or-no questions, as many with yes as with no, and, for a
part of the feedbacks, a conversation on one of five themes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from qsit_ray.artifacts import digest
from qsit_ray.data.encode import IMAGE
from qsit_ray.data.pathway.feedbacks import Feedback
from qsit_ray.prompts import CHOICE, multiple_choice_prompt

Kind = Literal["what_how", "yes_no", "conversation"]
KINDS: tuple[Kind, ...] = ("what_how", "yes_no", "conversation")
# Files of rows; what/how questions become rows of two kinds.
ROWS = ("pathway", "what_how", "multiple_choice", "yes_no", "conversation")
THEMES = (
    "what causes the low-level patterns in the image, such as its blur, noise or light",
    "advice to the photographer for a better picture of this scene",
    "tools and steps that would restore or improve this image",
    "to whom or for which purpose an image of this quality could be shown",
    "anything else that the remarks let one say about the image's quality",
)
WORDS = 15
"""Most words of a short answer."""
SYSTEM = (
    "You turn a person's remarks on the quality of an image into training data. You do not see the "
    "image: state nothing that the remarks do not say. Reply with one JSON object and nothing else."
)
TASKS = {
    "what_how": (
        "Write one or two questions about the image's quality that the remarks answer. Each begins "
        "with What or How. Answer each in as few words as possible. Add three wrong answers to "
        "each, of the same kind and length, that the remarks contradict.\n"
        'Form: {{"questions": [{{"question": "…", "answer": "…", '
        '"distractors": ["…", "…", "…"]}}]}}'
    ),
    "yes_no": (
        "Write one question about the image's quality that is to be answered with {wanted} "
        "according to the remarks. It asks for one thing, and does not show its answer.\n"
        'Form: {{"question": "…", "answer": "{wanted}"}}'
    ),
    "conversation": (
        "Write a conversation of two to four questions with answers between someone who looks at "
        "the image and an assistant. Its theme: {wanted}. The answers are one to three sentences "
        "and build on the remarks.\n"
        'Form: {{"turns": [{{"question": "…", "answer": "…"}}]}}'
    ),
}


def _text(value: str) -> str:
    value = value.strip()
    if not value:
        raise ValueError("is empty")
    if IMAGE in value:
        raise ValueError(f"has {IMAGE} in it")
    return value


def _question(value: str) -> str:
    if not value.endswith("?"):
        raise ValueError("does not end with a question mark")
    return value


def _short(value: str) -> str:
    if len(value.split()) > WORDS:
        raise ValueError(f"has more than {WORDS} words")
    return value


Text = Annotated[str, AfterValidator(_text)]
Question = Annotated[Text, AfterValidator(_question)]
Answer = Annotated[Text, AfterValidator(_short)]


class Choice(BaseModel):
    """A what/how question with its answer and three wrong ones."""

    question: Question
    answer: Answer
    distractors: Annotated[list[Answer], Field(min_length=3, max_length=3)]

    @model_validator(mode="after")
    def _check(self) -> Choice:
        if not re.match(r"(what|how)\b", self.question, re.IGNORECASE):
            raise ValueError("the question begins with neither What nor How")
        if len({each.casefold() for each in (self.answer, *self.distractors)}) < 4:
            raise ValueError("two of the answers are the same")
        return self


class WhatHow(BaseModel):
    questions: Annotated[list[Choice], Field(min_length=1, max_length=3)]


class YesNo(BaseModel):
    question: Question
    answer: Literal["Yes", "No"]


class Turn(BaseModel):
    question: Text
    answer: Text


class Conversation(BaseModel):
    turns: Annotated[list[Turn], Field(min_length=2, max_length=6)]


Made = WhatHow | YesNo | Conversation
SCHEMAS: dict[Kind, type[Made]] = {
    "what_how": WhatHow,
    "yes_no": YesNo,
    "conversation": Conversation,
}


@dataclass(frozen=True)
class Request:
    """What is asked of one feedback. `wanted`: the answer of a yes-or-no question, or a
    conversation's theme."""

    feedback: Feedback
    kind: Kind
    wanted: str = ""

    @property
    def messages(self) -> list[dict[str, str]]:
        task = TASKS[self.kind].format(wanted=self.wanted)
        content = f"Remarks on an image: {self.feedback.text.strip()}\n\n{task}"
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]

    @property
    def settings(self) -> dict[str, Any]:
        """What the endpoint is told of the reply's form."""
        schema = SCHEMAS[self.kind].model_json_schema()
        form = {"name": self.kind, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": form}}

    def key(self, model: str) -> str:
        """Of its replies: SHA-256 of model and messages."""
        return digest([model, self.messages])

    def read(self, reply: str) -> Made:
        """What a reply says. Raises ValueError with the reason it is not valid."""
        try:
            made = SCHEMAS[self.kind].model_validate(_object(reply))
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {message}") from None
        if isinstance(made, YesNo) and made.answer != self.wanted:
            raise ValueError(f"answer: {made.answer}, where {self.wanted} was asked for")
        return made


def requests(feedbacks: Sequence[Feedback], conversations: float, seed: int) -> list[Request]:
    """What is asked of the feedbacks, in their order: a what/how and a yes-or-no question of each,
    half of these with yes, and of the share `conversations` of them, drawn by `seed`, a
    conversation, with the themes in turn."""
    count = len(feedbacks)
    drawn = np.random.default_rng([seed, count]).permutation(count)
    themes = {
        place: k % len(THEMES) for k, place in enumerate(drawn[: round(conversations * count)])
    }
    made = []
    for place, feedback in enumerate(feedbacks):
        made.append(Request(feedback, "what_how"))
        made.append(Request(feedback, "yes_no", ("Yes", "No")[place % 2]))
        if place in themes:
            made.append(Request(feedback, "conversation", THEMES[themes[place]]))
    return made


def pathway_row(feedback: Feedback) -> dict[str, Any]:
    """The feedback itself as a record of D2."""
    return _record(feedback, "pathway", 1, [(feedback.question, feedback.text)])


def rows(
    request: Request, made: Made, seed: int, form: str = CHOICE
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kind (of `ROWS`) and the record of each row that is made of a reply. `form`: of closed
    questions."""
    feedback = request.feedback
    if isinstance(made, WhatHow):
        for number, each in enumerate(made.questions, start=1):
            asked = f"{IMAGE}\n{each.question}"
            yield "what_how", _record(feedback, "what_how", number, [(asked, each.answer)])
            options = [each.answer, *each.distractors]
            chance = int(digest([seed, feedback.id, each.question])[:8], 16)
            order = np.random.default_rng(chance).permutation(len(options))
            listed = multiple_choice_prompt(
                each.question, [options[place] for place in order], form
            )
            yield (
                "multiple_choice",
                _record(feedback, "multiple_choice", number, [(listed, each.answer)]),
            )
    elif isinstance(made, YesNo):
        asked = f"{IMAGE}\n{made.question}"
        yield "yes_no", _record(feedback, "yes_no", 1, [(asked, made.answer)])
    else:
        first, *others = [(turn.question, turn.answer) for turn in made.turns]
        turns = [(f"{IMAGE}\n{first[0]}", first[1]), *others]
        yield "conversation", _record(feedback, "conversation", 1, turns)


def _record(
    feedback: Feedback, kind: str, number: int, turns: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    conversations = [
        {"from": speaker, "value": text}
        for turn in turns
        for speaker, text in zip(("human", "gpt"), turn, strict=True)
    ]
    return {
        "id": f"{feedback.id}:{kind}:{number}",
        "image": feedback.image,
        "conversations": conversations,
    }


def _object(reply: str) -> Any:
    """The JSON object in a reply, without a reasoning block, a fence or words around it."""
    text = re.sub(r"^.*</think>", "", reply, flags=re.DOTALL)
    start = text.find("{")
    if start < 0:
        raise ValueError("no JSON object in the reply")
    try:
        found, _ = json.JSONDecoder().raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the reply's JSON is broken: {error}") from None
    return found
