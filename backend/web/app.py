"""The application as a value built from its parts."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException

from backend import __version__
from backend.errors import UserError
from backend.pipeline.parts import Parts
from backend.telemetry import logger
from backend.web import api, protocol
from backend.web.middleware import AsciiJSON, Guard

log = logger("web")


def create_app(parts: Parts, *, preload: bool = True) -> FastAPI:
    """The web application. ``preload``: load the base model in the background as soon as the server starts."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if preload:
            threading.Thread(target=_preload, args=(parts,), daemon=True, name="preload").start()
        yield

    app = FastAPI(
        title="ls-active",
        version=__version__,
        description="Active-learning backend for Label Studio.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    app.include_router(protocol.router)
    app.include_router(api.router)
    app.add_middleware(Guard, settings=parts.settings)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(UnicodeEncodeError, _bad_text)
    app.add_exception_handler(PydanticSerializationError, _bad_text)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http_error)
    return app


def _preload(parts: Parts) -> None:
    try:
        parts.host.encoder()
    except UserError as error:
        log.error("the base model cannot be loaded", reason=error.sentence())


async def _user_error(_: Request, error: Exception) -> AsciiJSON:
    assert isinstance(error, UserError)
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else None
    content = {"error": str(error), "hint": error.hint}
    return AsciiJSON(content, status_code=error.status, headers=headers)


async def _bad_request(_: Request, error: Exception) -> AsciiJSON:
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
    content: dict[str, Any] = {"error": "; ".join(problems), "hint": "See /openapi.json for what this route takes."}
    return AsciiJSON(content, status_code=422)


async def _bad_text(_: Request, error: Exception) -> AsciiJSON:
    content = {
        "error": "A text holds half of a surrogate pair, which no encoding can store.",
        "hint": "Send whole text.",
    }
    return AsciiJSON(content, status_code=422)


async def _http_error(_: Request, error: Exception) -> AsciiJSON:
    assert isinstance(error, HTTPException)
    return AsciiJSON({"error": str(error.detail), "hint": ""}, status_code=error.status_code, headers=error.headers)
