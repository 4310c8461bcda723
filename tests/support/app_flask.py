"""A small application written with Flask (WSGI)."""

import asyncio
from collections.abc import Iterator

from flask import Flask, Response, jsonify, request, stream_with_context

from support.apps_execution import marked

app = Flask(__name__)


@app.get("/hello/<name>")
def hello(name: str) -> str:
    return f"Hello, {name}!"


@app.post("/form")
def form() -> Response:
    return jsonify(request.form.to_dict())


@app.post("/json")
def json() -> Response:
    return jsonify(request.get_json())


@app.post("/upload")
def upload() -> Response:
    file = request.files["file"]
    return jsonify([file.filename, len(file.read())])


@app.get("/stream")
def stream() -> Response:
    def rows() -> Iterator[str]:
        for row in range(1000):
            yield f"row {row}\n"

    return Response(rows(), mimetype="text/plain")


@app.get("/mine")
def mine() -> Response:
    """Parts that the request's own token fills, looked up in Flask's context for each."""

    def parts() -> Iterator[bytes]:
        for _ in range(int(request.args["parts"])):
            yield marked(request.args["token"], int(request.args["size"]))

    return Response(stream_with_context(parts()), mimetype="text/plain")


@app.get("/async/<name>")
async def asynchronous(name: str) -> str:
    await asyncio.sleep(0.001)
    return f"Hello, {request.view_args['name']}!"


@app.get("/cookies")
def cookies() -> Response:
    response = jsonify(dict(request.cookies))
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


@app.get("/fail")
def fail() -> Response:
    raise RuntimeError("deliberate")
