"""The generator over HTTP/2: against servers of ours, another one, and servers that do what a test says."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import septet.lab
from septet.lab.load import LoadError, Plan, Target, run
from support.http2_server import Http2Server, Peer
from support.needs import lacking
from support.scripted_server import ScriptedServer, keep_answering
from support.server import Server, loopback, serve
from support.tls import Authority, TlsServer
from support.waiting import PATIENCE_S, wait_until

OURS = [("epoll", "asgi"), ("threaded", "wsgi"), ("io_uring", "asgi")]


def load(url: str, *targets: Target, **changes: Any) -> dict[str, Any]:
    plan = {"users": 12, "streams": 5, "duration_s": 0.4, "warmup_s": 0.0, "targets": targets, "timeout_s": 20.0}
    return run(Plan(url=url, **{**plan, **changes}))


@pytest.fixture(scope="module", params=OURS, ids="-".join)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serve(*request.param, "--http2-cleartext", "--access-log", "access.log") as server:
        yield server


def url_of(server: Server, scheme: str = "http") -> str:
    assert isinstance(server.address, tuple)
    return f"{scheme}://localhost:{server.address[1]}/"


# Servers of ours


def test_figures(server: Server) -> None:
    """12 users over 5 streams are three connections; what is counted is what the server has logged, and no more."""
    log = server.directory / "access.log"
    begun = len(log.read_text())
    figures = load(url_of(server) + "status?code=200&body=x")
    assert (figures["errors"], figures["protocol"], figures["reconnects"]) == ({}, "HTTP/2", 0)
    assert figures["statuses"] == {"200": figures["answers"]}
    assert figures["body_bytes"] == figures["answers"] > 12

    def logged() -> list[str]:
        return log.read_text()[begun:].splitlines()

    wait_until(lambda: len(logged()) >= figures["answers"], "all answers are in the log")
    lines = logged()
    assert len(lines) - figures["answers"] <= 12, "of each user one request may be under way at the end"
    assert all("HTTP/2" in line for line in lines)


def test_answers_and_bodies_of_all_sizes(server: Server) -> None:
    """Bodies beyond the windows of both sides, and answers without a body."""
    large = Target("/send?size=20000000", expect_length=20_000_000)
    upload = Target("/read?how=all", method="POST", body="x" * 300_000, expect_text="300000")
    head = Target("/send?size=1000", method="HEAD", expect_length=0)
    targets = [large, upload, head, Target("/status?code=204")]
    figures = load(url_of(server), *targets, users=4, rate=8.0, duration_s=1.0, timeout_s=60.0)
    assert (figures["answers"], figures["errors"]) == (8, {})
    assert figures["body_bytes"] > 40_000_000


def test_wrong_answers(server: Server) -> None:
    figures = load(url_of(server) + "status?code=503&body=x")
    assert (figures["answers"], set(figures["errors"])) == (0, {"status 503"})


def test_open_loop(server: Server) -> None:
    figures = load(url_of(server) + "status?code=200&body=x", rate=100.0, duration_s=0.5)
    assert figures["errors"] == {}
    assert figures["due"] == 50
    assert figures["answers"] == 50
    assert figures["latency_us"]["p50"] >= figures["service_us"]["p50"]


def test_redirects_count_as_answers(server: Server) -> None:
    figures = load(url_of(server) + "status?code=302&body=x")
    assert set(figures["statuses"]) == {"302"}


@pytest.mark.parametrize("model", ["epoll", "io_uring"])
def test_a_stop_under_load(model: str) -> None:
    """Requests that a server does not process when it stops are sent again; then it is gone, and refuses.
    Clients in the queue of its listener are reset.
    """
    options = ("--http2-cleartext", "--graceful-timeout", "5", "--access-log", "access.log")
    with serve(model, "asgi", *options) as stopped:
        command = [sys.executable, "-m", "septet", "load", url_of(stopped) + "status?code=200&body=x"]
        words = ["--http2", "--streams", "5", "--duration", "3", "--warmup", "0", "--json"]
        with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
            wait_until(lambda: (stopped.directory / "access.log").read_text().count("\n") > 100, "it is loaded")
            stopped.stop()
            output, complaints = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 0, complaints
    figures = json.loads(output)
    assert {"refused"} <= set(figures["errors"]) <= {"refused", "reset"}
    assert figures["reconnects"] > 0


def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with TlsServer(authority, "support.apps_wsgi:app", "--model", "epoll") as server:
        figures = load(url_of(server, "https") + "send?size=200000", ca=authority.pem.read_text())
    assert (figures["errors"], figures["protocol"]) == ({}, "HTTP/2")
    assert figures["body_bytes"] == figures["answers"] * 200_000 > 0


# A server of others


def test_nghttpd(tmp_path: Path) -> None:
    program = shutil.which("nghttpd") or shutil.which("nghttpd", path="/usr/sbin")
    if program is None:
        lacking("nghttpd", "nghttp2-server")
    (tmp_path / "page").write_bytes(b"x" * 100_000)
    with socket.create_server((loopback(), 0)) as reserved:
        port = reserved.getsockname()[1]
    command = [str(program), "--no-tls", f"--address={loopback()}", f"--htdocs={tmp_path}", str(port)]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: _listens(port), "nghttpd listens")
            figures = load(f"http://{loopback()}:{port}/page")
        finally:
            process.terminate()
    assert figures["errors"] == {}
    assert figures["body_bytes"] == figures["answers"] * 100_000 > 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((loopback(), port)) == 0


# Servers that do what a test says


def answer(peer: Peer, stream: int) -> None:
    peer.answer(stream)


def test_users_share_connections() -> None:
    with Http2Server(answer) as server:
        load(server.url, users=12, streams=5)
        assert server.connections == 3


def test_connections_that_go_away() -> None:
    """After 20 requests the server announces its end, and does not process those that come meanwhile: none is lost."""

    def ending(peer: Peer, stream: int) -> None:
        if peer.requests <= 20:
            peer.answer(stream)
        if peer.requests == 20:
            peer.go_away(stream)
            peer.over = True

    with Http2Server(ending) as server:
        figures = load(server.url)
        assert figures["errors"] == {}
        assert figures["reconnects"] >= 3
        assert figures["retries"] > 0
        assert server.connections > figures["reconnects"]
    assert figures["answers"] > 60


def test_an_error_of_the_connection() -> None:
    """GOAWAY that names an error, and the end of the connection: what was under way has failed."""

    def calming(peer: Peer, stream: int) -> None:
        peer.go_away(stream, 11)
        peer.over = True

    with Http2Server(calming) as server:
        figures = load(server.url, users=1)
    assert set(figures["errors"]) == {"GOAWAY: ENHANCE_YOUR_CALM"}


def test_refused_streams_are_sent_again() -> None:
    def refusing(peer: Peer, stream: int) -> None:
        if peer.requests % 5 == 0:
            peer.h2.reset_stream(stream, 7)
        else:
            peer.answer(stream)

    with Http2Server(refusing) as server:
        figures = load(server.url, method="POST", body="x", users=1)
        assert server.connections == 1
    assert figures["errors"] == {}
    assert 0 < figures["retries"] <= figures["answers"] // 4 + 1


def test_streams_that_are_always_refused() -> None:
    with Http2Server(lambda peer, stream: peer.h2.reset_stream(stream, 7)) as server:
        figures = load(server.url)
    assert (figures["answers"], set(figures["errors"])) == (0, {"stream reset: REFUSED_STREAM"})


def test_an_error_of_a_stream() -> None:
    """It ends that stream alone."""

    def failing(peer: Peer, stream: int) -> None:
        if peer.requests % 5 == 0:
            peer.h2.reset_stream(stream, 2)
        else:
            peer.answer(stream)

    with Http2Server(failing) as server:
        figures = load(server.url)
        assert server.connections == 3
    assert set(figures["errors"]) == {"stream reset: INTERNAL_ERROR"}
    assert figures["answers"] > 0


@pytest.mark.parametrize(("length", "kind"), [(6, "short body"), (4, "malformed")])
def test_content_that_is_not_as_long_as_was_said(length: int, kind: str) -> None:
    """It is an error of the stream (RFC 9113 section 8.1.1)."""

    def lying(peer: Peer, stream: int) -> None:
        peer.answer(stream, length=length if peer.requests % 5 == 0 else 5)

    with Http2Server(lying) as server:
        figures = load(server.url)
        assert server.connections == 3
    assert set(figures["errors"]) == {kind}
    assert figures["answers"] > 0


def test_a_request_that_takes_too_long() -> None:
    """It is cancelled; other streams of the connection go on."""

    def stalling(peer: Peer, stream: int) -> None:
        if stream > 1:
            peer.answer(stream)

    with Http2Server(stalling) as server:
        figures = load(server.url, users=3, timeout_s=1.0, duration_s=2.5)
        assert figures["errors"] == {"time-out": 1}
        assert (server.connections, server.peers[0].resets) == (1, [1])
    assert figures["answers"] > 10


def test_a_connection_that_falls_silent() -> None:
    """Its requests time out, and the next ones take another connection."""

    def silent(peer: Peer, stream: int) -> None:
        if peer.number > 1:
            peer.answer(stream)

    with Http2Server(silent) as server:
        figures = load(server.url, users=3, timeout_s=0.3, duration_s=1.0)
        assert figures["errors"] == {"time-out": 3}
        assert server.connections == 2
    assert figures["answers"] > 3


def test_a_connection_that_is_cut() -> None:
    """Without GOAWAY nothing is known of the requests: they fail on a first connection, and are repeated on one that
    has carried answers."""

    def cutting(peer: Peer, stream: int) -> None:
        if peer.requests <= 10:
            peer.answer(stream)
        else:
            peer.over = True

    with Http2Server(cutting) as server:
        figures = load(server.url, users=5)
    assert figures["errors"] == {}
    assert figures["retries"] > 0
    with Http2Server(cutting) as server:
        figures = load(server.url, users=5, method="POST")
    assert set(figures["errors"]) <= {"closed early", "reset"}
    assert figures["errors"]


def test_requests_of_a_connection() -> None:
    with Http2Server(answer) as server:
        figures = load(server.url, users=5, requests_per_connection=20)
        assert figures["errors"] == {}
        assert figures["reconnects"] == figures["retries"] == 0
        assert all(peer.requests <= 20 for peer in server.peers)
        assert server.connections >= figures["answers"] // 20


def test_cookies_and_numbers_of_users() -> None:
    seen: set[bytes] = set()
    cookies: set[str | None] = set()

    def noting(peer: Peer, stream: int) -> None:
        seen.add(peer.bodies[stream])
        cookies.add(peer.fields[stream].get("cookie"))
        peer.h2.send_headers(stream, [(":status", "200"), ("set-cookie", f"n={peer.number}")], end_stream=True)

    with Http2Server(noting) as server:
        figures = load(server.url, method="POST", body="user {user}", cookies=True)
    assert figures["errors"] == {}
    assert seen == {b"user %d" % number for number in range(12)}
    assert cookies == {None, "n=1", "n=2", "n=3"}


def test_several_processes() -> None:
    cpus = tuple(sorted(os.sched_getaffinity(0)))[:2]
    if len(cpus) < 2:
        pytest.skip("it needs two CPUs")
    with Http2Server(answer) as server:
        figures = load(server.url, cpus=cpus)
        assert server.connections == 3
    assert figures["errors"] == {}


# Plans that cannot be


def test_fewer_streams_than_are_wanted() -> None:
    with Http2Server(answer, MAX_CONCURRENT_STREAMS=3) as server:
        with pytest.raises(LoadError, match=r"allows 3 streams on a connection: take --streams 3, or fewer"):
            load(server.url)
        assert load(server.url, streams=3)["errors"] == {}


def test_a_server_of_http1_alone() -> None:
    said = r"does not speak HTTP/2 in clear, .*: its answer begins with b'HTTP/1.1"
    with ScriptedServer(keep_answering) as server, pytest.raises(LoadError, match=said):
        load(server.url)


def test_a_server_that_closes() -> None:
    with (
        ScriptedServer(lambda connection: connection.socket.recv(65536)) as server,  # unread bytes would bring RST
        pytest.raises(LoadError, match="instead of beginning HTTP/2"),
    ):
        load(server.url)


def test_a_server_of_http1_alone_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with TlsServer(authority, "support.apps_wsgi:app", "--model", "epoll", "--http", "h1") as server:
        with pytest.raises(LoadError, match="did not select h2"):
            load(url_of(server, "https"), ca=authority.pem.read_text())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "close"}, "without --close"),
        ({"mode": "http10"}, "without --http10"),
        ({"slow": 1}, "--slow"),
        ({"url": "ws://localhost/"}, "WebSockets are loaded over HTTP/1.1"),
        ({"headers": ("Connection: close",)}, "'Connection: close' is one of HTTP/1.1"),
        ({"targets": (Target(headers=("TE: gzip",)),)}, "'TE: gzip' is one of HTTP/1.1"),
        ({"streams": -1}, "at least 0"),
        ({"cpus": (0, 1, 2, 3)}, "12 users, 5 of whom share a connection, cannot be spread over 4 CPUs"),
    ],
)
def test_what_http2_does_not_have(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(LoadError, match=said):
        Plan(**{"url": "http://localhost/", "users": 12, "streams": 5, **changes})


def test_connections_are_not_divided() -> None:
    plan = Plan("http://localhost/", users=12, streams=5)
    assert [(part.users, part.first_user) for part in (plan.share(0, 2), plan.share(1, 2))] == [(10, 0), (2, 10)]
    with pytest.raises(LoadError, match="cannot be spread over 4 processes"):
        plan.share(0, 4)


def test_without_the_library() -> None:
    """`-S` leaves installed packages out: HTTP/1.1 needs none."""
    command = [sys.executable, "-S", "-m", "load", "http://127.0.0.1:9/", "--streams", "2"]
    lab = str(Path(septet.lab.__file__).parent)
    done = subprocess.run(command, env={"PYTHONPATH": lab}, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert "--http2 needs the library h2: pip install 'septet[http2]'" in done.stdout
