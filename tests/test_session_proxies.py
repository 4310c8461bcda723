"""A session whose peer is a proxy: the client of each request, and the PROXY protocol before the first request."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from septet.access_log import AccessLog
from septet.protocol import CLOSE, READ, RUN, WRITE
from septet.proxies.filter import UntrustedFieldFilter
from septet.rules import Rules, Timeouts
from septet.session.http1 import Session
from septet.session.phases import HEAD, IDLE, PROXY_HEADER
from support.carrier import CLIENT, SERVER, Watched, ok, write_all
from support.messages import byte_by_byte, render
from support.proxy_headers import LOCAL, OVER_TLS, UDP4, UNIX, binary, line, tcp

GET = render("GET", "/")


def trusts(peer: str) -> bool:
    return peer in (CLIENT[0], "unix:", "203.0.113.1")


FILTERED = Rules(filter_untrusted=UntrustedFieldFilter(trusts))
BEHIND_PROXY = Rules(
    filter_untrusted=UntrustedFieldFilter(trusts),
    expects_proxy_header=trusts,
    timeouts=Timeouts(keep_alive=75, header=30),
)


def by(client: str) -> bytes:
    return render("GET", "/", f"X-Forwarded-For: {client}", "X-Forwarded-Proto: https")


def answer(session: Session) -> bytes:
    assert session.want is RUN
    session.respond(ok(), b"", True)
    return write_all(session)  # type: ignore[arg-type]


def seen(session: Session) -> tuple[tuple[str, int] | None, str]:
    assert session.want is RUN
    return session.request.client or session.client, session.request.scheme


def test_each_request_has_a_client_of_its_own() -> None:
    """Clients of several requests on one connection, with repeated heads."""
    session = Watched(FILTERED)
    for _ in range(3):
        for data, expected in (
            (by("203.0.113.9"), (("203.0.113.9", 0), "https")),
            (GET, (CLIENT, "http")),
            (by("203.0.113.10"), (("203.0.113.10", 0), "https")),
            (render("GET", "/", "X_A: b"), (CLIENT, "http")),
        ):
            session.receive(data)
            assert seen(session) == expected
            answer(session)


def test_pipelined_requests_have_clients_of_their_own() -> None:
    session = Watched(FILTERED)
    session.receive(by("203.0.113.9") + GET + by("203.0.113.10") + GET)
    for client in (("203.0.113.9", 0), CLIENT, ("203.0.113.10", 0), CLIENT):
        assert seen(session) == (client, "http" if client is CLIENT else "https")
        answer(session)


@pytest.mark.parametrize("spool", [None, io.BytesIO])
def test_client_is_known_before_the_body_has_come(spool: Callable[[], io.BytesIO] | None) -> None:
    session = Watched(dataclasses.replace(FILTERED, spool=spool))
    data = render("POST", "/", "X-Forwarded-For: 203.0.113.9", "Content-Length: 5")
    for piece in byte_by_byte(data):
        session.receive(piece)
    assert session.request.client == ("203.0.113.9", 0)
    session.receive(b"12345")
    assert seen(session)[0] == ("203.0.113.9", 0)
    assert session.poll() == b"12345" if session.body is None else session.body.read() == b"12345"
    answer(session)
    session.drop_body()
    session.receive(GET)
    assert seen(session)[0] == CLIENT


def test_peers_that_share_a_head_do_not_share_their_trust() -> None:
    trusted, stranger = Watched(FILTERED), Watched(FILTERED, ("198.51.100.1", 1))
    for _ in range(2):
        for session, client in ((trusted, ("203.0.113.9", 0)), (stranger, ("198.51.100.1", 1))):
            session.receive(by("203.0.113.9"))
            assert seen(session)[0] == client
            answer(session)


def test_nonsense_is_refused_and_nothing_behind_it_is_run(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb", buffering=0) as file:
        session = Watched(Rules(filter_untrusted=UntrustedFieldFilter(trusts), observer=AccessLog(file)))
        session.receive(by("203.0.113.9"))
        answer(session)
        assert session.receive(by("nonsense") + GET) is WRITE
        assert write_all(session).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert session.want is CLOSE
    logged = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert logged == ["203.0.113.9", CLIENT[0]]


def test_unix_peer_is_told_from_one_that_has_left() -> None:
    """accept(2) gives no address for both; only the listener shows that a unix socket's peer has none."""
    unix = Session(FILTERED, None, ("/run/app.sock", None))
    gone = Session(FILTERED, None, SERVER)
    for session in (unix, gone):
        session.receive(by("203.0.113.9"))
    assert seen(unix) == (("203.0.113.9", 0), "https")
    assert seen(gone) == (None, "http")


# The PROXY protocol

HEADERS = {
    "v1": line("203.0.113.9", "198.51.100.2"),
    "v2": tcp("203.0.113.9", "198.51.100.2"),
    "v2 over TLS": tcp("203.0.113.9", "198.51.100.2", OVER_TLS),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("whole", [True, False])
def test_header_names_the_client_of_all_requests(name: str, whole: bool) -> None:
    session = Watched(BEHIND_PROXY)
    assert (session.want, session.phase) == (READ, PROXY_HEADER)
    data = HEADERS[name] + GET
    for piece in [data] if whole else byte_by_byte(data):
        session.receive(piece)
    scheme = "https" if "TLS" in name else "http"
    for _ in range(3):
        assert seen(session) == (("203.0.113.9", 4711), scheme)
        assert session.server == ("198.51.100.2", 443)
        answer(session)
        session.receive(GET)


def test_scheme_of_one_connection_is_not_that_of_another() -> None:
    for name, scheme in (("v2", "http"), ("v2 over TLS", "https")) * 2:
        session = Watched(BEHIND_PROXY)
        session.receive(HEADERS[name])
        for _ in range(2):
            session.receive(GET)
            assert seen(session)[1] == scheme
            answer(session)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", binary(command=LOCAL), binary()])
def test_header_that_names_nobody(header: bytes) -> None:
    session = Watched(BEHIND_PROXY)
    session.receive(header + GET)
    assert seen(session) == (CLIENT, "http")
    assert session.server == SERVER


UNNAMED = {
    "v1 UNKNOWN": b"PROXY UNKNOWN\r\n",
    "v2 UNSPEC": binary(),
    "v2 UDP": binary(bytes(12), family=UDP4),
    "v2 AF_UNIX": binary(bytes(216), family=UNIX),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_client_whom_the_header_does_not_name_is_not_believed(name: str) -> None:
    """The client's bytes pass through a trusted proxy, but the client is none, even if unix sockets are trusted."""
    session = Watched(BEHIND_PROXY)
    session.receive(UNNAMED[name] + by("10.0.0.1"))
    assert seen(session) == (None if "UNIX" in name else CLIENT, "http")
    answer(session)
    session.receive(by("10.0.0.1"))
    assert seen(session)[1] == "http"


def test_proxy_itself_is_believed() -> None:
    session = Watched(BEHIND_PROXY)
    session.receive(binary(command=LOCAL) + by("10.0.0.1"))
    assert seen(session) == (("10.0.0.1", 0), "https")


def test_client_that_the_header_names_is_who_must_be_trusted() -> None:
    """A proxy that only passes bytes on also passes on its client's fields."""
    for source, client in (("203.0.113.9", ("203.0.113.9", 4711)), ("203.0.113.1", ("10.0.0.1", 0))):
        session = Watched(BEHIND_PROXY)
        session.receive(line(source, "198.51.100.2") + by("10.0.0.1"))
        assert seen(session)[0] == client


def test_stranger_speaks_http_at_once_and_names_nobody() -> None:
    session = Watched(BEHIND_PROXY, ("198.51.100.1", 1))
    assert session.phase is IDLE
    session.receive(GET)
    assert seen(session) == (("198.51.100.1", 1), "http")
    for header in HEADERS.values():
        session = Watched(BEHIND_PROXY, ("198.51.100.1", 1))
        assert session.receive(header + GET) is WRITE
        assert write_all(session).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert (session.want, session.client) == (CLOSE, ("198.51.100.1", 1))


def test_second_header_is_no_request() -> None:
    session = Watched(BEHIND_PROXY)
    session.receive(HEADERS["v1"] * 2 + GET)
    assert write_all(session).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("data", [GET, b"PROXY TCP4 nonsense\r\n" + GET])
def test_missing_header_is_answered_400(data: bytes) -> None:
    session = Watched(BEHIND_PROXY)
    assert session.receive(data) is WRITE
    written = write_all(session)
    assert written.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"PROXY protocol" in written
    assert session.want is CLOSE


def test_header_has_its_own_time_which_bytes_do_not_prolong() -> None:
    session = Watched(BEHIND_PROXY)
    session.deadline(0.0)
    for now, byte in enumerate(byte_by_byte(HEADERS["v1"][:20])):
        assert session.receive(byte) is READ
        assert session.deadline(float(now)) == 30.0
    assert session.expire() is CLOSE
    assert not session.output  # whoever it is, HTTP has not begun


def test_time_of_the_first_request_begins_after_the_header() -> None:
    session = Watched(BEHIND_PROXY)
    session.deadline(0.0)
    session.receive(HEADERS["v1"])
    assert (session.phase, session.deadline(20.0)) == (IDLE, 95.0)
    session.receive(b"G")
    assert (session.phase, session.deadline(90.0)) == (HEAD, 120.0)


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", HEADERS["v2"]])
def test_end_before_the_first_request(data: bytes) -> None:
    """A balancer's health check: nothing to answer, nothing to log."""
    session = Watched(BEHIND_PROXY)
    if data:
        assert session.receive(data) is READ
    assert session.receive(b"") is CLOSE
    assert not session.output


def test_stop_before_the_header_has_come() -> None:
    session = Watched(BEHIND_PROXY)
    session.receive(b"PROXY")
    assert session.stop() is CLOSE
