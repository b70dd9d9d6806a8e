"""pure: what stands before the service's routes: token, sizes, times, and headers of answers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qsit_ray.service.limits import Limits, Refused

OPEN = ("/", "/page.css", "/page.js", "/health", "/ready", "/openapi.json")
"""Paths that need no token, and count for no limit."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
Observe = Callable[[str, int, float], None]
"""Is told of each request its route, its status and its seconds."""


def digest(token: str) -> str:
    """The SHA-256 of a token: what is kept of it."""
    return hashlib.sha256(token.encode()).hexdigest()


class Guard:
    """An ASGI application around another, which it keeps from requests over the `limits` and from
    those without the token whose SHA-256 is `token`."""

    def __init__(self, app: ASGIApp, limits: Limits, token: str | None, observe: Observe):
        self._app, self._limits, self._token, self._observe = app, limits, token, observe
        self._in_progress = 0
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status, size = time.monotonic(), 0, 0

        def take(count: int) -> None:
            nonlocal size
            size += count
            self._held += count
            if size > self._limits.body_bytes:
                raise self._too_large()
            if self._held > self._limits.held_bytes:
                raise self._full()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        counts = scope["path"] not in OPEN  # whether the service is alive may always be asked
        self._in_progress += counts
        try:
            if counts:
                self._check_client(scope)
            self._check_size(scope)
            await self._app(scope, self._limited(receive, began, take), sending)
        except Refused as refused:
            await _say(refused, sending)
        finally:
            self._in_progress -= counts
            self._held -= size
            # By its route, not its path: there are few of them whatever is asked for.
            route = getattr(scope.get("route"), "path", "other")
            self._observe(route, status, time.monotonic() - began)

    def _check_client(self, scope: Scope) -> None:
        if self._token is not None:
            kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(digest(given), self._token):
                raise Refused(401, "a token is needed: Authorization: Bearer TOKEN")
        if self._in_progress > self._limits.requests:
            raise Refused(429, "too many requests at once; try again later")

    def _check_size(self, scope: Scope) -> None:
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal():
            raise Refused(400, "Content-Length is no number")
        # By its digits first: Python refuses to convert thousands of them.
        if len(length) > 15 or int(length) > self._limits.body_bytes:
            raise self._too_large()
        if self._held + int(length) > self._limits.held_bytes:  # before it is sent
            raise self._full()

    def _limited(self, receive: Receive, began: float, take: Callable[[int], None]) -> Receive:
        whole = False

        async def limited() -> Message:
            nonlocal whole
            if whole:  # what comes then is that the client has gone
                return await receive()
            left = began + self._limits.send_seconds - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, left))
            except TimeoutError:
                reason = f"the request took more than {self._limits.send_seconds:g} s to arrive"
                raise Refused(408, reason) from None
            take(len(message.get("body", b"")))
            whole = not message.get("more_body", False)
            return message

        return limited

    def _too_large(self) -> Refused:
        return Refused(413, f"a request of more than {self._limits.body_bytes:,} bytes")

    def _full(self) -> Refused:
        return Refused(429, "too many bytes at once; try again later")


async def _say(refused: Refused, send: Send) -> None:
    body = json.dumps(refused.body).encode()
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in refused.headers.items()),
    ]
    start: dict[str, Any] = {"status": refused.status, "headers": headers}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": body})
