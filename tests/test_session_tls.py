"""TLS around a session, without sockets and clocks: whole handshakes and broken ones, records in pieces, and ends."""

import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.cases import CASES
from septet.exchange import FileRegion
from septet.http.head import response_head
from septet.net.certificates import Certificates
from septet.net.tls_files import Pair, TlsOptions
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE
from septet.rules import DRAINING_S, STOPPING_S, Rules, Timeouts
from septet.session.http1 import Session
from septet.session.http2 import Http2Session
from septet.session.tls import OWN_BYTES, Tls
from support.carrier import CLIENT, SERVER
from support.messages import pattern, render
from support.proxy_headers import line, tcp
from support.tls import Authority
from support.tls_peer import GET, TIMEOUTS, Peer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificates(authority: Authority) -> Certificates:
    files = authority.server
    return Certificates(TlsOptions(pairs=(Pair(str(files.certificate), str(files.key)),)))


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return authority.client_context()


@pytest.fixture
def peer(certificates: Certificates, context: ssl.SSLContext) -> Peer:
    return Peer(certificates, context)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def single(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("cut", [lambda data: [data], single], ids=["whole", "single bytes"])
def test_request_and_answer(
    certificates: Certificates, context: ssl.SSLContext, version: ssl.TLSVersion, cut: Callable[[bytes], list[bytes]]
) -> None:
    context.minimum_version = context.maximum_version = version
    peer = Peer(certificates, context).shake_hands(cut)
    assert peer.client.selected_alpn_protocol() is None
    for _ in range(2):
        peer.client.write(GET)
        wants = [peer.server.receive(piece) for piece in cut(peer.said())]
        assert wants[-1] is RUN
        assert (peer.inner.request.scheme, peer.inner.tls and peer.inner.tls.version) == (
            "https",
            peer.client.version(),
        )
        assert peer.respond(b"hello") is WRITE
        assert peer.deliver() is READ
        assert peer.read().endswith(b"\r\n\r\nhello")


def test_alpn(certificates: Certificates, context: ssl.SSLContext) -> None:
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert Peer(certificates, context).shake_hands().client.selected_alpn_protocol() == "http/1.1"


def test_tickets_go_out_with_the_first_answer(peer: Peer) -> None:
    """The client's Finished and its request come together, as browsers send them."""
    with pytest.raises(ssl.SSLWantReadError):
        peer.client.do_handshake()
    peer.server.receive(peer.said())
    assert peer.deliver() is READ
    peer.client.do_handshake()
    peer.client.write(GET)
    assert peer.server.receive(peer.said()) is RUN
    peer.respond(b"hello")
    peer.deliver()
    assert peer.read().endswith(b"hello")
    assert peer.client.session.has_ticket  # type: ignore[union-attr]


def test_large_answer_in_small_pieces(peer: Peer) -> None:
    peer.shake_hands().ask()
    peer.respond(pattern(200_000))
    assert peer.deliver(most=999) is READ
    assert peer.read().endswith(pattern(200_000))


def test_file(peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(150_000))
    with path.open("rb") as file:
        peer.shake_hands().ask()
        peer.respond(FileRegion(file.fileno(), 1000, 149_000))
        assert peer.deliver(most=40_000) is READ
    assert peer.read().endswith(b"\r\n\r\n" + pattern(150_000)[1000:])


def test_head_of_a_file_goes_with_its_beginning(peer: Peer, tmp_path: Path) -> None:
    """The carrier sends `output` with MSG_MORE as long as a file follows, and the last piece of the file without."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        peer.shake_hands().ask()
        peer.respond(FileRegion(file.fileno(), 0, 7))
        assert peer.server.output
        assert peer.server.file is not None
        peer.server.wrote(len(peer.server.output))
        peer.server.read_file(b"content")
        assert peer.server.file is None


def test_part_of_a_record_is_progress(certificates: Certificates, context: ssl.SSLContext) -> None:
    """A client that takes 64 KiB in pieces, over more than the time-out for an answer, is not cut off."""
    rules = Rules(timeouts=Timeouts(write=30, rate=240))
    peer = Peer(certificates, context, rules).shake_hands()
    peer.ask()
    peer.respond(pattern(60_000))
    now = 0.0
    while peer.server.phase.want is WRITE:
        deadline = peer.server.deadline(now)
        assert deadline is not None
        assert now < deadline
        now += 1
        peer.server.wrote(min(300, len(peer.server.output)))
    assert now > 100


def test_end_of_our_doing(peer: Peer) -> None:
    peer.shake_hands().ask(render("GET", "/", "Connection: close"))
    peer.respond(b"hello")
    peer._in.write(peer.server.output)
    assert peer.server.wrote(len(peer.server.output)) is CLOSE  # close_notify went out with the answer
    assert peer.read().endswith(b"hello<end>")


def test_end_of_a_long_answer(peer: Peer) -> None:
    peer.shake_hands().ask(render("GET", "/", "Connection: close"))
    peer.respond(pattern(100_000))
    assert peer.deliver(most=5000) is CLOSE
    assert peer.read().endswith(pattern(100_000) + b"<end>")


def test_answer_in_parts_is_not_cut_short(peer: Peer) -> None:
    """That the connection ends with it is known from the beginning; close_notify comes at the end all the same."""
    peer.shake_hands().ask(render("GET", "/", "Connection: close"))
    peer.inner.respond(response_head(200, b"OK", ()), b"some", False)
    assert peer.deliver() is RUN
    assert not peer.read().endswith(b"<end>")
    peer.inner.push(b" more", True)
    assert peer.deliver() is CLOSE
    assert peer.read().endswith(b"<end>")


def test_application_that_fails_in_its_answer(peer: Peer) -> None:
    """No close_notify: the client must not take it for whole."""
    peer.shake_hands().ask()
    peer.inner.respond(response_head(200, b"OK", ()), b"some", False)
    peer.deliver()
    peer.inner.fail()
    assert peer.deliver() is CLOSE
    assert peer.server.lost
    assert not peer.read().endswith(b"<end>")


def test_stop_of_an_idle_connection(peer: Peer) -> None:
    peer.shake_hands()
    assert peer.server.stop() is WRITE
    assert peer.deliver() is CLOSE
    assert peer.read() == b"<end>"


def test_client_ends_in_order(peer: Peer) -> None:
    """Its close_notify is the end of what it sends, and it gets its answer."""
    peer.shake_hands().client.write(GET)
    with pytest.raises(ssl.SSLWantReadError):
        peer.client.unwrap()
    assert peer.server.receive(peer.said()) is RUN
    assert peer.server.gone
    assert not peer.server.lost
    peer.server.receive(b"anything after it is no input")
    peer.respond(b"hello")
    assert peer.deliver() is CLOSE
    assert peer.read().endswith(b"\r\n\r\nhello<end>")
    assert peer.server.receive(b"") is CLOSE
    peer.server.close()


@pytest.mark.parametrize("data", [b"", GET, render("POST", "/", "Content-Length: 10") + b"half"])
def test_end_without_close_notify_is_no_end(peer: Peer, data: bytes) -> None:
    peer.shake_hands()
    if data:
        peer.ask(data)
    assert peer.server.receive(b"") is CLOSE
    assert peer.server.lost
    assert not peer.server.half_close()


def test_broken_record(peer: Peer) -> None:
    peer.shake_hands().client.write(GET)
    record = bytearray(peer.said())
    record[-1] ^= 1
    assert peer.server.receive(bytes(record)) is WRITE
    assert peer.server.lost
    assert peer.deliver() is CLOSE
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
        peer.read()
    assert not peer.server.may_have_unread_input
    assert peer.server.half_close()  # so that the alert is not destroyed by a RST
    assert (peer.server.receive(b"more"), peer.server.receive(b"")) == (READ, CLOSE)
    assert not peer.server.half_close()


def test_plain_http(certificates: Certificates, context: ssl.SSLContext) -> None:
    for data in (GET, b"\r\n" + GET, b"g"):
        server = Peer(certificates, context).server
        assert server.receive(data) is WRITE
        answer = bytes(server.output)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"use https://" in answer
        assert server.wrote(10) is WRITE
        assert server.wrote(len(answer) - 10) is CLOSE
        assert server.half_close()
        assert (server.receive(b"more"), server.receive(b"")) == (READ, CLOSE)


def handshake(certificates: Certificates, context: ssl.SSLContext) -> bytes:
    """All that a client sends in a handshake and a request."""
    peer = Peer(certificates, context).shake_hands()
    peer.ask()
    return peer.sent


def test_handshake_cut_at_every_byte(certificates: Certificates, context: ssl.SSLContext) -> None:
    """The client leaves there. The server wants to read or to write, never to run, and ends when it has left."""
    hello = Peer(certificates, context)
    with pytest.raises(ssl.SSLWantReadError):
        hello.client.do_handshake()
    first = hello.said()
    for end in range(len(first) + 1):
        server = Peer(certificates, context).server
        assert server.receive(first[:end]) is (WRITE if end == len(first) else READ) if end else True
        assert server.receive(b"") is CLOSE
        assert not server.output
        assert not server.half_close()
        server.close()


def test_second_flight_cut_at_every_byte(certificates: Certificates, context: ssl.SSLContext) -> None:
    length = len(handshake(certificates, context))
    first = 517  # about where the second flight begins: the client's hello is longer with more extensions
    for end in range(first, length, 7):
        peer = Peer(certificates, context)
        left = end

        def cut(data: bytes) -> list[bytes]:
            nonlocal left
            part, left = data[:left], max(0, left - len(data))
            return [part] if part else []

        try:
            peer.client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        for piece in cut(peer.said()):
            peer.server.receive(piece)
        peer.deliver()
        try:
            peer.client.do_handshake()
            peer.client.write(GET)
        except ssl.SSLWantReadError:
            continue
        for piece in cut(peer.said()):
            peer.server.receive(piece)
        peer.deliver()
        assert peer.server.receive(b"") is CLOSE
        assert peer.server.lost


def test_handshake_has_one_deadline(peer: Peer) -> None:
    assert peer.server.deadline(100.0) == 110.0
    assert peer.server.phase.idle
    with pytest.raises(ssl.SSLWantReadError):
        peer.client.do_handshake()
    peer.server.receive(peer.said())
    assert peer.server.phase.want is WRITE
    assert not peer.server.phase.idle
    assert peer.server.deadline(105.0) == 110.0
    assert peer.server.expire() is CLOSE


def test_handshake_that_has_begun_is_completed_while_a_successor_serves(peer: Peer) -> None:
    """It has its usual time, and then there is time for a request, whose answer says that the connection ends."""
    with pytest.raises(ssl.SSLWantReadError):
        peer.client.do_handshake()
    peer.server.deadline(100.0)
    peer.server.receive(peer.said())
    peer.deliver()
    peer.server.drain()
    assert peer.server.deadline(105.0) == 110.0
    peer.shake_hands()
    assert peer.server.deadline(106.0) == 106.0 + DRAINING_S
    assert peer.ask() is RUN


def test_client_that_has_not_begun_its_handshake_has_a_moment_while_a_successor_serves(peer: Peer) -> None:
    peer.server.deadline(100.0)
    peer.server.drain()
    assert peer.server.deadline(105.0) == 105.0 + DRAINING_S
    peer.shake_hands()
    peer.server.stop()
    assert peer.deliver() is CLOSE


def test_after_the_handshake_deadlines_are_those_of_http(peer: Peer) -> None:
    peer.server.deadline(0.0)
    peer.shake_hands()
    assert peer.server.deadline(100.0) == 175.0
    assert peer.server.since == 100.0
    assert peer.server.expire() is WRITE  # close_notify, with a deadline of its own
    assert peer.server.deadline(200.0) == 202.0
    assert peer.server.expire() is CLOSE
    assert peer.server.lost


@pytest.mark.parametrize("header", [line("203.0.113.9", "192.0.2.7"), tcp("203.0.113.9", "192.0.2.7")])
@pytest.mark.parametrize("cut", [lambda data: [data], single], ids=["whole", "single bytes"])
def test_proxy_header_comes_first(
    certificates: Certificates, context: ssl.SSLContext, header: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    peer = Peer(certificates, context, Rules(timeouts=TIMEOUTS, expects_proxy_header=lambda peer: True))
    waiting = [header]

    def with_header(data: bytes) -> list[bytes]:
        return cut((waiting.pop() if waiting else b"") + data)

    peer.shake_hands(with_header)
    assert peer.ask() is RUN
    assert peer.inner.client == ("203.0.113.9", 4711)


def test_missing_proxy_header_is_refused(certificates: Certificates, context: ssl.SSLContext) -> None:
    peer = Peer(certificates, context, Rules(expects_proxy_header=lambda peer: True))
    with pytest.raises(ssl.SSLWantReadError):
        peer.client.do_handshake()
    assert peer.server.receive(peer.said()) is WRITE
    assert bytes(peer.server.output).startswith(b"HTTP/1.1 400 ")


def test_a_client_cannot_fill_memory_with_answers_of_tls(peer: Peer) -> None:
    """Nothing is sent while the application runs, but a client may provoke it (KeyUpdate)."""
    peer.shake_hands().ask()
    peer.server._outgoing.write(bytes(OWN_BYTES))  # Python's ssl sends no KeyUpdate
    assert peer.ask(b"x") is RUN
    peer.server._outgoing.write(b"x")
    assert peer.ask(b"x") is CLOSE
    assert peer.server.lost


def test_own_messages_that_a_client_does_not_take_put_off_no_stop(peer: Peer) -> None:
    """A thread that waits until they are sent is told of the order, as long as no request is in flight."""
    peer.shake_hands()
    peer.deliver()
    peer.server._outgoing.write(b"x")
    assert (peer.server.phase.want, peer.server.phase.interruptible) == (EITHER, True)
    assert peer.server.stop() is WRITE  # close_notify, for which there is less time when the server stops
    deadline = peer.server.deadline(0.0)
    assert deadline is not None
    assert deadline <= STOPPING_S


@pytest.mark.parametrize("order", ["stop", "drain"])
@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_broken_tls_does_not_put_off_a_stop(
    authority: Authority, context: ssl.SSLContext, protocol: str, order: str
) -> None:
    """What the client still sends after the alert is thrown away: at the order for STOPPING_S only."""
    context.set_alpn_protocols([protocol])
    pair = Pair(str(authority.server.certificate), str(authority.server.key))
    certificates = Certificates(TlsOptions(pairs=(pair,), protocols=(protocol,)))
    rules = Rules(timeouts=TIMEOUTS, http2=Http2Session.instead_of)
    peer = Peer(certificates, context, rules).shake_hands()
    server = peer.server
    server.receive(b"\x17\x03\x03\x00\x20" + bytes(32))  # a record that was not encrypted by the client
    assert peer.deliver() is CLOSE
    assert server.half_close()
    assert server.deadline(1.0) == 1.0 + TIMEOUTS.linger
    assert getattr(server, order)() is READ
    assert server.stopping
    deadline = server.deadline(1.0)
    assert deadline is not None
    assert deadline <= 1.0 + STOPPING_S


def test_own_messages_during_a_request(peer: Peer) -> None:
    peer.shake_hands().ask(render("POST", "/", "Content-Length: 5"))
    assert peer.inner.want_body() is READ
    peer.server._outgoing.write(b"x")
    assert (peer.server.phase.want, peer.server.phase.interruptible) == (EITHER, False)


def test_memory_is_given_back(peer: Peer) -> None:
    peer.shake_hands().ask(render("GET", "/", "Connection: close"))
    peer.respond(b"hello")
    peer.deliver()
    peer.server.close()
    assert peer.server._tls is None
    assert peer.inner.exchange is None


def answers(server: Session | Tls, inner: Session, data: bytes, write: Callable[[bytes], object]) -> bytes:
    """What comes out for `data` if an application answers each request at once, and then what the connection wants."""
    said = b""
    want = server.receive(data)
    while want not in (READ, CLOSE):
        if want is RUN:
            want = inner.respond(response_head(200, b"OK", ()), b"answer to " + inner.request.target, True)
        else:
            output = bytes(server.output)
            write(output)
            said += output
            want = server.wrote(len(output))
    return said + want.name.encode()


def test_why_a_clients_certificate_was_refused_is_told(authority: Authority, tmp_path: Path) -> None:
    told: list[str] = []
    files = authority.server
    options = TlsOptions(
        pairs=(Pair(str(files.certificate), str(files.key)),), client_ca=str(authority.pem), client_auth="required"
    )
    context = authority.client_context()
    context.load_cert_chain(Authority(tmp_path / "strangers").issue("eve@localhost").both)
    Peer(Certificates(options), context, Rules(timeouts=TIMEOUTS, refused=told.append)).shake_hands()
    assert len(told) == 1
    assert re.search(r"failed: CERTIFICATE_VERIFY_FAILED: unable to get .*issuer certificate$", told[0])


def test_the_corpus_is_answered_as_without_tls(certificates: Certificates, context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # a resumed handshake of it takes a fifth of the time
    session = Peer(certificates, context).shake_hands().client.session
    for case in (case for case in CASES if case.data):
        plain = Session(Rules(), CLIENT, SERVER, "https")
        expected = answers(plain, plain, case.data, lambda data: None)
        peer = Peer(certificates, context, Rules(), session).shake_hands()
        peer.client.write(case.data)
        end = answers(peer.server, peer.inner, peer.said(), peer._in.write)
        said = peer.read()
        assert said.removesuffix(b"<end>") + (b"CLOSE" if end.endswith(b"CLOSE") else b"READ") == expected, case.name
        assert said.endswith(b"<end>") is expected.endswith(b"CLOSE"), case.name
