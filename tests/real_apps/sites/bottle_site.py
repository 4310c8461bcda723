"""Bottle: its thread-local `request` read by a generator while the answer is sent, a form, a file."""

from collections.abc import Iterator

from bottle import Bottle, HTTPResponse, request, response, static_file

from real_apps.sites.data import DIRECTORY
from real_apps.sizes import LINE_BYTES, LINES

app = Bottle()


@app.get("/hello/<name>")
def hello(name: str) -> str:
    response.set_cookie("name", "you")
    response.add_header("X-Twice", "1")
    response.add_header("X-Twice", "2")
    return f"Hello, {name}!"


@app.get("/stream")
def stream() -> Iterator[str]:
    response.content_type = "text/plain; charset=utf-8"
    for _ in range(LINES):
        yield f"{request.query.who}{'.' * LINE_BYTES}\n"


@app.post("/form")
def form() -> dict[str, str]:
    return {"name": request.forms.name, "remark": request.forms.remark}


@app.get("/file")
def file() -> HTTPResponse:
    return static_file("pattern.txt", root=DIRECTORY)
