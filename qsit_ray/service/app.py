"""pure: the service's routes, around a model that answers."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from qsit_ray.data.images import Content
from qsit_ray.errors import InputError
from qsit_ray.rating.results import Choice, Reject, Reply, Score
from qsit_ray.service import forms
from qsit_ray.service.forms import JSON, MULTIPART
from qsit_ray.service.guard import Guard, Observe
from qsit_ray.service.limits import Away, Busy, Deadly, Limits, Refused

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": forms.Error, "description": why}
    for status, why in {
        400: "The form can't be read.",
        401: "The token is missing or wrong.",
        408: "The request took too long to arrive.",
        413: "Too many bytes, images or pixels.",
        415: "Neither a form nor JSON.",
        422: "A field is wrong, or no image can be read.",
        429: "Too much at once; Retry-After tells when to come again.",
        500: "The service failed, or its model did at this request, twice.",
        503: "No model is there; Retry-After tells when to come again.",
        504: "The model took too long.",
    }.items()
}
ASSETS = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
REFERENCE = "#/components/schemas/{model}"
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


class Model(Protocol):
    """What the routes need of a model. Each may raise Busy, Away and Deadly."""

    async def conditions(self) -> dict[str, Any]:
        """What a score depends on besides its image."""

    async def scores(self, images: Sequence[Content]) -> list[Score | Reject]:
        """A score of each image, in order, or why it can't be read."""

    async def answers(
        self,
        image: Content,
        questions: Sequence[str],
        choices: Sequence[str] | None,
        most_tokens: int,
    ) -> list[Reply | Choice]:
        """An answer to each question. Raises InputError where the image can't be read."""


def build(model: Model, limits: Limits, token: str | None, observe: Observe) -> ASGIApp:
    """The service as an ASGI application. `token`: SHA-256 of the token that /v1 asks for."""
    app = FastAPI(
        title="qsit_ray",
        summary="Scores of image quality, and answers to questions about it.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    _routes(app, model, limits)
    _assets(app)
    app.openapi = partial(_documented, app)  # type: ignore[method-assign]
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, limits, token, observe)


def _routes(app: FastAPI, model: Model, limits: Limits) -> None:
    waits = Waits(limits.answer_seconds)

    @app.get("/health", tags=["state"])
    async def health() -> dict[str, str]:
        """The service answers."""
        return {"status": "ok"}

    @app.get("/ready", tags=["state"], responses={503: REFUSALS[503]})
    async def ready() -> dict[str, str]:
        """A model answers."""
        try:
            await waits.for_(model.conditions())
        except Refused as refused:
            raise Refused(503, f"not ready: {refused.reason}") from None
        return {"status": "ready"}

    @app.get("/v1/models", tags=["model"], responses=REFUSALS)
    async def models() -> dict[str, Any]:
        """The model, in OpenAI's form, with what its scores depend on."""
        conditions = await waits.for_(model.conditions())
        entry = {"id": conditions["model"], "object": "model", "owned_by": "qsit_ray"}
        return {"object": "list", "data": [{**entry, "conditions": conditions}]}

    @app.post("/v1/score", tags=["score"], responses=REFUSALS, openapi_extra=_body(forms.Images))
    async def score(request: Request) -> forms.Scores:
        """Scores of images: form fields named `files`, or JSON."""
        found = await scored(request)
        scores = [each for each in found if isinstance(each, Score)]
        rejects = [each for each in found if isinstance(each, Reject)]
        if not scores:
            raise Refused(422, rejects[0].reason)
        conditions = await waits.for_(model.conditions())
        return forms.Scores(scores=scores, rejects=rejects, conditions=conditions)

    @app.post("/v1/reward", tags=["score"], responses=REFUSALS, openapi_extra=_body(forms.Images))
    async def reward(request: Request) -> forms.Rewards:
        """One number from 0 to 1 for each image, for those who train generators of images."""
        found = await scored(request)
        rejects = [each for each in found if isinstance(each, Reject)]
        low, high = (await waits.for_(model.conditions()))["score_range"]
        rewards = [
            (each.score - low) / (high - low) if isinstance(each, Score) else None for each in found
        ]
        return forms.Rewards(rewards=rewards, rejects=rejects)

    async def scored(request: Request) -> list[Score | Reject]:
        images = await forms.images_of(request, limits)
        await asyncio.to_thread(_check_sizes, images, limits)
        found: list[Score | Reject] = await waits.for_(model.scores(images))
        return found

    @app.post("/v1/ask", tags=["ask"], responses=REFUSALS, openapi_extra=_body(forms.Ask))
    async def ask(request: Request) -> forms.Answers:
        """Answers to questions about an image: form fields `file`, `question` (one or more),
        `choice` and `most_tokens`, or JSON. The image is read once for all of them."""
        image, asked = await forms.ask_of(request, limits)
        found = await answered(image, asked.questions, asked.choices, asked.most_tokens)
        return forms.Answers(answers=found)

    async def answered(
        image: Content, questions: list[str], choices: list[str] | None, tokens: int
    ) -> list[Reply | Choice]:
        await asyncio.to_thread(_check_sizes, [image], limits)
        try:
            found: list[Reply | Choice] = await waits.for_(
                model.answers(image, questions, choices, tokens)
            )
            return found
        except InputError as error:
            raise Refused(422, str(error)) from None

    @app.post(
        "/v1/chat/completions",
        tags=["ask"],
        responses=REFUSALS,
        response_model=None,
        openapi_extra={"requestBody": {"required": True, "content": {JSON: _schema(forms.Chat)}}},
    )
    async def chat(request: Request) -> Response:
        """An answer in the form that OpenAI's clients speak."""
        asked = await forms.chat_of(request)
        image, question = asked.asked()
        (reply,) = await answered(image, [question], None, asked.most_tokens)
        assert isinstance(reply, Reply)
        name = (await waits.for_(model.conditions()))["model"]
        return _completion(reply, name, asked)


class Waits:
    """Waits for the model, at most so many seconds; what it raises becomes an HTTP status."""

    def __init__(self, seconds: float):
        self._seconds = seconds

    async def for_(self, answer: Any) -> Any:
        try:
            return await asyncio.wait_for(answer, self._seconds)
        except Busy:
            raise Refused(429, "too many images wait; try again later") from None
        except Deadly:
            raise Refused(500, "the model's process ended at this request, twice") from None
        except Away:
            raise Refused(503, "no model is there; try again later") from None
        except TimeoutError:
            raise Refused(504, f"no answer within {self._seconds:g} s") from None


def _check_sizes(images: Sequence[Content], limits: Limits) -> None:
    for image in images:
        forms.check_size(image, limits)


def _completion(reply: Reply, model: str, asked: forms.Chat) -> Response:
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
    ended = "stop" if reply.is_whole else "length"
    message = {"role": "assistant", "content": reply.text}
    prompt, answer = reply.prompt_tokens or 0, reply.answer_tokens or 0
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }
    if not asked.stream:
        choice = {"index": 0, "message": message, "finish_reason": ended}
        body = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return JSONResponse(body)
    chunk = {**head, "object": "chat.completion.chunk"}

    async def lines() -> AsyncIterator[str]:
        for delta, reason in ((message, None), ({}, ended)):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            yield f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"
        if asked.stream_options and asked.stream_options.include_usage:
            yield f"data: {json.dumps({**chunk, 'choices': [], 'usage': usage})}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


def _documented(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the forms of the bodies that the routes read themselves."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        _, made = models_json_schema(
            [(form, "validation") for form in (forms.Images, forms.Ask, forms.Chat)],
            ref_template=REFERENCE,
        )
        document["components"]["schemas"] |= made["$defs"]
        app.openapi_schema = document
    return app.openapi_schema


def _schema(form: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": REFERENCE.format(model=form.__name__)}}


def _body(form: type[BaseModel]) -> dict[str, Any]:
    """A request's body in OpenAPI, as JSON and as a form."""
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    if form is forms.Images:
        fields: dict[str, Any] = {"files": {"type": "array", "items": file, "minItems": 1}}
    else:
        questions = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        choices = {"type": "array", "items": {"type": "string"}}
        fields = {"file": file, "question": questions, "choice": choices}
        fields["most_tokens"] = {"type": "integer", "minimum": 1}
    needed = [name for name in fields if name not in ("choice", "most_tokens")]
    multipart = {"schema": {"type": "object", "properties": fields, "required": needed}}
    content = {MULTIPART: multipart, JSON: _schema(form)}
    return {"requestBody": {"required": True, "content": content}}


def _assets(app: FastAPI) -> None:
    for path, name in ASSETS.items():
        content = (files("qsit_ray.service") / name).read_bytes()
        kind = KINDS[name.rpartition(".")[2]]
        response = Response(content, media_type=f"{kind}; charset=utf-8")
        app.add_api_route(path, _giving(response), include_in_schema=False)


def _giving(response: Response) -> Any:
    async def give() -> Response:
        return response

    return give


async def _gone(_: Request, error: Exception) -> Response:
    """Of a client that left before its request was whole; nobody reads it but the metrics."""
    return Response(status_code=499)


async def _failed(_: Request, error: Exception) -> Response:
    """Of a defect here. Its text may hold what is nobody's business; the log has it."""
    refused = Refused(500, "the service failed; its log has the reason")
    return JSONResponse(refused.body, refused.status)


async def _refused(_: Request, error: Exception) -> Response:
    headers = {}
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})  # which methods a route has
        error = Refused(error.status_code, str(error.detail))
    elif not isinstance(error, Refused):
        error = Refused(422, "the request has a wrong field")
    return JSONResponse(error.body, error.status, {**headers, **error.headers})
