"""pure: requests and answers as they are on the wire; a request's body to typed values."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    EncodedBytes,
    EncoderProtocol,
    Field,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from qsit_ray.data import images
from qsit_ray.data.images import Content
from qsit_ray.rating.results import Choice, Reject, Reply, Score
from qsit_ray.service.limits import Limits, Refused

JSON, MULTIPART = "application/json", "multipart/form-data"
MOST_TOKENS = 512
MOST_IMAGES = 1_000
"""Of a request, whatever its limits: a list is not read on beyond."""
Form = TypeVar("Form", bound=BaseModel)
Question = Annotated[str, Field(min_length=1, max_length=4_000)]
Candidate = Annotated[str, Field(min_length=1, max_length=400)]
LONGEST = 2_048
"""Tokens of an answer at most."""
Tokens = Annotated[int, Field(ge=1, le=LONGEST)]


class Base64(EncoderProtocol):
    """Base64 and white space. Python's own decoding would skip what is neither."""

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        try:
            return base64.b64decode(b"".join(data.split()), validate=True)
        except ValueError as error:
            reason = {"reason": str(error)}
            raise PydanticCustomError("base64", "not base64: {reason}", reason) from None

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return base64.b64encode(value)

    @classmethod
    def get_json_format(cls) -> Literal["base64"]:
        return "base64"


class Image(BaseModel):
    """An image file. Its name is a label; nothing is opened by it."""

    data: Annotated[bytes, EncodedBytes(Base64), Field(description="The file's bytes, in base64.")]
    name: Annotated[str, Field(max_length=1_000)] = ""

    def content(self, number: int) -> Content:
        return Content(self.data, self.name or f"image {number}")


class Images(BaseModel):
    """Images to score."""

    images: Annotated[list[Image], Field(min_length=1, max_length=MOST_IMAGES)]

    def contents(self) -> list[Content]:
        return [image.content(number) for number, image in enumerate(self.images, start=1)]


class Ask(BaseModel):
    """Questions about one image. With `choices` the likeliest of them is chosen."""

    image: Image
    questions: Annotated[list[Question], Field(min_length=1, max_length=32)]
    choices: Annotated[list[Candidate] | None, Field(min_length=2, max_length=26)] = None
    most_tokens: Tokens = MOST_TOKENS


class Text(BaseModel):
    type: Literal["text"]
    text: Question


class Address(BaseModel):
    url: Annotated[str, Field(description="data:image/…;base64,… and no other address.")]


class Picture(BaseModel):
    type: Literal["image_url"]
    image_url: Address


Part = Annotated[Text | Picture, Field(discriminator="type")]


class Message(BaseModel):
    role: Literal["user"]
    content: Annotated[list[Part], Field(min_length=2)]


class StreamOptions(BaseModel):
    include_usage: bool | None = False


class Chat(BaseModel):
    """One turn of OpenAI's chat form: a text and an image. The answer is always the likeliest one:
    temperature and the like change nothing."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1)]
    model: str | None = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    n: Literal[1] | None = 1
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    logprobs: Annotated[Literal[False] | None, Field(description="Scores: /v1/score.")] = None

    @field_validator("messages", mode="before")
    @classmethod
    def _without_system(cls, messages: Any) -> Any:
        """Training refuses system turns too (`qsit_ray.data.records`): no prompt has a place."""
        for each in messages if isinstance(messages, list) else []:
            role = each.get("role") if isinstance(each, dict) else None
            if role in ("system", "developer"):
                reason = f"a {role} message, which this model never saw in training"
                raise Refused(400, f"messages: {reason}; put its text into the question")
        return messages

    @property
    def most_tokens(self) -> int:
        """Clients ask for round numbers; a longer answer than the service's own limit is cut."""
        return min(self.max_completion_tokens or self.max_tokens or MOST_TOKENS, LONGEST)

    def asked(self) -> tuple[Content, str]:
        """The image and the question. Raises Refused unless there is one of each."""
        parts = self.messages[0].content
        urls = [part.image_url.url for part in parts if isinstance(part, Picture)]
        texts = [part.text for part in parts if isinstance(part, Text)]
        if len(urls) != 1 or not texts:
            raise Refused(422, f"a text and one image are needed; found {len(urls)} images")
        kind, comma, data = urls[0].partition(",")
        if not (kind.startswith("data:image/") and kind.endswith(";base64") and comma):
            raise Refused(422, "image_url: only data:image/…;base64,… is read; no other address is")
        image = _validated(Image, {"data": data, "name": "image"})
        return image.content(1), "\n".join(texts)


class Scores(BaseModel):
    """Scores in the order of the images, without those that can't be read."""

    scores: list[Score]
    rejects: list[Reject]
    conditions: Annotated[
        dict[str, Any], Field(description="What a score depends on besides its image.")
    ]


class Rewards(BaseModel):
    """Scores from 0 to 1, one for each image; null where it can't be read."""

    rewards: list[float | None]
    rejects: list[Reject]


class Answers(BaseModel):
    answers: list[Reply | Choice]


class Reason(BaseModel):
    message: str
    code: int


class Error(BaseModel):
    error: Reason


async def images_of(request: Request, limits: Limits) -> list[Content]:
    """The images of a request: fields `files` of a form, or the JSON of `Images`."""
    if _kind(request) == JSON:
        found = (await _parsed(Images, await request.body())).contents()
    else:
        form = await _form(request, limits)
        found = await _files(form.getlist("files"))
    if not found:
        raise Refused(422, "no image: fields named files are needed")
    if len(found) > limits.images:
        raise Refused(413, f"{len(found)} images; at most {limits.images} may come in a request")
    return found


async def ask_of(request: Request, limits: Limits) -> tuple[Content, Ask]:
    """The image and the questions of a request: fields `file`, `question` (any number), `choice`
    (any number) and `most_tokens` of a form, or the JSON of `Ask`."""
    if _kind(request) == JSON:
        ask = await _parsed(Ask, await request.body())
        return ask.image.content(1), ask
    form = await _form(request, limits)
    found = await _files(form.getlist("file"))
    if len(found) != 1:
        raise Refused(422, f"one image is needed, as a field named file; found {len(found)}")
    fields: dict[str, Any] = {
        "image": {"data": b""},
        "questions": form.getlist("question"),
        "choices": form.getlist("choice") or None,
        "most_tokens": form.get("most_tokens", MOST_TOKENS),
    }
    return found[0], _validated(Ask, fields)


async def chat_of(request: Request) -> Chat:
    """The chat of a request."""
    if _kind(request) != JSON:
        raise Refused(415, f"{MULTIPART}; expected {JSON}")
    return await _parsed(Chat, await request.body())


def check_size(image: Content, limits: Limits) -> None:
    """Raises Refused for an image of too many pixels, by its header. What has none is found
    unreadable later."""
    try:
        height, width = images.size(image)
    except ValueError:
        return
    if height * width > limits.pixels:
        raise Refused(
            413, f"{image}: {width} × {height} pixels; at most {limits.pixels:,} are read"
        )


def _kind(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, MULTIPART):
        raise Refused(415, f"{kind or 'no content type'}; expected {MULTIPART} or {JSON}")
    return kind


async def _form(request: Request, limits: Limits) -> Any:
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"us-ascii"):
        raise Refused(400, "the form's charset must be UTF-8")
    try:
        return await request.form(max_files=limits.images + 1, max_fields=100)
    except HTTPException as error:
        raise Refused(400, f"the form can't be read: {error.detail}") from None


async def _files(fields: list[UploadFile | str]) -> list[Content]:
    found = []
    for number, field in enumerate(fields, start=1):
        if isinstance(field, str):
            raise Refused(422, "an image must be a file, not a text")
        name = (field.filename or f"image {number}").encode("utf-8", "backslashreplace").decode()
        found.append(Content(await field.read(), name))
    return found


async def _parsed(form: type[Form], body: bytes) -> Form:
    try:
        # In a thread: megabytes take a while, and other requests go on meanwhile.
        return await asyncio.to_thread(form.model_validate_json, body)
    except ValidationError as error:
        raise _wrong(error) from None


def _validated(form: type[Form], fields: Mapping[str, Any]) -> Form:
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        raise _wrong(error) from None


def _wrong(error: ValidationError) -> Refused:
    """The first mistake, without what was sent: that may be megabytes."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return Refused(422, f"{place or 'body'}: {first['msg']}")
