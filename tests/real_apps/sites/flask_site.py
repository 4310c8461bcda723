"""Flask: an async view, a stream that reads the request while it is sent, an upload, a session, a file."""

import asyncio
from collections.abc import Iterator

from flask import Flask, Response, jsonify, request, send_file, session, stream_with_context

from real_apps.sites.data import DIRECTORY
from real_apps.sizes import LINE_BYTES, LINES

app = Flask(__name__)
app.secret_key = "for tests only"


@app.get("/hello/<name>")
def hello(name: str) -> str:
    return f"Hello, {name}!"


@app.get("/async")
async def async_view() -> Response:
    await asyncio.sleep(0.01)
    return jsonify(who=request.args["who"])


@app.get("/run")
def run() -> Response:
    """What a library does that has a synchronous face and asyncio behind it."""
    return jsonify(asyncio.run(asyncio.sleep(0.01, "ran")))


@app.get("/stream")
def stream() -> Response:
    @stream_with_context
    def lines() -> Iterator[str]:
        for _ in range(LINES):
            yield f"{request.args['who']}{'.' * LINE_BYTES}\n"

    return Response(lines(), mimetype="text/plain")


@app.post("/upload")
def upload() -> Response:
    file = request.files["file"]
    content = file.read()
    return jsonify(name=file.filename, size=len(content), sum=sum(content), title=request.form["title"])


@app.route("/visits")
def visits() -> Response:
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(session["visits"])


@app.get("/file")
def file() -> Response:
    return send_file(DIRECTORY / "pattern.txt", conditional=True)
