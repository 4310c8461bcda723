"""`--mount` and `--root-path`: several applications behind one address, each under its own path, under every model."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.client import Connection, Response
from support.marks import each_style
from support.messages import chunked, pattern, render
from support.models import EVENT_DRIVEN, STYLES
from support.server import APP_DIR, Server, complaints, serve
from support.waiting import wait_until
from support.websocket import raw_websocket

APP = "support.app_mounted"

PLACED = "support.apps_placed"
HOST = "http://example.test"

#: Longer and shorter routes, in an order that is not that of their lengths.
FRAMEWORKS = (
    f"--mount=/shop={APP}:shop",
    f"--mount=/api={APP}:api",
    f"--mount=/api/old={PLACED}:make_plain()",
    f"--mount=/sites/django={APP}:django",
    f"--mount=/caf%C3%A9={PLACED}:make_plain()",
)


def value(response: Response) -> dict[str, str]:
    assert response.status == 200, response
    found = json.loads(response.body)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("model", [*STYLES, "forking", "io_uring"])
def test_frameworks_together(model: str) -> None:
    """One start for a whole tour, by each way to move bytes. Small applications are mounted under every model below."""
    with Server("--model", model, *FRAMEWORKS, "--access-log", "access.log") as server:
        server.journal.wait_for("started api")
        assert_flask(server)
        assert_fastapi(server)
        assert_django(server)
        assert_routes(server)
        with server.connect() as connection:
            assert_bodies(connection)
        with server.connect() as connection:
            assert_pipelined(connection)
        with raw_websocket(server.address, "/api/talk") as socket:
            frame = socket.read()
            assert frame is not None
            assert frame.payload == b"/api /api/talk /api/talk"
        server.stop()
        assert server.journal.lines().count("ended api") == server.journal.lines().count("started api") >= 1
        assert "GET /shop/goods/nuts HTTP/1.1" in (server.directory / "access.log").read_text()
        assert not server.complaints()


def assert_flask(server: Server) -> None:
    assert value(server.get("/shop/goods/nuts")) == {
        "path": "/goods/nuts",
        "script": "/shop",
        "url": "/shop/goods/nuts",
        "whole": f"{HOST}/shop/goods/nuts",
    }
    assert server.get("/shop/old").get("location") == "/shop/goods/new"
    assert server.get("/shop/").body == b"shop"
    assert server.get("/shop/nosuch").status == 404


def assert_fastapi(server: Server) -> None:
    for target, raw in (("/api/items/1", "/api/items/1"), ("/%61pi/items/1", "/%61pi/items/1")):
        assert value(server.get(target)) == {
            "url": f"{HOST}/api/items/1",
            "whole": f"{HOST}/api/items/1",
            "root": "/api",
            "path": "/api/items/1",
            "raw": raw,
            "greeting": "hello",
        }
    assert server.get("/api/old_item").status == 404
    assert server.get("/api/slashed").get("location") == f"{HOST}/api/slashed/"
    described = json.loads(server.get("/api/openapi.json").body)
    assert described["servers"] == [{"url": "/api"}]
    assert b"'/api/openapi.json'" in server.get("/api/docs").body


def assert_django(server: Server) -> None:
    assert value(server.get("/sites/django/where?x=1")) == {
        "path": "/sites/django/where",
        "own": "/where",
        "url": "/sites/django/hello/Ann",
        "whole": f"{HOST}/sites/django/where?x=1",
    }


def assert_routes(server: Server) -> None:
    """Whole segments count, percent-decoded; the longest route wins; nobody answers for the rest."""
    for target in ("/", "/apis", "/api%", "/shopping", "/sites", "/sites/djangos/where", "/caf%C3"):
        assert server.get(target).status == 404, target
    assert server.get("/api/old").body == b"/api/old|"
    assert server.get("/api/old/").body == b"/api/old|/"
    assert server.get("/api%2Fold/x").body == b"/api/old|/x"
    assert server.get("/caf%C3%A9/%C3%BC?q").body == "/café|/ü".encode()
    assert server.request("OPTIONS", "*").status == 204


def assert_bodies(connection: Connection) -> None:
    """Alternately for each kind of application, on one connection; in one piece, and in chunks."""
    body = pattern(300_000)
    for _ in range(2):
        for path in ("/shop/measure", "/api/measure"):
            assert connection.request("POST", path, body=body).body == b"300000"
            connection.send(render("POST", path, "Transfer-Encoding: chunked") + chunked(body[:5000], 999))
            assert connection.read_response().body in (b"5000", b"0")  # Flask wants wsgi.input_terminated


def assert_pipelined(connection: Connection) -> None:
    targets = ["/api/old/1", "/api/items/2", "/shop/", "/api/items/3", "/api/items/4", "/nosuch", "/api/old/5"] * 4
    connection.send(b"".join(render("GET", target) for target in targets))
    for target in targets:
        response = connection.read_response()
        if target.startswith("/api/items/"):
            assert json.loads(response.body)["path"] == target
        else:
            expected = {"/shop/": b"shop", "/nosuch": b"Not Found\n"}
            assert response.body == expected.get(target, target.replace("/old/", "/old|/").encode())


def test_rest_is_for_app_and_directories_have_their_routes(model: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("a file")
    (tmp_path / "directory").mkdir()
    places = (f"--static=/api/files={tmp_path}", f"--mount=/api={PLACED}:make_plain()", f"--static=/s={tmp_path}")
    with Server(f"{PLACED}:other", "--model", model, *places) as server:
        assert server.get("/apis").body == b"|/apis"
        assert server.get("/").body == b"|/"
        assert server.get("/api/x").body == b"/api|/x"
        assert server.get("/api/files/file.txt").body == b"a file"
        assert server.get("/s/directory").get("location") == "/s/directory/"
        server.stop()
        lines = server.journal.lines()
        assert lines.count("other lifespan.startup") == lines.count("other lifespan.shutdown") >= 1


@pytest.mark.parametrize("kept", [False, True], ids=["taken-off", "kept"])
@each_style
def test_root_path(model: str, kept: bool, tmp_path: Path) -> None:
    """Behind a proxy that takes the prefix off, and behind one that leaves it: applications see the same."""
    (tmp_path / "directory").mkdir()
    before = "/w%20w" if kept else ""
    options = ("--root-path", "/w w", "--static", f"/s={tmp_path}", *(("--root-path-kept",) if kept else ()))
    places = (f"--mount=/a={PLACED}:other", f"--mount=/a/b={PLACED}:make_plain()")
    with Server(f"{PLACED}:other", "--model", model, *places, *options) as server:
        assert server.get(f"{before}/a/x").body == b"/w w/a|/w w/a/x"
        assert server.get(f"{before}/a/b/x").body == b"/w w/a/b|/x"
        assert server.get(f"{before}/x").body == b"/w w|/w w/x"
        assert server.get(f"{before}/s/directory").get("location") == "/w%20w/s/directory/"
        # A request that has the prefix once more than the proxy sends is no other request.
        assert server.get(f"{before}/w%20w/a/b/x").body == b"/w w|/w w/w w/a/b/x"
        if kept:
            assert server.get("/w%20w").body == b"/w w|/w w"
            assert [server.get(target).status for target in ("/", "/x", "/w%20wx", "/a/b")] == [404] * 4


@pytest.mark.parametrize("kept", [False, True], ids=["taken-off", "kept"])
def test_frameworks_and_a_root_path(kept: bool) -> None:
    before = "/root" if kept else ""
    options = ("--root-path", "/root", *(("--root-path-kept",) if kept else ()))
    with Server("--model", "epoll", *FRAMEWORKS, *options) as server:
        found = value(server.get(f"{before}/api/items/1"))
        assert (found["root"], found["path"], found["raw"]) == ("/root/api", "/root/api/items/1", "/root/api/items/1")
        assert found["url"] == f"{HOST}/root/api/items/1"
        assert value(server.get(f"{before}/shop/goods/a"))["url"] == "/root/shop/goods/a"
        assert value(server.get(f"{before}/sites/django/where"))["url"] == "/root/sites/django/hello/Ann"
        assert json.loads(server.get(f"{before}/api/openapi.json").body)["servers"] == [{"url": "/root/api"}]


@pytest.mark.parametrize("kept", [False, True], ids=["taken-off", "kept"])
@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_root_path_of_a_sole_application(interface: str, kept: bool) -> None:
    app = "make_plain" if interface == "wsgi" else "other"
    factory = ("--factory",) if interface == "wsgi" else ()
    options = ("--root-path", "/shop", *(("--root-path-kept",) if kept else ()), *factory)
    with serve("epoll", "auto", *options, app=f"{PLACED}:{app}") as server:
        answer = server.get("/shop/x" if kept else "/x").body
        assert answer == (b"/shop|/x" if interface == "wsgi" else b"/shop|/shop/x")


def test_wsgi_application_that_waits_holds_nobody_up(model: str, token: str) -> None:
    """Not the loop, on which the ASGI application runs; and a stop waits for it."""
    if model == "iterative":
        pytest.skip("one client at a time")
    mounts = ("--mount=/wsgi=support.apps_wsgi:app", f"--mount=/asgi={PLACED}:other")
    with Server("--model", model, *mounts) as server, server.connect() as waiting:
        waiting.send(render("GET", f"/wsgi/gate?gate={token}"))
        server.journal.wait_for(f"at gate {token}")
        with server.connect() as connection:
            for _ in range(3):
                assert connection.request("GET", "/asgi/x").body == b"/asgi|/asgi/x"
        if model in EVENT_DRIVEN:
            assert server.get("/wsgi/").status == 200
        server.send_signal(signal.SIGTERM)
        server.journal.open_gate(token)
        assert waiting.read_response().body == b"rest"
        assert server.wait() == 0
        assert not server.complaints()


@pytest.mark.parametrize("model", sorted(EVENT_DRIVEN))
def test_threads_bound_the_requests_of_wsgi(model: str, token: str) -> None:
    mounts = ("--mount=/wsgi=support.apps_wsgi:app", f"--mount=/asgi={PLACED}:other", "--threads", "2")
    with Server("--model", model, *mounts) as server, server.connect() as one, server.connect() as two:
        for connection in (one, two):
            connection.send(render("GET", f"/wsgi/gate?gate={token}"))
        wait_until(lambda: server.journal.count(f"at gate {token}") == 2, "both wait")
        with server.connect() as third:
            third.send(render("GET", "/wsgi/"))
            assert server.get("/asgi/").status == 200
            assert not third.has_data(0.1)
            server.journal.open_gate(token)
            assert third.read_response().status == 200
        assert [one.read_response().body, two.read_response().body] == [b"rest"] * 2
        with server.connect() as slow:  # whose client leaves while a thread writes for it
            slow.send(render("GET", "/wsgi/stream?parts=100000&size=1000"))
            slow.read_head()
        assert server.get("/wsgi/").status == 200


@pytest.mark.parametrize("model", ["prethreaded", "epoll", "io_uring"])
def test_request_timeout_of_each_kind(model: str) -> None:
    applications = ("--mount=/wsgi=support.app_late:wsgi", "support.app_late:asgi")
    options = ("--request-timeout", "0.3", "--graceful-timeout", "1")
    with Server("--model", model, *applications, *options) as server:
        for path, kind in (("/wsgi/waits", "thread"), ("/waits", "task")):
            assert server.get(path).status == 504
            wait_until(lambda path=path: f"GET {path} of" in server.stderr(), "it is logged")
            record = server.stderr()[server.stderr().index(f"GET {path} of") :]
            assert f"{kind} " in record
        (server.directory / "released").touch()


@each_style
def test_application_that_is_mounted_twice_is_started_once(model: str) -> None:
    with Server("--model", model, f"--mount=/a={PLACED}:other", f"--mount=/b={PLACED}:other") as server:
        for route in ("/a", "/b"):
            assert server.get(f"{route}/greeting").body == f"{route}|hello".encode()
        server.stop()
        assert server.journal.lines() == ["other lifespan.startup", "other lifespan.shutdown"]


@each_style
def test_failure_names_the_application_and_ends_the_others(model: str) -> None:
    mounts = (f"--mount=/a={PLACED}:other", f"--mount=/b={PLACED}:fails", f"--mount=/c={PLACED}:make_plain()")
    with Server("--model", model, *mounts, wait_ready=False) as server:
        assert server.wait() != 0
        assert "the application at /b did not start: deliberate\n" in server.stderr()
        assert server.journal.lines() == ["other lifespan.startup", "other lifespan.shutdown"]
        assert not complaints(server.stderr())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mount", "/a=nosuch:app"], "the application 'nosuch:app' at /a: there is no module 'nosuch'"),
        (["--mount", f"/a={PLACED}:make_plain"], "give () after it"),
        (["--mount", f"/a={PLACED}:nosuch"], f"at /a: {PLACED} has no attribute 'nosuch'"),
        (
            ["--mount", "/a=asgi:support.apps_wsgi:app"],
            "at /a cannot be called with (scope, receive, send), as ASGI has it",
        ),
        (
            ["--mount", "/a=support.apps_wsgi:app", "--mount", f"/b={PLACED}:other", "--threads", "0"],
            "--threads is 0, but must be",
        ),
        (
            ["--mount", "/a=support.apps_wsgi:app", "--mount", "/%61/=support.apps_wsgi:app"],
            "--mount gives /a/ more than once",
        ),
        (["--mount", "/a=support.apps_wsgi:app", "--static", "/a=/"], "--static gives /a/ as --mount does"),
        (
            ["--mount", "/=support.apps_wsgi:app"],
            "--mount is '/=support.apps_wsgi:app', but must have a ROUTE such as /api",
        ),
        (["--mount", "/a=shop"], "--mount is '/a=shop', but must be ROUTE=MODULE:ATTRIBUTE"),
        (
            ["support.apps_wsgi:app", "--root-path", "shop/"],
            "--root-path is 'shop/', but must be a path that begins with /",
        ),
    ],
)
def test_wrong_mounts(arguments: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "septet", "serve", "--bind", "127.0.0.1:0", "--app-dir", APP_DIR, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert said in done.stderr


class Filed(Server):
    """A server with a supervisor whose mounts are in a file."""

    def prepare(self) -> None:
        self.mount("/first")

    def mount(self, route: str) -> None:
        (self.directory / "septet.toml").write_text(
            f'mount = ["{route}={PLACED}:other", "/wsgi={PLACED}:make_plain()"]\n'
        )


def test_mounts_of_a_file_are_read_anew_at_hup() -> None:
    with Filed("--model", "epoll", "--supervisor") as server:
        assert server.get("/first/x").body == b"/first|/first/x"
        server.mount("/second")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: server.get("/second/x").body == b"/second|/second/x", "the new route answers")
        assert server.get("/first/x").status == 404
        assert server.get("/wsgi/").body == b"/wsgi|/"
