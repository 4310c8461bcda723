"""HTTP/2 under every model: what a client sees of bodies, files, streams side by side, resets, and ends.

What the session decides alone is in `tests/test_session_http2.py`; here is what carriers do.
"""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from support.client import Connection as PlainConnection
from support.http2 import Client, Connection, get
from support.messages import pattern
from support.models import EVENT_DRIVEN, MODELS
from support.needs import lacking
from support.server import Server, serve
from support.static_tree import BIG
from support.tls import Authority, TlsConnection, TlsServer
from support.waiting import PATIENCE_S, wait_until

#: Each model with one interface, and two of both styles with the other.
PAIRS = [(model, "asgi" if number % 2 else "wsgi") for number, model in enumerate(MODELS)] + [
    ("epoll", "asgi" if MODELS.index("epoll") % 2 == 0 else "wsgi"),
    ("threaded", "asgi" if MODELS.index("threaded") % 2 == 0 else "wsgi"),
]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    model, interface = request.param
    return model, interface


@pytest.fixture
def model(pair: tuple[str, str]) -> str:
    return pair[0]


@pytest.fixture
def interface(pair: tuple[str, str]) -> str:
    return pair[1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def http2_servers(static_tree: Path) -> Iterator[dict[tuple[str, str], Server]]:
    """Servers that tests share, by model and interface: HTTP/2 in clear."""
    with ExitStack() as stack:

        class Starting(dict[tuple[str, str], Server]):
            def __missing__(self, pair: tuple[str, str]) -> Server:
                model, interface = pair
                options = ("--http2-cleartext", "--static", f"/files={static_tree}", "--graceful-timeout", "5")
                self[pair] = stack.enter_context(serve(model, interface, *options))
                return self[pair]

        yield Starting()


@pytest.fixture
def server(http2_servers: dict[tuple[str, str], Server], pair: tuple[str, str]) -> Iterator[Server]:
    shared = http2_servers[pair]
    position = len(shared.stderr())
    yield shared
    assert shared.running
    assert not shared.complaints(position), shared.stderr()[position:]


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    with Connection(server.address) as connection:
        yield connection


def test_bodies_and_files(connection: Connection, interface: str, static_tree: Path) -> None:
    for _ in range(2):
        answer = connection.request("/read?how=pieces", method=b"POST", body=pattern(300_000))
        assert json.loads(answer.body)["length"] == 300_000
        assert connection.request("/send?size=500000&parts=7").body == pattern(500_000)
        assert connection.request("/files/big.bin").body == BIG
        assert connection.request("/files/plain.txt").body == b"plain text\n"
        ranged = connection.request("/files/big.bin", (b"range", b"bytes=5-99, 1000000-2000000"))
        assert ranged.status == 206
        assert BIG[1_000_000:2_000_001] in ranged.body
    head = connection.request("/files/big.bin", method=b"HEAD")
    assert (head.body, head.fields[b"content-length"]) == (b"", b"%d" % len(BIG))
    if interface == "wsgi":
        wrapped = connection.request(f"/wrapper?kind=file&path={static_tree / 'big.bin'}")
        assert wrapped.body == BIG


def test_what_applications_are_told(connection: Connection, interface: str) -> None:
    told = json.loads(connection.request("/?a=b", (b"x-one", b"1"), (b"cookie", b"a"), (b"cookie", b"b")).body)
    assert (told["method"], told["path"], told["query"], told["scheme"]) == ("GET", "/", "a=b", "http")
    assert told["version"] in ("2", "HTTP/2"), interface
    assert told["fields"] == {"host": "septet.test", "x-one": "1", "cookie": "a; b"}


def test_many_streams(connection: Connection) -> None:
    """More than one thread or turn can take at once; every answer belongs to its request."""
    streams = {connection.ask(get(f"/send?size={1000 + number}")): 1000 + number for number in range(90)}
    for stream, size in streams.items():
        assert connection.answer(stream).body == pattern(size)


def test_large_bodies_both_ways_at_the_same_time(connection: Connection) -> None:
    asked = connection.ask(get("/send?size=3000000&parts=30"))
    sent = connection.ask(get("/read?how=all", method=b"POST"), pattern(1_000_000))
    assert connection.answer(asked).body == pattern(3_000_000)
    assert json.loads(connection.answer(sent).body)["length"] == 1_000_000


def test_continue(connection: Connection) -> None:
    stream = connection.ask(get("/read?how=all", (b"expect", b"100-continue"), method=b"POST"), end=False)
    answer = connection.client.answers[stream]
    connection.until(lambda: bool(answer.interim))
    assert answer.interim[0][b":status"] == b"100"
    connection.client.send_body(stream, b"the body")
    connection.flush()
    assert json.loads(connection.answer(stream).body)["length"] == 8


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_who_sends_the_whole_body_first_finds_an_early_answer(server: Server, framing: str) -> None:
    """As httpx does: it looks at no answer before, and waits for a window."""
    body = pattern(4_000_000)
    content = body if framing == "length" else (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    with httpx.Client(http1=False, http2=True, timeout=PATIENCE_S) as client:
        for _ in range(2):
            early = client.post(f"http://{server.address[0]}:{server.address[1]}/read?how=none", content=content)
            assert (early.status_code, early.http_version) == (200, "HTTP/2")
            content = body


def test_client_that_goes_on_after_an_early_answer_is_told_to_stop(server: Server, model: str, interface: str) -> None:
    """By the end of its stream, and not of the connection."""
    if interface == "wsgi" and model in EVENT_DRIVEN:
        pytest.skip("no answer is early: the body is collected first")
    with Connection(server.address) as connection:
        stream = connection.ask(get("/read?how=none", method=b"POST"), end=False)
        answer = connection.client.answers[stream]
        connection.until(lambda: answer.reset is not None)
        assert (answer.status, answer.ended, answer.reset) == (200, True, 0)
        assert connection.request("/send?size=9").body == pattern(9)


def test_back_pressure(server: Server) -> None:
    """An answer goes no further than the windows, and the connection serves others meanwhile if its model can."""
    with Connection(server.address, client=Client(reads=False)) as connection:
        held = connection.ask(get("/send?size=2000000&parts=100"))
        answer = connection.client.answers[held]
        connection.until(lambda: len(answer.body) == 65535)
        connection.client.h2.increment_flow_control_window(3_000_000)
        connection.flush()
        connection.client.h2.increment_flow_control_window(2_000_000, held)
        connection.flush()
        assert connection.answer(held).body == pattern(2_000_000)


def test_reset_streams_leave_the_others(connection: Connection) -> None:
    streams = [connection.ask(get("/send?size=200000&parts=20")) for _ in range(10)]
    for stream in streams[::2]:
        connection.client.h2.reset_stream(stream, 8)
    connection.flush()
    for stream in streams[1::2]:
        assert connection.answer(stream).body == pattern(200_000)
    assert connection.request("/").status == 200


def test_stop_finishes_what_is_in_flight(model: str, interface: str, token: str) -> None:
    with serve(model, interface, "--http2-cleartext") as server:
        with Connection(server.address) as connection:
            assert connection.request("/").status == 200
            stream = connection.ask(get(f"/gate?gate={token}"))
            server.journal.wait_for(f"at gate {token}")
            server.send_signal(signal.SIGTERM)
            if model in EVENT_DRIVEN:
                connection.until(lambda: connection.client.went_away is not None)
            server.journal.open_gate(token)
            assert connection.answer(stream).status == 200
            connection.read_to_end()
            assert connection.client.went_away is not None
            assert connection.client.went_away.error_code == 0
        assert server.wait() == 0


def test_idle_connection_is_told_of_the_stop(model: str, interface: str) -> None:
    with serve(model, interface, "--http2-cleartext") as server:
        with Connection(server.address) as connection:
            assert connection.request("/").status == 200
            server.send_signal(signal.SIGTERM)
            connection.read_to_end()
            assert connection.client.went_away is not None
        assert server.wait() == 0


def test_http_1_1_beside_it(server: Server) -> None:
    with PlainConnection(server.address) as plain:
        for _ in range(2):
            assert plain.request("GET", "/").status == 200


@pytest.mark.parametrize("pair", [("epoll", "asgi"), ("threaded", "wsgi")], indirect=True, ids="-".join)
@pytest.mark.parametrize("cut", [1, 3, 14, 16, 23])
def test_preface_in_pieces(server: Server, cut: int) -> None:
    with Connection(server.address) as other:  # is served meanwhile
        assert other.request("/").status == 200
        other.socket.close()
    client = Client()
    hello = client.h2.data_to_send()
    with PlainConnection(server.address) as plain:
        plain.send(hello[:cut])
        plain.send(hello[cut:])
        client.ask(get("/send?size=10"))
        plain.send(client.h2.data_to_send())
        while not client.answers[1].ended:
            client.take(plain.socket.recv(65536))
        assert client.answers[1].body == pattern(10)


# Over TLS


def test_over_tls(authority: Authority, model: str, interface: str, static_tree: Path, tmp_path: Path) -> None:
    """Bodies, files and streams; the log knows the version; clients that choose HTTP/1.1 are served by it."""
    log = tmp_path / "access.log"
    options = ("--model", model, "--static", f"/files={static_tree}", "--access-log", str(log))
    with TlsServer(authority, f"support.apps_{interface}:app", *options) as server:
        with Connection(server.address, authority.client_context()) as connection:
            sent = connection.request("/read?how=pieces", method=b"POST", body=pattern(300_000))
            assert json.loads(sent.body)["length"] == 300_000
            streams = [connection.ask(get("/send?size=300000&parts=7")) for _ in range(5)]
            assert all(connection.answer(stream).body == pattern(300_000) for stream in streams)
            assert connection.request("/files/big.bin").body == BIG
        with server.connect() as plain:
            assert plain.request("GET", "/").status == 200
        context = authority.client_context()
        assert isinstance(server.address, tuple)
        with httpx.Client(verify=context, http2=True) as client:
            answer = client.get(f"https://localhost:{server.address[1]}/send?size=1000")
            assert (answer.http_version, answer.content) == ("HTTP/2", pattern(1000))
    versions = re.findall(r"HTTP/\d(?:\.\d)?", log.read_text())
    assert (versions.count("HTTP/2"), versions.count("HTTP/1.1")) == (8, 1)


ONCE = pytest.mark.parametrize("pair", [("epoll", "asgi"), ("threaded", "wsgi")], indirect=True, ids="-".join)


@ONCE
@pytest.mark.parametrize(("http", "chosen"), [("h1,h2", "http/1.1"), ("h2,h1", "h2"), ("h1", "http/1.1"), ("h2", "h2")])
def test_choice_of_the_version(authority: Authority, model: str, interface: str, http: str, chosen: str) -> None:
    context = authority.client_context()
    context.set_alpn_protocols(["http/1.1", "h2"])
    with TlsServer(authority, f"support.apps_{interface}:app", "--model", model, "--http", http) as server:
        with TlsConnection(server.address, context) as connection:
            assert connection.socket.selected_alpn_protocol() == chosen
        if http == "h2":
            with server.connect() as plain:
                assert plain.request("GET", "/").status == 505


# Real clients


@ONCE
def test_curl_and_nghttp(server: Server, tmp_path: Path) -> None:
    for program in ("curl", "nghttp"):
        if shutil.which(program) is None:
            lacking(program, "nghttp2-client" if program == "nghttp" else program)
    assert isinstance(server.address, tuple)
    url = f"http://127.0.0.1:{server.address[1]}"
    curl = ["curl", "-sS", "--http2-prior-knowledge"]
    done = subprocess.run([*curl, f"{url}/send?size=300000&parts=3"], check=True, capture_output=True)
    assert done.stdout == pattern(300_000)
    body = tmp_path / "body"
    body.write_bytes(pattern(500_000))
    done = subprocess.run([*curl, "-T", str(body), f"{url}/read?how=all"], check=True, capture_output=True)
    assert json.loads(done.stdout)["length"] == 500_000
    done = subprocess.run([*curl, "-I", f"{url}/"], check=True, capture_output=True)
    assert done.stdout.startswith(b"HTTP/2 200")
    done = subprocess.run(["nghttp", "-m", "20", f"{url}/send?size=1000"], check=True, capture_output=True)
    assert done.stdout == pattern(1000) * 20


def test_h2load(server: Server) -> None:
    if shutil.which("h2load") is None:
        lacking("h2load", "nghttp2-client")
    assert isinstance(server.address, tuple)
    url = f"http://127.0.0.1:{server.address[1]}/send?size=12"
    load = ["h2load", "-n", "600", "-c", "6", "-m", "10", url]
    done = subprocess.run(load, capture_output=True, text=True, timeout=PATIENCE_S * 2)
    assert "600 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout + done.stderr


# Streams side by side


@pytest.mark.parametrize(
    ("model", "interface", "options"),
    [
        ("epoll", "asgi", ()),
        ("io_uring", "asgi", ()),
        ("poll", "wsgi", ("--threads", "4")),
        ("epoll", "wsgi", ("--threads", "4")),
        ("io_uring", "wsgi", ("--threads", "4")),
    ],
)
def test_streams_run_at_the_same_time(model: str, interface: str, options: tuple[str, ...], token: str) -> None:
    """Three requests are in the application, and a fourth is answered; then the three are."""
    with serve(model, interface, "--http2-cleartext", *options) as server:
        with Connection(server.address) as connection:
            held = [connection.ask(get(f"/gate?gate={token}")) for _ in range(3)]
            wait_until(lambda: server.journal.count(f"at gate {token}") == 3, "three requests are in the application")
            assert connection.request("/send?size=5").body == pattern(5)
            server.journal.open_gate(token)
            assert [connection.answer(stream).status for stream in held] == [200] * 3


@pytest.mark.parametrize(("model", "interface"), [("epoll", "asgi"), ("threaded", "asgi")])
def test_cancelled_request_is_told(model: str, interface: str, token: str) -> None:
    """`http.disconnect` comes for the stream that was reset, and the connection goes on."""
    with serve(model, interface, "--http2-cleartext") as server:
        with Connection(server.address) as connection:
            stream = connection.ask(get(f"/client-leaves?token={token}"))
            server.journal.wait_for(f"body read {token}")
            connection.client.h2.reset_stream(stream, 8)
            connection.flush()
            server.journal.wait_for(f"client left {token}: http.disconnect")
            assert connection.request("/").status == 200
