"""Septet as a part of a program: `septet.run` and `septet.Server`, with real sockets, threads and signals."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

import septet
from septet import models
from septet.interpreter import is_free_threaded
from support.models import io_uring_refusal
from support.server import loopback
from support.waiting import wait_until

ON_THREAD = ("threaded", "prethreaded", "poll", "epoll", "io_uring")


@pytest.fixture(params=ON_THREAD)
def model(request: pytest.FixtureRequest) -> str:
    if request.param == "io_uring" and (reason := io_uring_refusal()):
        pytest.skip(reason)
    return str(request.param)


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


async def counting(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            counting.told.append(kind)  # type: ignore[attr-defined]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def get(url: str) -> bytes:
    with urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content


def test_wsgi(model: str) -> None:
    with septet.Server(hello, model=model, bind=f"{loopback()}:0") as server:
        assert get(server.url) == b"hello"
        address = urlsplit(server.url)
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection(address.hostname or "", address.port, timeout=10).request("GET", "/")


def test_asgi_with_lifespan(model: str) -> None:
    counting.told = []  # type: ignore[attr-defined]
    with septet.Server(counting, model=model) as server:
        assert counting.told == ["lifespan.startup"]  # type: ignore[attr-defined]
        assert get(server.url) == b"hello"
    assert counting.told == ["lifespan.startup", "lifespan.shutdown"]  # type: ignore[attr-defined]


def test_two_at_the_same_time(model: str) -> None:
    with septet.Server(hello, model=model) as one, septet.Server(counting, model=model) as other:
        counting.told = []  # type: ignore[attr-defined]
        assert one.url != other.url
        assert get(one.url) == get(other.url) == b"hello"


def test_what_is_in_flight_is_answered(model: str) -> None:
    called, go_on = threading.Event(), threading.Event()

    def waits(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        called.set()
        go_on.wait(10)
        start_response("200 OK", [])
        return [b"late"]

    answers: list[bytes] = []
    server = septet.Server(waits, model=model).__enter__()
    client = threading.Thread(target=lambda: answers.append(get(server.url)))
    client.start()
    called.wait(10)
    ender = threading.Thread(target=server.__exit__, args=(None, None, None))
    ender.start()
    while not server._stop.ordered:  # type: ignore[union-attr]
        os.sched_yield()
    go_on.set()
    ender.join(10)
    client.join(10)
    assert answers == [b"late"]


def test_requests_that_do_not_end(model: str) -> None:
    called, go_on = threading.Event(), threading.Event()

    def waits(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        called.set()
        go_on.wait(30)
        start_response("200 OK", [])
        return [b"late"]

    server = septet.Server(waits, model=model, graceful_timeout=0.1).__enter__()
    address = urlsplit(server.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=10)
    connection.request("GET", "/")
    called.wait(10)
    try:
        if models.has_loop(model):  # whose loop cuts the connection and ends
            server.__exit__(None, None, None)
            with pytest.raises(ConnectionError):
                connection.getresponse()
        else:
            with pytest.raises(TimeoutError, match=r"requests still run 0\.1 s after the order to stop"):
                server.__exit__(None, None, None)
    finally:
        go_on.set()
        connection.close()


def test_no_thread_is_left(model: str) -> None:
    before = set(threading.enumerate())
    for application in (hello, counting):
        counting.told = []  # type: ignore[attr-defined]
        with septet.Server(application, model=model) as server:
            get(server.url)
    wait_until(lambda: not set(threading.enumerate()) - before, "all threads have ended")


def test_static_files(tmp_path: Path) -> None:
    tmp_path.joinpath("page.txt").write_text("a page")
    with septet.Server(static=[f"/={tmp_path}"]) as server:
        assert get(f"{server.url}/page.txt") == b"a page"


def test_unix_socket(tmp_path: Path) -> None:
    with septet.Server(hello, bind=[f"unix:{tmp_path}/s", "127.0.0.1:0"]) as server:
        assert server.url == f"unix:{tmp_path}/s"
        assert get(server.urls[1]) == b"hello"
    assert not tmp_path.joinpath("s").exists()


def test_signals_stay_the_programs() -> None:
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    handlers = [signal.getsignal(number) for number in signals]
    with septet.Server(hello) as server:
        get(server.url)
        assert [signal.getsignal(number) for number in signals] == handlers


def test_within_an_asyncio_program() -> None:
    async def main() -> bytes:
        with septet.Server(hello) as server:
            return await asyncio.to_thread(get, server.url)

    assert asyncio.run(main()) == b"hello"


async def refuses(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def test_application_that_refuses_to_start(model: str) -> None:
    before = set(threading.enumerate())
    with pytest.raises(septet.Failed, match="no database"), septet.Server(refuses, model=model):
        pass
    wait_until(lambda: not set(threading.enumerate()) - before, "all threads have ended")


def test_port_that_is_taken() -> None:
    with septet.Server(hello) as server:
        taken = urlsplit(server.url).port
        with (
            pytest.raises(septet.Failed, match="the address is in use"),
            septet.Server(hello, bind=f"127.0.0.1:{taken}"),
        ):
            pass


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"modle": "epoll"}, r"modle is not an option \(did you mean model\?\)"),
        ({"model": "forking"}, "model is 'forking', but must be one of threaded, prethreaded, poll, epoll, io_uring"),
        ({"model": "interpreters"}, "model is 'interpreters', but must be another one in a program"),
        ({"workers": 2}, "workers is 2, but must be left out"),
        ({"limit_body": "much"}, "limit_body is 'much', but must be a whole number of bytes"),
        ({"keep_alive_timeout": 0}, "keep_alive_timeout is 0.0, but must be"),
        ({"app": "shop:app"}, "app is not an option"),
    ],
)
def test_options_that_are_not_allowed(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(septet.UsageError, match=sentence):
        septet.Server(hello, **options)


def test_nothing_to_serve() -> None:
    with pytest.raises(septet.UsageError, match="there is nothing to serve"):
        septet.Server()


def test_what_is_no_application() -> None:
    with pytest.raises(septet.UsageError, match=r"cannot be called with \(environ, start_response\)"):
        septet.Server(lambda: None).__enter__()


def test_serves_once() -> None:
    server = septet.Server(hello)
    with pytest.raises(RuntimeError, match="no address yet"):
        _ = server.url
    with server:
        pass
    with pytest.raises(RuntimeError, match="make another"):
        server.__enter__()


def test_run_needs_the_main_thread() -> None:
    errors: list[BaseException] = []

    def main() -> None:
        try:
            septet.run(hello)
        except septet.UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    thread.join(10)
    assert "needs the main thread" in str(errors[0])


PROGRAM = """
import signal, sys
import septet

def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def handler(number, frame): pass

signal.signal(signal.SIGTERM, handler)
signal.signal(signal.SIGALRM, handler)
for _ in range(2):
    septet.run(hello, model=sys.argv[1], bind="127.0.0.1:0", graceful_timeout=0.5)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1
print("went on")
"""


@pytest.mark.parametrize("name", [name for name in models.names() if name != "interpreters"])  # which ends the process
def test_run_returns_to_its_program(name: str) -> None:
    """Twice, after TERM and after what Ctrl-C sends; nothing that would end the process later is left."""
    if models.obstacle(name):
        pytest.skip(str(models.obstacle(name)))
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with program:
        assert program.stderr is not None
        assert program.stdout is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            line = program.stderr.readline()
            if "TERM from pid" in line:  # models with workers tell of the sender
                line = program.stderr.readline()
            assert "listening on" in line, line + program.stderr.read()
            assert get(line.split()[3]) == b"hello"
            program.send_signal(number)
        assert program.stdout.read() == "went on\n", program.stderr.read()
    assert program.returncode == 0


PROGRAM_GOES_ON = """
import time
import septet

async def refuses(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

try:
    septet.run(refuses, bind="127.0.0.1:0")
except septet.Failed:
    time.sleep(1)  # longer than a server that cannot start has for its end
    print("went on")
"""


def test_program_goes_on_after_a_start_that_has_failed() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM_GOES_ON], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


@pytest.mark.parametrize("option", [{"user": "root"}, {"group": "0"}, {"umask": "027"}, {"pid_file": "a.pid"}], ids=str)
def test_process_is_the_programs(option: dict[str, str]) -> None:
    name, value = next(iter(option.items()))
    with pytest.raises(septet.UsageError, match=f"^{name} is '{value}', but must be left out: only septet serve"):
        septet.Server(hello, **option)


def test_supervisor_is_for_the_command() -> None:
    for options in ({"supervisor": True}, {"reload": True}, {"max_requests": 5}):
        with pytest.raises(septet.UsageError, match="supervisor"):
            septet.Server(lambda environ, start_response: [], **options)


def test_tls(tmp_path: Path) -> None:
    if is_free_threaded() and find_spec("trustme") is None:
        pytest.skip("trustme needs cryptography, which has no wheel for this Python without a GIL")
    from support.tls import Authority

    authority = Authority(tmp_path)
    files = {"tls_certificate": str(authority.server.certificate), "tls_key": str(authority.server.key)}
    with septet.Server(hello, **files) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with urlopen(server.url, timeout=10, context=authority.client_context()) as answer:
            assert answer.read() == b"hello"
    with pytest.raises(septet.UsageError, match=r"--tls-key is .*, but must be a file that can be read"):
        with septet.Server(hello, **{**files, "tls_key": "none.pem"}):
            pass


def test_mounted_applications() -> None:
    """By name, and as objects by route."""

    def whereabouts(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    async def asynchronous(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["root_path"].encode()})

    named = "septet.examples.causes.wsgi:hello"
    for model in ("prethreaded", "epoll"):
        with septet.Server(mount={"/a": whereabouts, "/b": asynchronous, "/c": named}, model=model) as server:
            assert [get(f"{server.url}{path}") for path in ("/a/x", "/b/x")] == [b"/a|/x", b"/b"]
            assert get(f"{server.url}/c/")
    with septet.Server(whereabouts, mount=f"/c={named}", root_path="/r") as server:
        assert get(f"{server.url}/x") == b"/r|/x"
    with pytest.raises(septet.UsageError, match="mount gives /c more than once"):
        septet.Server(mount={"/c": whereabouts, "/c/": asynchronous}).__enter__()
    with pytest.raises(septet.UsageError, match="mount is 'c', but must"):
        septet.Server(mount={"c": whereabouts}).__enter__()


def echo_path(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def visit_again_and_again(url: str, name: str, visits: int, wrong: list[str]) -> None:
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=20)
    for number in range(visits):
        path = f"/{name}/{number:06}"
        connection.request("GET", path)
        found = connection.getresponse().read().decode()
        if found != path:
            wrong.append(f"{path} was answered {found}")
    connection.close()


def test_servers_side_by_side_do_not_mix_up_their_clients(model: str) -> None:
    """The loops of two servers receive at the same time, in two threads."""
    wrong: list[str] = []
    interval = sys.getswitchinterval()
    with septet.Server(echo_path, model=model) as one, septet.Server(echo_path, model=model) as two:
        clients = [
            threading.Thread(target=visit_again_and_again, args=(server.url, f"{which}{number}", 300, wrong))
            for which, server in (("one", one), ("two", two))
            for number in range(3)
        ]
        sys.setswitchinterval(1e-6)
        try:
            for client in clients:
                client.start()
            for client in clients:
                client.join()
        finally:
            sys.setswitchinterval(interval)
    assert not wrong
