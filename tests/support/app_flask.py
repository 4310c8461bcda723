"""A small application written with Flask (WSGI)."""

from collections.abc import Iterator

from flask import Flask, Response, jsonify, request

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


@app.get("/cookies")
def cookies() -> Response:
    response = jsonify(dict(request.cookies))
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


@app.get("/fail")
def fail() -> Response:
    raise RuntimeError("deliberate")
