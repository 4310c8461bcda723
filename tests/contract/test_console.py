"""The console: its page in a browser, its commands in a terminal, and the control socket."""

import contextlib
import io
import json
import os
import pty
import re
import shutil
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from septet.cli import septet as cli
from septet.console.ask import Asked
from septet.console.words import figures
from septet.errors import Failed
from septet.settings.command import run
from support.marks import each_style, engine_decides
from support.messages import render
from support.needs import lacking
from support.processes import children
from support.server import Server, serve
from support.waiting import wait_until

WIDTHS = (390, 1280)
WAIT_MS = 60_000


def septet(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "septet", *arguments], capture_output=True, text=True, timeout=60)


def ordered(order: str, where: Path) -> None:
    done = septet("control", order, str(where))
    assert (done.returncode, done.stderr) == (0, "")


def controlled(model: str, *options: str) -> Server:
    return serve(model, "wsgi", "--control", "control", *options)


@each_style
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "supervised"])
def test_status_and_stop(model: str, workers: tuple[str, ...]) -> None:
    with controlled(model, *workers) as server:
        where = server.directory / "control"
        assert stat.S_IMODE(where.stat().st_mode) == 0o600
        for _ in range(3):
            assert server.get("/").status == 200
        wait_until(lambda: "3 answered" in septet("status", str(where)).stdout, "all are counted")
        told = septet("status", str(where)).stdout
        assert re.match(rf"Septet \S+: support\.apps_wsgi:app, {model}, ready, up \d+ s, pid {server.pid}\n", told)
        found = json.loads(septet("status", "--json", f"unix:{where}").stdout)
        assert len(found["processes"]) == (3 if workers else 1)
        ordered("stop", where)
        assert server.wait() == 0
        who = rf"order by the control socket: stop, from pid \d+ \(\S+\), user {os.geteuid()}\n"
        assert re.search(who, server.stderr())
        assert not where.exists()


@engine_decides
def test_reload_without_a_supervisor_is_refused(model: str) -> None:
    with controlled(model, "--no-supervisor") as server:
        refused = septet("control", "reload", str(server.directory / "control"))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == "septet: only a server with a supervisor (--supervisor) can reload\n"


@engine_decides
def test_orders_are_taken_at_the_control_socket_alone(model: str) -> None:
    with controlled(model, "--metrics-bind", "127.0.0.1:0") as server:
        found = re.search(r"metrics at http://(\S+)", server.stderr())
        assert found is not None
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{found[1]}/orders/stop", data=b"", timeout=60)
        refused = septet("control", "stop", found[1])
        assert refused.returncode == 2
        assert "orders are taken only at the unix socket of --control" in refused.stderr
        assert server.get("/").status == 200


AS_NOBODY = """
import os, socket, sys
client = socket.socket(socket.AF_UNIX)
os.chdir(sys.argv[1])
os.seteuid(65534)
client.connect("control")
try:
    client.sendall(b"POST /orders/stop HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(client.recv(100))
except ConnectionError:
    print(b"")
"""


@engine_decides
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_other_users_are_not_listened_to(model: str) -> None:
    """Not even if somebody has opened the socket's permissions to them."""
    with controlled(model) as server:
        (server.directory / "control").chmod(0o666)
        server.directory.chmod(0o755)
        command = [sys.executable, "-c", AS_NOBODY, str(server.directory)]
        done = subprocess.run(command, timeout=60, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("b''\n", "")
        assert server.get("/").status == 200


def test_server_that_does_not_answer(tmp_path: Path) -> None:
    done = septet("status", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr == f"septet: {tmp_path / 'none'} does not answer: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("status", "9012"), r"WHERE is '9012', but must be .* HOST:PORT .* \(did you mean 127\.0\.0\.1:9012\?\)"),
        (("status", "nonsense"), "WHERE is 'nonsense', but must be"),
        (("top", "https://127.0.0.1:9012"), "WHERE is 'https://127.0.0.1:9012', but must be"),
        (("status",), "WHERE is missing, but must be the path of a control socket .* or set SEPTET_CONTROL"),
        (("control", "stop"), r"WHERE is missing, but must be the path of a control socket \(--control\); or set"),
        (("control", "stopp", "x.sock"), r"ORDER is 'stopp', but must be one of stop, .*fewer \(did you mean stop\?\)"),
        (("control",), "ORDER is missing, but must be one of stop, reload"),
        (("control", "stop", "127.0.0.1:9012"), "orders are taken only at the unix socket of --control"),
    ],
)
def test_wrong_where(arguments: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEPTET_CONTROL", raising=False)
    out = io.StringIO()
    with contextlib.redirect_stderr(out):
        assert run(cli, list(arguments)) == 2
    assert re.fullmatch(rf"septet: [^\n]*{sentence}[^\n]*\n", out.getvalue())


@pytest.mark.parametrize(("status", "content"), [(200, b"<html>"), (404, b"<html>"), (200, b"[]"), (202, b"{}")])
def test_address_of_an_application(status: int, content: bytes, tmp_path: Path) -> None:
    """No page of it is shown, and an order that it answers has not been given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.UnixStreamServer(str(tmp_path / "app.sock"), Handler) as server:
        asked = Asked(f"unix:{tmp_path}/app.sock")
        thread = threading.Thread(target=lambda: (server.handle_request(), server.handle_request()))
        thread.start()
        with pytest.raises(Failed, match=r"^no Septet answers metrics at unix:\S+app.sock; give the path of --c"):
            asked.status()
        with pytest.raises(Failed, match=r"^no Septet takes orders at unix:\S+app.sock; give the path of --c"):
            asked.order("stop")
        thread.join()


@pytest.mark.parametrize("alone", [(), ("--no-supervisor",)], ids=["supervised", "alone"])
def test_where_it_cannot_listen(alone: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = f"127.0.0.1:{taken.getsockname()[1]}"
        for option, value, reason in (
            ("--metrics-bind", used, "the address is in use; choose another --metrics-bind, or stop"),
            ("--control", str(tmp_path / "file"), "a file lies there that is no socket; choose another --control, or"),
            ("--control", "/nope/x.sock", "No such file or directory"),
        ):
            done = septet("serve", "--static", f"/={tmp_path}", "--bind", "127.0.0.1:0", option, value, *alone)
            assert done.returncode == 1
            assert f" ({option}): {reason}" in done.stderr


@engine_decides
def test_top(model: str) -> None:
    from septet.console.top import Top

    with controlled(model, "--workers", "1") as server:
        (worker,) = children(server.pid)
        server.get("/fail?when=before+start")
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: server.get("/").status == 200, "it serves")
        where = str(server.directory / "control")
        wait_until(lambda: json.loads(septet("status", "--json", where).stdout)["events"], "the end is told of")
        found = json.loads(septet("status", "--json", where).stdout)
    found["durations"] |= {"p50_s": 0.008, "p99_s": 0.008}
    found["queue_wait"] |= {"p99_s": None}
    assert {("durations", "median and p99 at most 8 ms in the last minute"), ("queue wait", "-")} <= set(figures(found))
    assert "thread wait" not in dict(figures(found))
    found["thread_wait"] = {"waiting": 7, "mean_s": 0.62}
    assert ("thread wait", "7 wait for a thread, 620 ms on average in the last minute") in figures(found)
    found["durations"] |= {"p50_s": 0.004}
    assert ("durations", "median at most 4 ms, p99 at most 8 ms in the last minute") in figures(found)
    slow = {"ms": 12.0, "status": 200, "outcome": "answered", "method": "GET", "target": "/\x1b[2J", "at": 0}
    found["slowest"] = [slow]
    found["processes"][-1] |= {"in_flight": 10, "threads_taken": 11, "capacity": 4}
    screen = Console(width=110, record=True, file=io.StringIO())
    screen.print(Top(found).picture(found))
    text = screen.export_text()
    assert re.search(rf"\d\d:\d\d:\d\d  worker {worker.pid} ended by signal SIGKILL", text)
    assert re.search(r"\d\d:\d\d:\d\d +12 ms  200  GET /", text)
    assert "\x1b" not in text
    assert "4 of 4, 7 wait" in text
    assert re.search(r"saturation +[█░]{10} +\d+%", text)


@engine_decides
def test_top_in_a_small_terminal(model: str) -> None:
    """Headers and pids are whole, the newest event is on the screen, and q ends it."""
    with controlled(model, "--workers", "3") as server:
        victim = children(server.pid)[0].pid
        os.kill(victim, signal.SIGKILL)
        where = str(server.directory / "control")
        wait_until(lambda: json.loads(septet("status", "--json", where).stdout)["events"], "the end is told of")
        pid, terminal = pty.fork()
        if not pid:
            os.environ |= {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
            os.execv(sys.executable, [sys.executable, "-m", "septet", "top", where])
        os.set_blocking(terminal, False)
        seen = bytearray()

        def shows(text: str) -> bool:
            with contextlib.suppress(BlockingIOError):
                seen.extend(os.read(terminal, 1 << 16))
            return text.encode() in seen

        wait_until(lambda: shows("q or Ctrl-C ends this display"), "the screen is drawn")
        for text in ("in flight", "answered", "CPU", f"supervisor {server.pid} ", f"worker {victim} ended by signal"):
            assert text.encode() in seen, text
        os.write(terminal, b"q")
        assert os.waitpid(pid, 0)[1] == 0
        os.close(terminal)


@engine_decides
def test_top_without_a_terminal(model: str) -> None:
    """In a file or a pipe there is nothing to draw on: the figures are printed once."""
    with controlled(model, "--workers", "1") as server:
        done = septet("top", str(server.directory / "control"))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Septet ")
        assert re.search(r"^  requests +0 a second, ", done.stdout, re.MULTILINE)
        assert "\x1b" not in done.stdout


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        lacking("Chromium", "chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.timeout(300)
@engine_decides
def test_page_in_a_browser(model: str, browser: Browser) -> None:
    """At the width of a phone and of a desktop, light and dark: it fills, it stays in its width, and it says nothing
    to the browser's console. What clients have sent stays text."""
    with serve(model, "wsgi", "--metrics-bind", "127.0.0.1:0", "--workers", "1", "--server-timing") as server:
        with server.connect() as connection:
            connection.send(render("GET", "/send?size=20000000&parts=20&x=<img"))
            connection.read_head()
        found = re.search(r"metrics at (\S+)", server.stderr())
        assert found is not None
        for width, scheme in zip(WIDTHS, ("dark", "light"), strict=True):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            said: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(found[1], wait_until="domcontentloaded")
            page.wait_for_selector("#state.ready", timeout=WAIT_MS)
            page.wait_for_selector("#processes tr:nth-child(3)", timeout=WAIT_MS)
            page.wait_for_selector("#c-rate-now:not(:empty)", timeout=WAIT_MS)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.locator("#tiles .card").count() == 8
            assert page.locator("svg path").count() == 6
            assert not said
            assert {url.removeprefix(found[1]).strip("/") for url in asked} <= {"", "events", "favicon.ico"}
            context.close()
