"""What surrounds every request: its size is bounded, who asks is known, it is counted, and a bug is not shown."""

import base64
import binascii
import hmac
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.settings import Settings
from backend.telemetry import REQUEST_SECONDS, REQUESTS, logger

log = logger("web")

SECRET_HEADER = "x-ls-active-secret"
OPEN_ROUTES = ("/", "/health", "/openapi.json")


class AsciiJSON(JSONResponse):
    """JSON with escapes, so that any string a caller sent can be sent back in an error."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


class Guard:
    """Pure ASGI, so that the body is counted while it comes in and nothing is buffered twice."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._limit = settings.max_body_mb * 2**20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        start = time.perf_counter()
        status = [500]

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        response = self._refuse(request)
        if response is not None:
            await response(scope, receive, counted_send)
        else:
            await self._serve(request, receive, counted_send)
        if status[0] == 401 and request.url.path == "/webhook":
            log.warning("an event was refused: the webhook's secret is not ours", hint="`ls-active doctor PROJECT`")
        route = getattr(scope.get("route"), "path", "other")
        REQUESTS.labels(route, status[0]).inc()
        REQUEST_SECONDS.labels(route).observe(time.perf_counter() - start)

    async def _serve(self, request: Request, receive: Receive, send: Send) -> None:
        received = [0]
        started = [False]

        async def bounded_receive() -> Message:
            message = await receive()
            received[0] += len(message.get("body", b""))
            if received[0] > self._limit:
                raise HTTPException(413, self._size_sentence())
            return message

        async def watched_send(message: Message) -> None:
            started[0] = True
            await send(message)

        try:
            await self._app(request.scope, bounded_receive, watched_send)
        except Exception:
            number = uuid.uuid4().hex[:12]
            log.exception("bug", request=number, method=request.method, path=request.url.path)
            if started[0]:
                return
            content = {"error": "An unexpected error.", "hint": f"The server's log has it under request {number}."}
            await AsciiJSON(content, status_code=500)(request.scope, receive, send)

    def _refuse(self, request: Request) -> Response | None:
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limit:
            return self._too_large()
        if request.url.path in OPEN_ROUTES or self._may(request):
            return None
        return AsciiJSON(
            {
                "error": "Credentials are missing or wrong.",
                "hint": "Set the same user and password in Label Studio's model settings; `ls-active connect` does it.",
            },
            status_code=401,
            headers={"WWW-Authenticate": 'Basic realm="ls-active"'},
        )

    def _may(self, request: Request) -> bool:
        """Basic for everything; the webhook may bring its own secret instead, since Label Studio sends no Basic there.

        Without Basic in the settings only the webhook is guarded. START_TRAINING, which Label Studio sends with Basic
        or with nothing, is let through to the route, which looks at the action.
        """
        user = self._settings.basic_auth_user
        basic = not user or _basic_is(request.headers, user, self._settings.basic_auth_password.get_secret_value())
        if request.url.path == "/webhook":
            secret = hmac.compare_digest(
                request.headers.get(SECRET_HEADER, "").encode(), self._settings.webhook_token.encode()
            )
            request.scope["state"] = {**request.scope.get("state", {}), "secret": secret, "basic": bool(user) and basic}
            return secret or basic
        return basic

    def _too_large(self) -> Response:
        return AsciiJSON({"error": self._size_sentence(), "hint": ""}, status_code=413)

    def _size_sentence(self) -> str:
        limit = f"The request body is larger than {self._settings.max_body_mb} MB"
        return f"{limit}: send fewer tasks at a time, or set MAX_BODY_MB."


def _basic_is(headers: Mapping[str, str], user: str, password: str) -> bool:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        given = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    known = f"{user}:{password}"
    # Label Studio's client, Python's `requests`, sends Latin-1, which has no more than 256 characters
    encodings = ("utf-8", "latin-1") if all(ord(c) < 256 for c in known) else ("utf-8",)
    return any(hmac.compare_digest(given, known.encode(encoding)) for encoding in encodings)
