"""A Flask application of one view: a name from the path, a small page. As a developer writes it, nothing tuned."""

from flask import Flask

from apps import page

app = Flask(__name__)


@app.get("/hello/<name>")
def hello(name: str) -> str:
    return page("Hello", name)
