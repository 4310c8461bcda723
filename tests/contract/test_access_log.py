"""The access log of a running server, ids of requests, Server-Timing, and where the server's own messages go."""

import json
import os
import re
import signal
from typing import Any

import pytest

from support.marks import each_style, engine_decides
from support.messages import render
from support.models import INTERFACES, MODELS
from support.server import Server, serve
from support.waiting import wait_until

TO_FILE = ("--access-log", "access.log")
IN_JSON = (*TO_FILE, "--access-log-format", "json")


def logged(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (server.directory / "access.log").read_text().splitlines()]


def test_durations_add_up(model: str) -> None:
    interface = INTERFACES[MODELS.index(model) % 2]
    with serve(model, interface, *IN_JSON) as server:
        assert server.get("/").status == 200
        wait_until(lambda: logged(server), "the line is written")
        (line,) = logged(server)
        assert line["total_us"] >= line["queue_us"] + line["app_us"] + line["send_us"] >= line["total_us"] - 3
        assert min(line["queue_us"], line["app_us"], line["send_us"]) >= 0


def test_client_that_leaves_is_logged(model: str) -> None:
    with serve(model, "wsgi", *IN_JSON) as server:
        with server.connect() as connection:
            connection.send(render("GET", "/send?size=20000000&parts=20"))
            connection.read_head()
        wait_until(lambda: logged(server), "the line is written")
        (line,) = logged(server)
        assert (line["status"], line["complete"]) == (200, False)
        assert line["bytes"] < 20_000_000


@each_style
def test_id_of_a_request(model: str, interface: str) -> None:
    options = ("--request-id", "X-Request-ID", "--forwarded-allow-ips", "none")
    with serve(model, interface, *IN_JSON, *options) as server:
        answer = server.get("/headers", "X-Request-ID: chosen-by-client")
        made = answer.get("x-request-id")
        assert made is not None
        assert re.fullmatch("[0-9a-f]{32}", made)
        assert made in answer.body.decode()
        assert "chosen-by-client" not in answer.body.decode()
        assert server.get("/headers").get("x-request-id") not in (made, None)
        wait_until(lambda: len(logged(server)) == 2, "both are logged")
        assert made in [line["request_id"] for line in logged(server)]


@engine_decides
def test_id_that_a_trusted_proxy_gave(model: str) -> None:
    with serve(model, "wsgi", "--request-id", "X-Request-ID") as server:
        assert server.get("/", "X-Request-ID: of-proxy.1").get("x-request-id") == "of-proxy.1"
        forged = server.get("/", "X-Request-ID: <script>").get("x-request-id")
        assert forged is not None
        assert re.fullmatch("[0-9a-f]{32}", forged)


@each_style
def test_server_timing(model: str, interface: str) -> None:
    with serve(model, interface, "--server-timing") as server:
        found = server.get("/").get("server-timing")
        assert found is not None
        assert re.fullmatch(r"queue;dur=\d+\.\d{3}, app;dur=\d+\.\d{3}", found)


@engine_decides
def test_excluded_paths_and_fields_of_answers(model: str) -> None:
    options = ("--access-log-format", "{path} {response:content-type}", "--access-log-exclude", "/healthz")
    with serve(model, "wsgi", *TO_FILE, *options, "--access-log-exclude", "/echo*") as server:
        for path in ("/healthz", "/echoes", "/"):
            server.get(path)
        file = server.directory / "access.log"
        wait_until(lambda: bool(file.read_text()), "a line is written")
        assert re.fullmatch(r"/ [a-z]+/[a-z-]+.*\n", file.read_text())


@engine_decides
def test_no_line_is_lost_at_a_stop(model: str) -> None:
    with serve(model, "wsgi", *IN_JSON, "--workers", "2") as server:
        for _ in range(20):
            assert server.get("/").status == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert len(logged(server)) == 20


LOG_CONFIG = """
[formatters.short]
format = "%(levelname)s|%(message)s"
[handlers.file]
class = "logging.FileHandler"
filename = "own.log"
formatter = "short"
[loggers."septet.access"]
handlers = ["file"]
propagate = false
"""


@engine_decides
@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_access_log_by_a_logging_configuration(model: str, suffix: str, tmp_path: Any) -> None:
    import tomllib

    file = tmp_path / f"logging.{suffix}"
    file.write_text(LOG_CONFIG if suffix == "toml" else json.dumps(tomllib.loads(LOG_CONFIG)))
    options = ("--access-log", "logger", "--access-log-format", "{path}", "--log-config", str(file))
    with serve(model, "wsgi", *options) as server:
        server.get("/a")
        own = server.directory / "own.log"
        wait_until(lambda: own.exists() and own.read_text() == "INFO|/a\n", "the line is there")


@engine_decides
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[handlers", "which is no valid TOML"),
        ('[handlers.x]\nclass = "no.such.Handler"', "which logging.config refuses"),
        (None, "which cannot be read: No such file or directory"),
    ],
)
def test_logging_configuration_with_a_mistake(model: str, content: str | None, complaint: str, tmp_path: Any) -> None:
    file = tmp_path / "logging.toml"
    if content is not None:
        file.write_text(content)
    with serve(model, "wsgi", "--log-config", str(file), wait_ready=False) as server:
        assert server.wait() == 2
        assert complaint in server.stderr()
        assert len(server.stderr().splitlines()) == 1


@engine_decides
def test_logging_configuration_that_is_no_object(model: str, tmp_path: Any) -> None:
    file = tmp_path / "logging.json"
    file.write_text("[]")
    with serve(model, "wsgi", "--log-config", str(file), wait_ready=False) as server:
        assert server.wait() == 2
        assert server.stderr() == f"septet: --log-config is '{file}', which is no valid JSON object\n"


@engine_decides
def test_logging_configuration_in_a_named_pipe(model: str, tmp_path: Any) -> None:
    """Each process of the server would wait for somebody to write into it, and only one would read it."""
    file = tmp_path / "logging.toml"
    os.mkfifo(file)
    with serve(model, "wsgi", "--log-config", str(file), wait_ready=False) as server:
        assert server.wait() == 2
        assert server.stderr() == f"septet: --log-config is '{file}', but must be the path of a regular file\n"


@engine_decides
def test_messages_in_json(model: str) -> None:
    with serve(model, "wsgi", "--log-format", "json") as server:
        assert server.get("/fail?when=before+start").status == 500
        wait_until(lambda: "the application raised" in server.stderr(), "it is logged")
        record = next(json.loads(line) for line in server.stderr().splitlines() if line.startswith("{"))
        assert (record["level"], record["logger"]) == ("ERROR", "septet")
        assert "DeliberateError" in record["traceback"]
