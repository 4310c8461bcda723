"""Threads of a WSGI application that still send or read when its answer is complete.

They leave first, and reach nothing of the connection's next request.
"""

import select
import threading
import time

import pytest

from septet.apps._other_threads import PATIENCE_S
from support.client import Connection, Truncated
from support.http2 import Client as Http2Client
from support.http2 import Connection as Http2Connection
from support.http2 import get
from support.marks import each_style
from support.messages import render
from support.models import LOOPS
from support.server import Server, serve
from support.tls import Authority, TlsServer
from support.waiting import wait_until

APP = "support.app_other_threads:app"
ROUNDS = 30
BODY = render("GET", "/smuggled") * 400
BOTH = b"".join(b"%06d;" % part * 10_000 for part in range(20)) + b"%d" % len(BODY)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@each_style
def test_writes_at_the_end_of_an_answer(model: str) -> None:
    with serve(model, "wsgi", app=APP) as server:
        for number in range(ROUNDS):
            tags = [f"{number}-{each}".encode() for each in range(5)]
            with server.connect() as client:
                for tag in tags:
                    client.send(render("GET", f"/writes?{tag.decode()}") + render("POST", "/", body=tag))
                for tag in tags:
                    assert client.read_response().body.replace(b"<%s>" % tag, b"") == b"end"
                    assert client.read_response().body == tag
        assert not server.complaints()


@each_style
def test_writes_at_the_end_of_an_answer_over_http2(model: str) -> None:
    with serve(model, "wsgi", "--http2-cleartext", app=APP) as server:
        for _ in range(ROUNDS):
            with Http2Connection(server.address) as client:
                streams = [client.ask(get(f"/writes?{number}")) for number in range(4)]
                for number, stream in enumerate(streams):
                    assert client.answer(stream).body.replace(b"<%d>" % number, b"") == b"end"
        assert not server.complaints()


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("model", ["prethreaded", *LOOPS])
def test_writer_that_waits_for_another_one(model: str, http2: bool) -> None:
    """The answer does not wait for both for ever; then it is no whole answer, with what one has sent after its end."""
    with serve(model, "wsgi", "--http2-cleartext", "--limit-spool", "1", app=APP) as server:
        if http2:
            with Http2Connection(server.address, client=Http2Client(1000, reads=False)) as client:
                stream = client.ask(get("/queue"))
                time.sleep(PATIENCE_S + 1)
                client.client.reads = True
                client.client.h2.increment_flow_control_window(1 << 30)
                client.client.h2.increment_flow_control_window(1 << 30, stream)
                client.flush()
                answer = client.client.answers[stream]
                while not (answer.ended or answer.reset is not None) and client.receive():
                    pass
                assert not answer.ended, answer.body[-20:]
                if not client.ended:
                    assert client.request("/", method=b"POST", body=b"n").body == b"n"
        else:
            with server.connect(receive_buffer=4096) as plain:
                plain.send(render("GET", "/queue?large"))
                time.sleep(PATIENCE_S + 1)
                with pytest.raises(Truncated):
                    plain.read_response()
        wait_until(lambda: late_of(server) != "", "both are over")
        assert late_of(server).startswith("was refused")
        assert server.get("/files").status == 200


def late_of(server: Server) -> str:
    return " ".join(server.journal.starting("late "))


@pytest.mark.parametrize("model", ["threaded", "prethreaded"])
def test_reader_of_a_body_that_is_on_its_way(model: str) -> None:
    with serve(model, "wsgi", app=APP) as server:
        for _ in range(3):
            with server.connect() as client:
                client.send(b"POST /reads HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
                assert client.read_response().body == b"early"
                client.send(b"67890")
                for number in range(5):
                    secret = b"secret %d" % number
                    client.send(render("POST", "/", body=secret))
                    assert client.read_response().body == secret
        assert server.journal.lines() == ["refused: the answer is complete"] * 3
        assert not server.complaints()


@each_style
def test_child_forked_while_another_thread_sends(model: str) -> None:
    """The child has not got that thread, and does not wait for it; its parent's answer is whole."""
    with serve(model, "wsgi", app=APP) as server, server.connect() as client:
        client.send(render("GET", "/forks"))
        server.journal.wait_for("child ended: 0, in time")
        assert client.read_response().body == bytes(20_000_000) + b"end"
        assert not server.complaints()


READER_OR_WRITER = pytest.mark.parametrize("path", ["/both", "/writer"])
"""Which of the two the application does in a thread of its own."""


@READER_OR_WRITER
@pytest.mark.parametrize("model", ["iterative", "threaded", "prethreaded", "epoll"])
def test_reader_beside_an_answer_in_parts(model: str, path: str) -> None:
    """The body comes in small pieces while the answer goes out; what it holds is no request."""
    with serve(model, "wsgi", app=APP) as server:
        for number in range(10):
            with server.connect() as client:
                sender = threading.Thread(target=send_in_pieces, args=(client, render("POST", path, body=BODY)))
                sender.start()
                assert client.read_response().body == BOTH
                sender.join()
                client.send(render("POST", "/", body=b"%d" % number))
                assert client.read_response().body == b"%d" % number
        assert not server.complaints()


@READER_OR_WRITER
@pytest.mark.parametrize("model", ["iterative", "threaded", "prethreaded", "epoll"])
def test_reader_beside_an_answer_in_parts_over_tls(model: str, path: str, authority: Authority) -> None:
    """Records of two threads would not fit together."""
    with TlsServer(authority, APP, "--model", model) as server:
        for number in range(10):
            with server.connect() as client:
                client.send(render("POST", path, body=BODY))
                assert client.read_response().body == BOTH
                client.send(render("POST", "/", body=b"%d" % number))
                assert client.read_response().body == b"%d" % number
        assert not server.complaints()


@READER_OR_WRITER
@pytest.mark.parametrize("model", ["iterative", "forking", "threaded", "prethreaded", "epoll"])
@pytest.mark.parametrize("window", [65535, 1000])
def test_reader_beside_an_answer_in_parts_over_http2(model: str, window: int, path: str) -> None:
    """Frames of two threads would not fit together. A small window holds the answer up while the body comes."""
    with serve(model, "wsgi", "--http2-cleartext", app=APP) as server:
        for number in range(5):
            with Http2Connection(server.address, client=Http2Client(window)) as client:
                read_while_sending(client, path, b"%d" % number)
        assert not server.complaints()


@READER_OR_WRITER
@pytest.mark.parametrize("model", ["iterative", "threaded", "prethreaded", "epoll"])
def test_reader_beside_an_answer_in_parts_over_http2_and_tls(model: str, path: str, authority: Authority) -> None:
    with TlsServer(authority, APP, "--model", model) as server:
        for number in range(5):
            with Http2Connection(server.address, authority.client_context()) as client:
                read_while_sending(client, path, b"%d" % number)
        assert not server.complaints()


def read_while_sending(client: Http2Connection, path: str, tag: bytes) -> None:
    stream = client.ask(get(path, method=b"POST"), end=False)
    for start in range(0, len(BODY), 100):
        client.client.send_body(stream, BODY[start : start + 100], end=start + 100 >= len(BODY))
        client.flush()
        time.sleep(0.0005)
        if select.select([client.socket], [], [], 0)[0]:
            assert client.receive(), "the connection has ended"
    answer = client.answer(stream)
    assert (answer.body, answer.reset) == (BOTH, None)
    assert client.request("/", method=b"POST", body=tag).body == tag


def send_in_pieces(client: Connection, data: bytes) -> None:
    for start in range(0, len(data), 100):
        client.send(data[start : start + 100])
        time.sleep(0.0005)
