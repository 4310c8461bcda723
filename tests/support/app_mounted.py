"""Three real frameworks that are served together: Flask and Django as WSGI, FastAPI as ASGI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import flask
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import RedirectResponse

from support import journal
from support.app_django import wsgi as django_wsgi

shop = flask.Flask(__name__)


@shop.get("/")
def home() -> str:
    return "shop"


@shop.get("/goods/<name>")
def goods(name: str) -> Any:
    where = flask.url_for("goods", name=name)
    return flask.jsonify(path=flask.request.path, script=flask.request.script_root, url=where, whole=flask.request.url)


@shop.get("/old")
def old() -> Any:
    return flask.redirect(flask.url_for("goods", name="new"))


@shop.post("/measure")
def measure() -> str:
    return str(len(flask.request.get_data()))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    journal.write("started api")
    yield {"greeting": "hello"}
    journal.write("ended api")


api = FastAPI(lifespan=_lifespan)


@api.get("/items/{number}")
async def item(number: int, request: Request) -> dict[str, Any]:
    return {
        "url": str(request.url_for("item", number=number)),
        "whole": str(request.url),
        "root": request.scope["root_path"],
        "path": request.scope["path"],
        "raw": request.scope["raw_path"].decode(),
        "greeting": request.state.greeting,
    }


@api.get("/old")
async def old_item(request: Request) -> RedirectResponse:
    return RedirectResponse(request.url_for("item", number=2))


@api.get("/slashed/")
async def slashed() -> str:
    return "slashed"


@api.post("/measure")
async def measured(request: Request) -> int:
    return len(await request.body())


@api.websocket("/talk")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(f"{socket.scope['root_path']} {socket.scope['path']} {socket.url.path}")
    await socket.close()


django = django_wsgi
