"""Ends of streams and connections of HTTP/2 that come from the server: reload, time-outs, and what is counted."""

import json
import os
import re
import signal
import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from h2.events import ConnectionTerminated
from h2.exceptions import ProtocolError

from contract.test_generations import Versions
from contract.test_stops import SOON_S, stop_takes
from support.client import Connection as PlainConnection
from support.http2 import GOAWAY, Client, Connection, frame, frames_of, get, head
from support.models import MODELS
from support.processes import await_idle, rests
from support.server import Server, serve
from support.tls import Authority, TlsConnection, TlsServer
from support.waiting import PATIENCE_S, wait_until

BOTH = pytest.mark.parametrize(("model", "interface"), [("epoll", "asgi"), ("threaded", "wsgi"), ("preforked", "asgi")])


@BOTH
def test_reload_loses_nothing(model: str, interface: str) -> None:
    """A client that honours GOAWAY: what it asks on the old connection is answered, the rest it asks on a new one."""
    with Versions(model, interface, "--http2-cleartext") as server:
        with Connection(server.address) as old:
            assert old.request("/").body.startswith(b"one")
            server.version("two")
            server.send_signal(signal.SIGHUP)
            answers = []
            while old.client.went_away is None:
                answers.append(old.request("/slow"))
            old.read_to_end()
        assert {answer.status for answer in answers if answer.reset is None} == {200}
        assert all(answer.reset in (None, 7) for answer in answers)  # REFUSED_STREAM: may be sent again
        wait_until(lambda: is_answered_anew(server), "the new generation answers")
        server.generation()


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("model", [model for model in MODELS if model != "interpreters"])
def test_reload_amid_a_request_first_says_that_the_end_is_near(model: str, interface: str) -> None:
    """Else what the client has on its way is refused, and not each client asks again."""
    with Versions(model, interface, "--http2-cleartext") as server, Connection(server.address) as old:
        asked = [old.ask(get("/gate"))]
        server.journal.wait_for("at gate one")
        server.version("two")
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: " finishes its requests" in server.stderr(), "the old generation drains")
        asked.append(old.ask(get("/")))
        server.journal.open_gate("one")
        old.read_to_end()
        said = [event.last_stream_id for event in old.client.events if isinstance(event, ConnectionTerminated)]
        assert said == [2**31 - 1, asked[-1]]
        assert [old.client.answers[stream].body[:3] for stream in asked] == [b"one", b"one"]


def is_answered_anew(server: Versions) -> bool:
    """Whether the new generation answers a new connection. A worker of the old one may accept it, and say GOAWAY."""
    with Connection(server.address) as connection:
        stream = connection.ask(get("/"))
        while connection.client.went_away is None and not (answer := connection.client.answers[stream]).ended:
            if not connection.receive():
                return False
        return connection.client.went_away is None and answer.body.startswith(b"two")


@pytest.mark.parametrize("late", [False, True], ids=["", "after the order"])
@pytest.mark.parametrize("model", ["poll", "epoll", "io_uring"])
def test_stop_while_the_first_request_of_a_connection_comes(model: str, late: bool, token: str) -> None:
    """A client that was accepted is answered, even if its first bytes had not been read when the order came, or came
    while the loop was busy and had not seen the order.
    """
    options = ("--http2-cleartext", "--threads", "0", "--no-supervisor")
    with serve(model, "wsgi", *options, app="support.app_gated:application") as server, ExitStack() as stack:
        server.journal.open_gate("open")
        plain, http1 = (stack.enter_context(server.connect()) for _ in range(2))
        busy = stack.enter_context(Connection(server.address))
        assert busy.request("/?open").status == 200, "those who connected before are accepted"
        held = busy.ask(get(f"/?{token}"))
        server.journal.wait_for(f"at gate {token}")
        client = Client()
        streams = [client.ask(get("/?open")) for _ in range(3)]

        def send() -> None:
            plain.send(client.h2.data_to_send())
            http1.send(b"GET /?open HTTP/1.1\r\nHost: a\r\n\r\n")

        def stop() -> None:
            server.send_signal(signal.SIGTERM)
            begun = sleeps(server.pid)
            wait_until(lambda: sleeps(server.pid) > begun + 3, "the application has looked at its gate, and at signals")

        for step in (stop, send) if late else (send, stop):
            step()
        server.journal.open_gate(token)
        assert busy.answer(held).status == 200
        while data := plain.socket.recv(65536):
            client.take(data)
        assert [client.answers[stream].body for stream in streams] == [b"done"] * 3
        assert client.went_away is not None
        assert http1.read_response().body == b"done"
        assert server.wait() == 0


def test_stop_while_a_client_connects(token: str) -> None:
    """Under io_uring the kernel accepts clients of a process that is busy and has its order already. One of HTTP/2 is
    answered, or told that it is not."""
    options = ("--http2-cleartext", "--threads", "0", "--no-supervisor")
    with serve("io_uring", "wsgi", *options, app="support.app_gated:application") as server, ExitStack() as stack:
        server.journal.open_gate("open")
        busy = stack.enter_context(Connection(server.address))
        held = busy.ask(get(f"/?{token}"))
        server.journal.wait_for(f"at gate {token}")
        late = [stack.enter_context(Connection(server.address)) for _ in range(5)]
        for each in late[:4]:
            each.ask(get("/?open"))
        server.send_signal(signal.SIGTERM)
        begun = sleeps(server.pid)
        wait_until(lambda: sleeps(server.pid) > begun + 3, "the application has looked at its gate, and at signals")
        server.journal.open_gate(token)
        assert busy.answer(held).status == 200
        for each in late:
            each.read_to_end()
            assert each.client.went_away is not None
            assert all(answer.ended or answer.reset == 7 for answer in each.client.answers.values())
        assert server.wait() == 0


@pytest.mark.parametrize("model", ["poll", "epoll", "io_uring"])
def test_stop_with_a_client_that_says_nothing(model: str) -> None:
    """It has 0.3 s to show which protocol it speaks."""
    with serve(model, "wsgi", "--http2-cleartext") as server, server.connect() as silent, server.connect() as other:
        assert other.request("GET", "/").status == 200, "who connected before is accepted"
        assert stop_takes(server) < 1.0 + SOON_S
        silent.assert_closed()


@pytest.mark.parametrize("model", ["epoll", "io_uring"])
def test_stop_before_the_preface(model: str, tmp_path: Path) -> None:
    """A client over TLS that has agreed upon HTTP/2, and has sent nothing yet: it is told, and waits for nothing."""
    authority = Authority(tmp_path)
    with TlsServer(authority, "support.apps_wsgi:app", "--model", model) as server:
        context = authority.client_context()
        context.set_alpn_protocols(["h2"])
        assert isinstance(server.address, tuple)
        with socket.create_connection(server.address) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                assert secure.selected_alpn_protocol() == "h2"
                secure.settimeout(PATIENCE_S)
                with Connection(server.address, authority.client_context()) as other:
                    assert other.request("/").status == 200, "the handshake before has ended"
                    server.send_signal(signal.SIGTERM)
                said = b""
                while data := secure.recv(65536):
                    said += data
        assert [int.from_bytes(payload[4:8]) for kind, payload in frames_of(said) if kind == GOAWAY] == [0]
        assert server.wait() == 0


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "unix:a.sock"], ids=["tcp", "unix"])
@pytest.mark.parametrize(
    ("model", "interface"),
    [("iterative", "wsgi"), ("threaded", "wsgi"), ("prethreaded", "asgi"), ("forking", "asgi"), ("epoll", "wsgi")],
)
def test_stop_with_a_client_that_takes_nothing_of_a_stream_it_has_reset(model: str, interface: str, bind: str) -> None:
    """Nothing is in flight. The buffer of a unix socket stays full, where that of TCP often grows a little."""
    with serve(model, interface, "--http2-cleartext", bind=(bind,)) as server:
        client = Client(window=1 << 24)
        client.h2.increment_flow_control_window(1 << 24)
        with PlainConnection(server.address, receive_buffer=4096) as connection:
            stream = client.ask(get("/send?size=10000000&parts=100"))
            connection.send(client.h2.data_to_send())
            await_idle(server.pid)
            connection.send(frame(3, 0, stream, (8).to_bytes(4)))
            await_idle(server.pid)
            assert stop_takes(server) < SOON_S


def sleeps(pid: int) -> int:
    """How often the main thread of a process has waited."""
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)$", status, re.MULTILINE)[0])


@pytest.mark.parametrize(("model", "interface"), [("epoll", "asgi"), ("epoll", "wsgi"), ("threaded", "asgi")])
def test_request_timeout(model: str, interface: str) -> None:
    """A stream whose application takes too long is answered 504, and the connection goes on."""
    options = ("--http2-cleartext", "--request-timeout", "0.3", "--graceful-timeout", "1")
    with serve(model, interface, *options, app=f"support.app_late:{interface}") as server:
        with Connection(server.address) as connection:
            late = connection.ask(get("/waits"))
            assert connection.answer(late).status == 504
            assert connection.request("/").status == 200
        (server.directory / "released").touch()


@pytest.mark.parametrize(("model", "interface"), [("epoll", "asgi"), ("io_uring", "wsgi")])
def test_what_is_logged_and_counted(model: str, interface: str) -> None:
    logs = ("--access-log", "access.log", "--access-log-format", "json", "--span-log", "spans.log")
    more = ("--http2-cleartext", "--request-id", "x-request-id", "--server-timing")
    with serve(model, interface, *logs, *more) as server:
        with Connection(server.address) as connection:
            answer = connection.request("/send?size=1000", (b"user-agent", b"test"))
            assert answer.status == 200
            assert answer.fields[b"x-request-id"]
            assert b"app;dur=" in answer.fields[b"server-timing"]
            cancelled = connection.ask(get("/gate?gate=never"))
            server.journal.wait_for("at gate never")
            connection.client.h2.reset_stream(cancelled, 8)
            connection.flush()
            connection.request("/")  # the reset is before it
            server.journal.open_gate("never")
            path = server.directory / "access.log"
            wait_until(lambda: len(path.read_text().splitlines()) == 3, "all is logged")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert {line["version"] for line in lines} == {"2"}
        first = next(line for line in lines if line["target"] == "/send?size=1000")
        assert (first["status"], first["bytes"], first["complete"]) == (200, 1000, True)
        assert not next(line for line in lines if line["target"] == "/gate?gate=never")["complete"]
        spans = [json.loads(line) for line in (server.directory / "spans.log").read_text().splitlines()]
        versions = {span["request"]: span["version"] for span in spans if "request" in span}
        assert versions["GET /send?size=1000"] == "2"


@pytest.mark.parametrize(("model", "interface"), [("epoll", "wsgi"), ("threaded", "asgi")])
def test_concurrency_limit(model: str, interface: str, token: str) -> None:
    """Streams count as requests in flight."""
    with serve(model, interface, "--http2-cleartext", "--limit-concurrency", "2") as server:
        with Connection(server.address) as connection, Connection(server.address) as other:
            held = [connection.ask(get(f"/gate?gate={token}")), connection.ask(get(f"/gate?gate={token}"))]
            server.journal.wait_for(f"at gate {token}")
            wait_until(lambda: other.request("/").status == 503, "two requests are in flight")
            server.journal.open_gate(token)
            assert [connection.answer(stream).status for stream in held] == [200, 200]
            wait_until(lambda: other.request("/").status == 200, "they are over")


@pytest.mark.parametrize(("model", "interface"), [("epoll", "asgi"), ("threaded", "wsgi")])
def test_metrics(model: str, interface: str) -> None:
    with serve(model, interface, "--http2-cleartext", "--metrics-bind", "unix:metrics.sock") as server:
        with Connection(server.address) as connection:
            for _ in range(3):
                assert connection.request("/").status == 200
            cancelled = connection.ask(get("/send?size=40000000&parts=1000"))
            connection.client.h2.reset_stream(cancelled, 8)
            connection.flush()
            assert connection.request("/").status == 200
        wait_until(lambda: told(server)["http2"] == told_of(1, 5, 1, 0), "all is counted")
        with Connection(server.address) as flood:
            flood.send_raw(b"".join(frame(6, 0, 0, bytes(8)) for _ in range(1500)))
            flood.read_to_end()
            assert flood.client.went_away is not None
            assert flood.client.went_away.error_code == 11
        wait_until(lambda: told(server)["http2"] == told_of(2, 5, 1, 1), "the flood is counted")


def told_of(connections: int, requests: int, resets: int, floods: int) -> dict[str, int]:
    return {"connections": connections, "requests": requests, "resets": resets, "floods": floods}


def told(server: Server) -> dict[str, Any]:
    with PlainConnection(str(server.directory / "metrics.sock")) as connection:
        found: dict[str, Any] = json.loads(connection.request("GET", "/status.json").body)
        return found


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(("model", "interface"), [("epoll", "asgi"), ("epoll", "wsgi"), ("threaded", "asgi")])
def test_rapid_reset(model: str, interface: str) -> None:
    """Ten clients that begin and cancel requests: each is sent away, and another client is served meanwhile."""
    attack = b"".join(
        head(2 * number + 1, get("/send?size=100000")) + frame(3, 0, 2 * number + 1, bytes(4)) for number in range(3000)
    )
    with serve(model, interface, "--http2-cleartext") as server:
        with Connection(server.address) as friend:
            assert friend.request("/").status == 200
            before = cpu_s(server.ready[0].pid)
            for _ in range(10):
                with Connection(server.address) as hostile:
                    with suppress(OSError):
                        hostile.send_raw(attack)
                    hostile.client.h2.highest_outbound_stream_id = 2**31 - 1
                    with suppress(ProtocolError):
                        hostile.read_to_end()
                    assert friend.request("/").status == 200
            assert cpu_s(server.ready[0].pid) - before < 5
        assert not server.complaints()


@pytest.mark.parametrize(("model", "interface"), [*((model, "asgi") for model in MODELS), ("epoll", "wsgi")])
def test_client_that_sends_no_more(model: str, interface: str, token: str) -> None:
    """Its windows open no more: what has no room is given up at once. What runs is answered, and the CPU rests."""
    with serve(model, interface, "--http2-cleartext") as server:
        with Connection(server.address, client=Client(reads=False)) as full:
            held = full.client.answers[full.ask(get("/send?size=2000000&parts=100"))]
            full.until(lambda: len(held.body) == 65535)
            full.socket.shutdown(socket.SHUT_WR)
            full.read_to_end()
            assert held.reset is not None
        with Connection(server.address) as waits:
            stream = waits.ask(get(f"/gate?gate={token}"))
            server.journal.wait_for(f"at gate {token}")
            waits.socket.shutdown(socket.SHUT_WR)
            assert rests(server.pid)
            server.journal.open_gate(token)
            assert waits.answer(stream).status == 200
            waits.read_to_end()
        assert server.get("/").status == 200


def test_client_of_tls_that_ends_before_its_preface(tmp_path: Path) -> None:
    """It sends close_notify, and then nothing: the connection is over, and no deadline is waited for."""
    authority = Authority(tmp_path)
    with TlsServer(authority, "support.apps_wsgi:app", "--model", "epoll", "--http", "h2") as server:
        context = authority.client_context()
        context.set_alpn_protocols(["h2"])
        with TlsConnection(server.address, context) as connection:
            with suppress(ssl.SSLError):  # the server has SETTINGS to send, which come after our close_notify
                connection.socket.unwrap()
            descriptor = connection.socket.fileno()
            wait_until(lambda: has_ended(descriptor), "the connection is over", timeout_s=HEADER_S / 2)


#: s; the default of --header-timeout.
HEADER_S = 30.0


def has_ended(descriptor: int) -> bool:
    try:
        return not os.read(descriptor, 65536)
    except BlockingIOError:
        return False
