"""The examples of docs/discussion/where-to-put.md, taken from the page, put into a copy of the source, and run."""

import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import septet
from support.client import Connection
from support.messages import pattern
from support.models import MODELS, refusal
from support.server import Server, loopback
from support.waiting import PATIENCE_S

SOURCE = Path(septet.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "discussion" / "where-to-put.md"

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r'^```(python|diff) title="src/septet/([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)

APPLICATION = """
def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "6")])
    return [b"hello\\n"]


def simple(method, path):
    return 201, f"{method} {path}"
"""


def examples() -> dict[str, list[tuple[str, str, str]]]:
    """The blocks of each section: "python" (a new file) or "diff", the path in the package, and the text."""
    parts = _SECTION.split(PAGE.read_text("utf-8"))[1:]
    return {title: _BLOCK.findall(text) for title, text in zip(parts[::2], parts[1::2], strict=True)}


def sides(diff: str) -> tuple[str, str]:
    """The lines before and after a change."""
    lines = diff.splitlines(keepends=True)
    return tuple("".join(line[1:] for line in lines if line[0] in (sign, " ")) for sign in "-+")  # type: ignore[return-value]


class Tree:
    """A copy of the source with the examples of one section in it."""

    def __init__(self, directory: Path, section: str) -> None:
        self.directory = directory
        package = directory / "septet"
        shutil.copytree(SOURCE, package)  # with the bytecode: half of the time of a start
        blocks = examples()[section]
        assert blocks, f"the section {section!r} has no examples"
        for kind, path, text in blocks:
            file = package / path
            if kind == "python":
                assert not file.exists(), f"{path} is there already"
                file.write_text(text, "utf-8")
                continue
            before, after = sides(text)
            old = file.read_text("utf-8")
            assert old.count(before) == 1, f"{path} has these lines {old.count(before)} times:\n{before}"
            file.write_text(old.replace(before, after), "utf-8")
        (directory / "shop.py").write_text(APPLICATION)

    def serve(self, *arguments: str) -> Server:
        return Server("--app-dir", str(self.directory), *arguments, environment={"PYTHONPATH": str(self.directory)})

    def run(self, *arguments: str) -> str:
        """Standard output of `python ARGUMENTS`, with the copy as `septet`."""
        command = [sys.executable, *arguments]
        environment = {"PYTHONPATH": str(self.directory)}
        done = subprocess.run(command, env=environment, cwd=self.directory, check=True, capture_output=True, text=True)
        return done.stdout


@pytest.fixture
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree", request.param)


def section(title: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("tree", [title], indirect=True)


@section("A model")
def test_a_model(tree: Tree) -> None:
    assert "pinned" in tree.run("-m", "septet", "models", "--names").split()
    with tree.serve("shop:hello", "--model", "pinned", "--workers", "2") as server:
        assert (server.ready[0].model, server.get("/").body) == ("pinned", b"hello\n")


@section("An application interface")
@pytest.mark.parametrize("model", ["epoll", "threaded"])
def test_an_interface(tree: Tree, model: str) -> None:
    with tree.serve("shop:simple", "--interface", "simple", "--model", model) as server:
        answer = server.request("PUT", "/socks")
        assert (answer.status, answer.body) == (201, b"PUT /socks")


@section("A protocol")
@pytest.mark.parametrize("model", MODELS)
def test_a_protocol(tree: Tree, model: str) -> None:
    if reason := refusal(model):
        pytest.skip(reason)
    with socket.socket() as free:
        free.bind((loopback(), 0))
        port = free.getsockname()[1]
    options = ("--bind", f"{loopback()}:{port}", "--echo-port", str(port), "--model", model)
    with tree.serve("shop:hello", *options) as server:
        with socket.create_connection((loopback(), port), PATIENCE_S) as echo, echo.makefile("rb") as file:
            for number in range(3):
                echo.sendall(b"line %d\n" % number)
                assert file.readline() == b"line %d\n" % number
            much = pattern(300_000)
            sender = threading.Thread(target=lambda: (echo.sendall(much), echo.shutdown(socket.SHUT_WR)))
            sender.start()
            assert file.read() == much
            sender.join()
        http = next(ready.address for ready in server.ready if ready.address != (loopback(), port))
        with Connection(http) as connection:
            assert connection.request("GET", "/").body == b"hello\n"


@section("An option")
def test_an_option(tree: Tree) -> None:
    assert "--linger-timeout SECONDS" in tree.run("-m", "septet", "serve", "--help")
    program = (
        "from septet.service import rules_of; from septet.settings.config import Config; "
        "print(rules_of(Config(linger_timeout=7.0), None).timeouts.linger)"
    )
    assert tree.run("-c", program) == "7.0\n"


@section("A metric")
def test_a_metric(tree: Tree) -> None:
    assert "zombies" in tree.run("-m", "septet", "compare", "--help")
    assert "| `zombies` |" in tree.run("-c", "from septet.lab import metrics; print(metrics.reference())")


@section("A metric of the running server")
def test_a_metric_of_the_server(tree: Tree) -> None:
    with tree.serve("shop:hello", "--metrics-bind", "unix:metrics") as server:
        with server.connect() as connection:
            connection.send(b"nonsense\r\n\r\n")
            assert connection.read_response().status == 400
        with Connection(str(server.directory / "metrics")) as connection:
            assert b"\nseptet_requests_invalid_total 1.0\n" in connection.request("GET", "/metrics").body
        with Connection(str(server.directory / "metrics")) as connection:
            assert b'"invalid": 1,' in connection.request("GET", "/status.json").body


@section("A field of the access log")
def test_a_field_of_a_log(tree: Tree, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with tree.serve("shop:hello", "--access-log", str(log), "--access-log-format", "{path} {body_bytes}") as server:
        server.request("POST", "/", body=b"four")
    assert log.read_text() == "/ 4\n"


def test_every_section_is_run() -> None:
    """The marks above name all sections of the page."""
    here = Path(__file__).read_text("utf-8")
    assert [title for title in examples() if f'@section("{title}")' not in here] == []
