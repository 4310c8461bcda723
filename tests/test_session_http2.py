"""A session of HTTP/2 without sockets and clocks: requests, answers, windows, turns, and ends."""

import os
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from septet.exchange import ClientGone, FileRegion
from septet.http.head import response_head
from septet.http.incoming import Limits
from septet.http2.connection import CREDIT_BYTES, STREAMS
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE
from septet.rules import STOPPING_S, Rules, Timeouts
from septet.session._http2_output import SEND_BYTES
from septet.session.http1 import Session
from septet.session.http2 import Http2Session
from septet.session.phases import LINGER_BYTES
from septet.session.prior_knowledge import PriorKnowledge
from septet.session.websocket import WebSockets
from septet.websocket.tunnel import TunnelOptions
from support.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    Peer,
    block,
    frame,
    frames_of,
    get,
    head,
)
from support.messages import pattern
from support.websocket import PING as WEBSOCKET_PING
from support.websocket import frame as websocket_frame


def ok(*fields: tuple[bytes, bytes], status: int = 200) -> Any:
    return response_head(status, b"", fields)


def test_request_and_answer() -> None:
    peer = Peer()
    stream = peer.ask(get("/a?b=c", (b"x-one", b"1"), (b"cookie", b"a=1"), (b"cookie", b"b=2")))
    (exchange,) = peer.due
    request = exchange.request
    assert (request.method, request.path, request.query, request.version) == ("GET", b"/a", b"b=c", "2")
    assert request.fields == ((b"host", b"septet.test"), (b"x-one", b"1"), (b"cookie", b"a=1; b=2"))
    assert exchange.body_complete
    exchange.respond(ok((b"X-Two", b"2"), (b"Upgrade", b"h3")), b"hello", True)
    assert peer.send() is READ
    answer = peer[stream]
    assert answer.fields == {b":status": b"200", b"x-two": b"2", b"content-length": b"5"}
    assert (answer.body, answer.ended, answer.reset) == (b"hello", True, None)


def test_input_byte_by_byte() -> None:
    client = Client()
    peer = Peer(client=client)
    client.ask(get(), b"the body")
    peer.receive(client.h2.data_to_send(), step=1)
    assert peer.due[0].poll() == b"the body"
    assert peer.due[0].body_complete


def test_a_known_head_is_one_request() -> None:
    peer = Peer()
    for _ in range(2):
        peer.ask(get("/known"))
    assert peer.due[0].request is peer.due[1].request


def test_head_and_empty_answers() -> None:
    peer = Peer()
    streams = [peer.ask(get(method=b"HEAD")), peer.ask(get()), peer.ask(get()), peer.ask(get())]
    peer.due[0].respond(ok((b"Content-Length", b"7")), b"", True)
    peer.due[1].respond(ok(status=204), b"", True)
    peer.due[2].respond(ok(), b"", True)
    peer.due[3].respond(ok(), b"", False)
    peer.due[3].push(b"", True)
    peer.send()
    assert [(peer[each].status, peer[each].ended, peer[each].body) for each in streams] == [
        (200, True, b""),
        (204, True, b""),
        (200, True, b""),
        (200, True, b""),
    ]
    assert peer[streams[0]].fields[b"content-length"] == b"7"


def test_trailers_and_interim_answers() -> None:
    peer = Peer()
    stream = peer.ask(get())
    exchange = peer.due[0]
    exchange.inform(103, ((b"Link", b"</a>; rel=preload"),))
    exchange.respond(ok(), b"content", False)
    exchange.finish(((b"Checksum", b"42"),))
    peer.send()
    answer = peer[stream]
    assert answer.interim == [{b":status": b"103", b"link": b"</a>; rel=preload"}]
    assert (answer.body, answer.trailers, answer.ended) == (b"content", {b"checksum": b"42"}, True)


def test_content_longer_and_shorter_than_announced() -> None:
    said: list[str] = []
    peer = Peer(Rules(concurrent=True, complain=said.append))
    longer, shorter = peer.ask(get()), peer.ask(get())
    peer.due[0].respond(ok((b"Content-Length", b"3")), b"four", False)
    assert peer.due[0].content_ended
    peer.due[0].push(b"", True)
    peer.due[1].respond(ok((b"Content-Length", b"9")), b"four", True)
    peer.send()
    assert (peer[longer].body, peer[longer].ended) == (b"fou", True)
    assert peer[shorter].reset == 2  # INTERNAL_ERROR
    assert len(said) == 2


def test_continue() -> None:
    peer = Peer()
    stream = peer.ask(get("/", (b"expect", b"100-continue"), method=b"POST"), end=False)
    exchange = peer.due[0]
    assert exchange.poll() is None
    exchange.want_body()
    peer.send()
    assert peer[stream].interim == [{b":status": b"100"}]
    peer.client.send_body(stream, b"body")
    peer.exchange_data()
    assert exchange.poll() == b"body"


# Flow control


def test_answers_are_made_as_the_window_opens() -> None:
    client = Client(window=1000, reads=False)
    peer = Peer(client=client)
    stream = peer.ask(get())
    exchange = peer.due[0]
    body = pattern(5000)
    exchange.respond(ok(), body, True)
    assert exchange.blocked
    peer.send()
    assert peer[stream].body == body[:1000]
    while not peer[stream].ended:
        client.h2.increment_flow_control_window(1500, stream)
        peer.exchange_data()
    assert peer[stream].body == body


def test_large_answers_take_turns() -> None:
    client = Client(window=1 << 20)
    client.h2.increment_flow_control_window(1 << 20)
    peer = Peer(client=client)
    streams = [peer.ask(get()) for _ in range(2)]
    for exchange in peer.due:
        exchange.respond(ok(), pattern(300_000), True)
    for _ in range(3):
        data = bytes(peer.session.output)
        assert SEND_BYTES <= len(data) < 2 * SEND_BYTES
        client.take(data)
        peer.session.wrote(len(data))
    assert all(60_000 < len(peer[stream].body) < 150_000 for stream in streams)
    peer.send()
    assert all(peer[stream].body == pattern(300_000) for stream in streams)


def test_urgent_answers_come_first() -> None:
    client = Client(window=1 << 20)
    client.h2.increment_flow_control_window(1 << 20)
    peer = Peer(client=client)
    usual, urgent = peer.ask(get()), peer.ask(get("/", (b"priority", b"i, u=1")))
    for exchange in peer.due:
        exchange.respond(ok(), pattern(100_000), True)
    for _ in range(3):  # the first is full of the usual one's, which was there first
        data = bytes(peer.session.output)
        client.take(data)
        peer.session.wrote(len(data))
    assert peer[urgent].ended
    assert not peer[usual].ended


def test_urgent_requests_have_their_turn_first() -> None:
    client = Client()
    peer = Peer(client=client)
    for urgency in (b"u=7", b"u=3", b"u=0"):
        client.ask(get("/", (b"priority", urgency)))
    peer.exchange_data()
    assert [exchange.stream for exchange in peer.due] == [5, 3, 1]


def test_priority_update() -> None:
    peer = Peer()
    stream = peer.ask(get(method=b"POST"), end=False)
    peer.receive(frame(0x10, 0, 0, stream.to_bytes(4) + b"u=0"))
    assert peer.due[0].urgency == 0


def test_bodies_wait_for_the_application() -> None:
    """The window of a stream opens by what was read, and that of the connection at once."""
    client = Client()
    peer = Peer(client=client)
    slow, other = peer.ask(get(method=b"POST"), end=False), peer.ask(get(method=b"POST"), end=False)
    rest = client.send_body(slow, pattern(100_000))
    peer.exchange_data()
    assert len(rest) == 100_000 - 65535
    assert client.send_body(other, pattern(60_000)) == b""  # is not held up
    peer.exchange_data()
    assert client.h2.local_flow_control_window(slow) == 0
    assert peer.due[0].poll() == pattern(100_000)[:65535]
    peer.due[0].want_body()
    peer.exchange_data()
    assert client.send_body(slow, rest) == b""
    peer.exchange_data()
    assert peer.due[0].poll() == pattern(100_000)[65535:]


def test_padding_is_given_back() -> None:
    peer = Peer()
    stream = peer.ask(get(method=b"POST"), end=False)
    for _ in range(1000):
        peer.receive(frame(DATA, PADDED, stream, bytes([200]) + b"x" + bytes(200)))
        assert peer.due[0].poll() == b"x"
    peer.send(told=False)
    assert not peer.session.codec.over


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(200_000))
    client = Client(window=100_000)
    client.h2.increment_flow_control_window(1 << 20)
    peer = Peer(client=client)
    stream = peer.ask(get())
    with path.open("rb") as file:
        region = FileRegion(file.fileno(), 0, 200_000)
        peer.due[0].respond(ok((b"Content-Length", b"200000")), region, True)
        peer.exchange_data()
    assert (peer[stream].body, peer[stream].ended) == (pattern(200_000), True)


def test_a_file_that_shrinks_resets_its_stream_alone(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    peer = Peer(Rules(concurrent=True, complain=said.append))
    stream, other = peer.ask(get("/file")), peer.ask(get())
    with path.open("rb") as file:
        peer.due[0].respond(ok((b"Content-Length", b"10")), FileRegion(file.fileno(), 0, 10), True)
        os.truncate(path, 0)
        peer.send()
    assert peer[stream].reset == 2
    assert said == ["the file at /file changed while it was sent, or cannot be read; the stream is reset"]
    peer.due[1].respond(ok(), b"well", True)
    peer.send()
    assert peer[other].body == b"well"


# One after the other


def test_in_order() -> None:
    """A carrier that runs one exchange at a time is told RUN for each, and wants in between are about it."""
    client = Client(window=10, reads=False)
    peer = Peer(concurrent=False, client=client)
    first = client.ask(get(method=b"POST"), end=False)
    second = client.ask(get())
    assert peer.exchange_data() is RUN
    exchange = peer.session.exchange
    assert (exchange.stream, exchange.poll()) == (first, None)
    assert exchange.want_body() is READ
    client.send_body(first, b"body")
    assert peer.exchange_data() is RUN
    assert exchange.poll() == b"body"
    exchange.respond(ok(), pattern(15), False)
    peer.send()
    assert (peer.session.phase.want, exchange.blocked) == (READ, True)
    client.h2.increment_flow_control_window(10, first)
    assert peer.exchange_data() is RUN  # it can go on
    assert peer.session.exchange is exchange
    exchange.push(pattern(15), True)
    peer.send()
    assert peer.session.exchange.stream == second  # though the first one's output waits for the window
    peer.session.exchange.respond(ok(), b"second", True)
    peer.send()
    assert peer[second].body == b"second"
    client.h2.increment_flow_control_window(100, first)
    peer.exchange_data()
    assert peer[first].body == pattern(15) + pattern(15)


# Refusals


@pytest.mark.parametrize(
    "fields",
    [
        [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a")],
        [*get()[1:]],
        [*get(), (b":path", b"/")],
        [*get(), (b":status", b"200")],
        [*get(), (b":protocol", b"websocket")],
        [(b"x", b"1"), *get()],
        get("/", (b"X-Upper", b"1")),
        get("/", (b"", b"1")),
        get("/", (b"a b", b"1")),
        get("/", (b"x", b"a\r\nb: c")),
        get("/", (b"x", b"a\nb")),
        get("/", (b"x", b"a\0b")),
        get("/", (b"x", b" blank")),
        get("/", (b"connection", b"close")),
        get("/", (b"transfer-encoding", b"chunked")),
        get("/", (b"upgrade", b"websocket")),
        get("/", (b"keep-alive", b"1")),
        get("/", (b"proxy-connection", b"x")),
        get("/", (b"te", b"gzip")),
        get("/", (b"host", b"other.test")),
        get("/", (b"host", b"septet.test"), (b"host", b"septet.test")),
        get("/", (b"content-length", b"5")),
        get(""),
        get(method=b""),
        get(method=b"GET /"),
        get(method=b"CONNECT"),
    ],
    ids=repr,
)
def test_malformed_requests_reset_their_stream(fields: Any) -> None:
    peer = Peer()
    other = peer.ask(get())
    peer.receive(head(3, fields))
    peer.client.next_stream = 5
    peer.client.h2._begin_new_stream(3, 1)  # type: ignore[arg-type]
    peer.send(told=False)
    assert frame(3, 0, 3, (1).to_bytes(4)) in peer.said or peer.session.codec.over
    if not peer.session.codec.over:
        peer.due[0].respond(ok(), b"well", True)
        assert not peer.session.lost
        peer.client.take(bytes(peer.session.output))
        assert peer[other].body == b"well"
    assert len(peer.due) == 1


@pytest.mark.parametrize("trailers", [False, True], ids=["", "trailers"])
@pytest.mark.parametrize("lengths", [(b"4", b"5"), (b"x",), (b"-1",), (b"1, 1",), (b"3",), (b"5",)], ids=repr)
def test_lengths_that_lie(lengths: tuple[bytes, ...], trailers: bool) -> None:
    """The stream is reset (RFC 9113 section 8.1.1), others go on, and no application sees a body of another length than
    the head says. Nothing is lost of the connection's window.
    """
    peer = Peer()
    fields = get("/", *((b"content-length", each) for each in lengths), method=b"POST")
    for stream in range(1, 101, 2):
        peer.receive(head(stream, fields, END_HEADERS))
        peer.receive(frame(DATA, 0 if trailers else END_STREAM, stream, b"four" * 4000))
        if trailers:
            peer.receive(head(stream, [(b"x", b"y")]))
        assert not any(each.body_complete and not each.lost for each in peer.due)
        peer.send(told=False)
        assert frame(3, 0, stream, (1).to_bytes(4)) in peer.said
    peer.receive(head(101))
    peer.due[-1].respond(ok(), b"well", True)
    peer.send(told=False)
    assert peer.session.phase.want is not CLOSE
    assert peer.said.endswith(b"well")
    sent = frames_of(peer.said)
    assert GOAWAY not in {kind for kind, _ in sent}
    assert sum(int.from_bytes(payload) for kind, payload in sent if kind == WINDOW_UPDATE) > 50 * 15000


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (get("no-slash"), 400),
        (get("*"), 400),
        (get("/a b"), 400),
        (get("/\xff"), 400),
        (get("/#fragment"), 400),
        ([*get()[:2], (b":authority", b"user@host"), get()[3]], 400),
        ([*get()[:2], (b":authority", b""), get()[3]], 400),
        ([*get()[:2], get()[3]], 400),
        ([get()[0], (b":scheme", b"ftp"), *get()[2:]], 400),
        (get("/" + "a" * 300), 414),
        (get("/", *[(b"x%d" % number, b"") for number in range(30)]), 431),
        (get("/", (b"big", b"x" * 2000)), 431),
        (get("/", (b"expect", b"a-miracle")), 417),
        ([(b":method", b"CONNECT"), (b":authority", b"a:1")], 501),
    ],
    ids=repr,
)
def test_refused_requests(fields: Any, status: int) -> None:
    limits = Limits(request_line=256, header_block=2000, header_count=20)
    peer = Peer(Rules(concurrent=True, limits=limits))
    stream = peer.ask(fields)
    assert (peer[stream].status, peer[stream].ended, peer.due) == (status, True, [])
    other = peer.ask(get())
    peer.due[0].respond(ok(), b"well", True)
    peer.send()
    assert peer[other].body == b"well"


def test_a_known_tunnel_is_not_one_for_a_server_without_websockets() -> None:
    """Two servers in one process, of which one has WebSockets, share the cache of heads."""
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *get()[1:]]
    with_them = Peer(Rules(concurrent=True, websocket=WebSockets(TunnelOptions())))
    with_them.ask(fields, end=False)
    assert with_them.due[0].request.upgrade == b"websocket"
    without = Peer()
    stream = without.ask(fields, end=False)
    assert (without[stream].reset, without.due) == (1, [])


def test_host_without_authority() -> None:
    peer = Peer()
    peer.ask([*get()[:2], get()[3], (b"host", b"old.test")])
    assert peer.due[0].request.fields == ((b"host", b"old.test"),)


def test_body_limit() -> None:
    peer = Peer(Rules(concurrent=True, limits=Limits(body=10)))
    at_once = peer.ask(get(method=b"POST"), b"eleven bytes", end=False)
    assert (peer[at_once].status, peer.due) == (413, [])
    stream = peer.ask(get(method=b"POST"), end=False)
    peer.client.send_body(stream, b"eleven bytes", end=False)
    peer.exchange_data()
    with pytest.raises(ClientGone):
        peer.due[0].poll()
    peer.due[0].fail()
    peer.send()
    assert (peer[stream].status, peer[stream].reset) == (413, None)


def test_too_many_streams_are_refused_one_by_one() -> None:
    client = Client()
    peer = Peer(client=client)
    peer.receive(b"".join(head(2 * number + 1) for number in range(130)))
    peer.send(told=False)
    assert len(peer.due) == 100
    refused = Counter(peer.said.count(frame(3, 0, 2 * number + 1, (7).to_bytes(4))) for number in range(130))
    assert refused == {0: 100, 1: 30}


# The end


def test_reset_stream_is_told() -> None:
    peer = Peer()
    stream, other = peer.ask(get()), peer.ask(get())
    exchange = peer.due[0]
    peer.due.clear()
    peer.client.h2.reset_stream(stream)
    peer.exchange_data()
    assert (exchange.lost, exchange.gone, peer.due) == (True, True, [exchange])
    exchange.respond(ok(), b"nobody sees it", True)
    assert other in peer.client.answers
    assert not peer.session.lost


def test_reset_before_its_turn() -> None:
    """In order: the application is never called."""
    client = Client()
    peer = Peer(concurrent=False, client=client)
    peer.ask(get())
    cancelled, last = peer.ask(get()), peer.ask(get())
    client.h2.reset_stream(cancelled)
    peer.exchange_data()
    peer.session.exchange.respond(ok(), b"", True)
    peer.send()
    assert peer.session.exchange.stream == last


@pytest.mark.parametrize(
    ("fields", "status"),
    [([], 200), ([(b"content-length", b"3000000")], 401), ([(b"expect", b"100-continue")], 200)],
    ids=["of unknown length", "announced", "the client asks first"],
)
def test_who_sends_the_whole_body_first_finds_an_early_answer(fields: Any, status: int) -> None:
    """As httpx and Java's client do, which wait for the window and look at no reset."""
    peer = Peer()
    stream = peer.ask(get("/", *fields, method=b"POST"), end=False)
    rest = peer.client.send_body(stream, bytes(3_000_000))
    peer.exchange_data()
    peer.due[0].respond(ok(status=status), b"enough", True)
    peer.send()
    while rest:
        before = len(rest)
        rest = peer.client.send_body(stream, rest)
        peer.exchange_data()
        assert len(rest) < before
    answer = peer[stream]
    assert (answer.status, answer.body, answer.ended, answer.reset) == (status, b"enough", True, None)
    assert (peer.session._unfinished, peer.session._exchanges, peer.session.codec._stream_credit) == ({}, {}, {})


def test_body_above_the_limit_is_discarded_after_the_answer() -> None:
    peer = Peer(Rules(concurrent=True, limits=Limits(body=1000)))
    stream = peer.ask(get(method=b"POST"), end=False)
    rest = peer.client.send_body(stream, bytes(200_000))
    exchange = peer.due[0]
    peer.exchange_data()
    exchange.fail()
    while rest:
        peer.exchange_data()
        rest = peer.client.send_body(stream, rest)
    peer.exchange_data()
    assert (peer[stream].status, peer[stream].ended, peer[stream].reset) == (413, True, None)


def test_early_answer_ends_what_the_client_sends_after_a_time() -> None:
    """Whatever it sends: two seconds, as for the rest of a connection of HTTP/1.1."""
    peer = Peer()
    stream, later = (peer.ask(get(method=b"POST"), b"part", end=False) for _ in range(2))
    peer.due[0].respond(ok(), b"enough", True)
    peer.send()
    for _ in range(3):
        peer.pass_time(0.5)
        peer.client.send_body(stream, b"x", end=False)
        peer.exchange_data()
    assert peer[stream].reset is None
    peer.due[1].respond(ok(), b"enough", True)
    peer.send()
    peer.pass_time(1)
    assert [peer[each].reset for each in (stream, later)] == [0, None]
    peer.pass_time(2)
    assert [peer[each].reset for each in (stream, later)] == [0, 0]
    assert (peer.session._unfinished, peer.session.codec._stream_credit) == ({}, {})
    assert peer.session.phase.name == "http2-idle"


def test_end_of_what_is_discarded_comes_with_the_next_request() -> None:
    """The library has forgotten the stream when its last content is looked at."""
    peer = Peer()
    stream = peer.ask(get(method=b"POST"), end=False)
    peer.due.pop().respond(ok(), b"enough", True)
    peer.send()
    peer.client.send_body(stream, bytes(CREDIT_BYTES - 1), end=False)
    peer.exchange_data()
    peer.client.send_body(stream, b"x")
    other = peer.ask(get())
    assert peer.due.pop().stream == other
    assert (peer.session._unfinished, peer.session.codec._stream_credit) == ({}, {})


def test_early_answer_ends_what_the_client_sends_after_64_mib() -> None:
    """And what is malformed is still found."""
    peer = Peer()
    stream, endless = (peer.ask(get(method=b"POST"), b"part", end=False) for _ in range(2))
    for exchange in peer.due:
        exchange.respond(ok(), b"enough", True)
    peer.send()
    peer.client.send_body(stream, bytes(1000))
    peer.client.send_body(endless, bytes(1000), end=False)
    peer.exchange_data()
    assert [peer[each].reset for each in (stream, endless)] == [None, None]
    peer.session._unfinished[endless].came = LINGER_BYTES
    peer.client.send_body(endless, b"x", end=False)
    peer.exchange_data()
    assert [peer[each].reset for each in (stream, endless)] == [None, 0]
    assert (peer.session._unfinished, peer.session._exchanges) == ({}, {})


def test_stop_while_the_rest_of_an_answered_request_is_on_its_way() -> None:
    """Closing at once would meet it with a RST, which can destroy the answer."""
    peer = Peer()
    stream = peer.ask(get(method=b"POST"), b"part", end=False)
    peer.due[0].respond(ok(), b"enough", True)
    peer.send()
    peer.session.stop()
    assert peer.send() is CLOSE
    assert peer[stream].body == b"enough"
    assert peer.session.half_close()
    assert peer.session.receive(bytes(1000)) is READ


def test_unfinished_requests_that_were_answered_are_bounded() -> None:
    peer = Peer()
    for number in range(150):
        peer.receive(head(2 * number + 1, flags=4))
        peer.due.pop().respond(ok(), b"", True)
        peer.send(told=False)
    assert len(peer.session._unfinished) == 100
    assert peer.said.count(frame(3, 0, 1, bytes(4))) == 1


def test_slow_body_has_the_least_rate() -> None:
    """A byte now and then is not enough, though the application is told of each."""
    peer = Peer(Rules(concurrent=True, timeouts=Timeouts(body=3, rate=1000)))
    stream = peer.ask(get(method=b"POST"), end=False)
    exchange = peer.due[0]
    exchange.want_body()
    for _ in range(8):
        peer.pass_time(1)
        if exchange._fault is not None:
            break
        peer.client.send_body(stream, b"x", end=False)
        peer.exchange_data()
        assert exchange.poll() == b"x"
        exchange.want_body()
    else:
        pytest.fail("the client has all the time that it wants")


def test_stop_lets_streams_finish() -> None:
    peer = Peer()
    stream = peer.ask(get())
    peer.session.stop()
    assert peer.send(told=False) is READ
    assert peer.said.endswith(frame(7, 0, 0, stream.to_bytes(4) + (0).to_bytes(4)))
    peer.receive(head(3))
    peer.due[0].respond(ok(), b"done", True)
    assert peer.send(told=False) is CLOSE
    assert b"done" in peer.said
    assert frame(3, 0, 3, (7).to_bytes(4)) in peer.said  # REFUSED_STREAM: safe to send again
    assert peer.session.half_close()
    assert peer.session.receive(b"") is CLOSE


def test_stop_of_an_idle_connection() -> None:
    peer = Peer()
    peer.session.stop()
    assert peer.send() is CLOSE
    assert peer.client.went_away is not None
    assert peer.client.went_away.error_code == 0
    assert not peer.session.half_close()


@pytest.mark.parametrize("order", ["stop", "drain"])
def test_broken_connection_does_not_put_off_a_stop(order: str) -> None:
    """Its last GOAWAY was sent, and what the client still sends is thrown away: at the order for STOPPING_S only. A
    thread is told by `stopping` that the session knows of the order, which stays readable, and waits for the client.
    """
    peer = Peer()
    peer.receive(frame(DATA, 0, 0, b""))
    assert peer.send(told=False) is CLOSE
    assert peer.session.half_close()
    assert peer.session.deadline(1.0) > 1.0 + STOPPING_S
    assert getattr(peer.session, order)() is READ
    assert peer.session.stopping
    assert peer.session.receive(b"more") is READ
    assert peer.session.deadline(2.0) == 2.0 + STOPPING_S
    assert peer.session.expire() is CLOSE


def test_drain_announces_the_end_and_then_sets_it() -> None:
    peer = Peer()
    peer.session.drain()
    want = peer.send(told=False)
    assert want is READ
    assert frame(7, 0, 0, (2**31 - 1).to_bytes(4) + bytes(4)) in peer.said
    peer.receive(head(1))  # on its way meanwhile
    peer.receive(frame(6, 1, 0, b"septet.."))
    peer.send(told=False)
    assert peer.said.count(frame(7, 0, 0, (1).to_bytes(4) + bytes(4))) == 1
    peer.due[0].respond(ok(), b"done", True)
    assert peer.send(told=False) is CLOSE
    assert b"done" in peer.said


def test_drain_does_not_wait_for_a_client_that_says_nothing() -> None:
    """In the middle of a request: after two seconds the last GOAWAY follows."""
    peer = Peer()
    peer.ask(get())
    peer.session.drain()
    peer.send(told=False)
    said = peer.said
    peer.client.h2.data_to_send()  # its answer to the PING is lost
    peer.pass_time(1.5)
    assert peer.said == said
    peer.pass_time(1)
    assert frame(7, 0, 0, (1).to_bytes(4) + bytes(4)) in peer.said
    peer.due[0].respond(ok(), b"done", True)
    assert peer.send(told=False) is CLOSE


def test_output_without_end_is_cut() -> None:
    """A client that does not read, and has the server answer frames of control."""
    peer = Peer()
    peer.ask(get())
    for _ in range(
        150
    ):  # 1.2 MB: Huffman's code has 13 bits for a tilde, and the table takes no field this long (RFC 7541)
        peer.due[0].inform(103, ((b"x", b"~" * 5_000),))
    assert peer.session.phase.want is CLOSE
    assert peer.due[0].lost


def test_a_client_that_leaves_is_answered() -> None:
    peer = Peer()
    stream = peer.ask(get())
    peer.receive(frame(7, 0, 0, bytes(8)))
    peer.due[0].respond(ok(), b"all the same", True)
    assert peer.send() is CLOSE
    assert peer[stream].body == b"all the same"


def test_end_of_stream_tells_those_that_wait() -> None:
    peer = Peer()
    peer.ask(get())
    peer.ask(get(method=b"POST"), end=False)
    peer.due[1].want_body()
    peer.receive(b"")
    whole, part = peer.due
    assert whole.half_closed
    assert part.gone
    assert not part.half_closed
    with pytest.raises(ClientGone):
        part.poll()


def test_lose_and_close() -> None:
    peer = Peer()
    peer.ask(get())
    assert peer.session.lose() is CLOSE
    assert peer.due[0].lost
    peer.due[0].fail()
    peer.session.close()


# Deadlines

QUICK = Timeouts(keep_alive=10, header=4, body=3, write=2)


def test_idle() -> None:
    peer = Peer(Rules(concurrent=True, timeouts=QUICK))
    peer.pass_time(9)
    assert peer.session.phase.want is READ
    peer.pass_time(2)
    assert peer.session.phase.want is CLOSE
    assert peer.client.went_away is not None


def test_preface() -> None:
    peer = Peer(Rules(concurrent=True, timeouts=QUICK), client=Client())
    peer.session = type(peer.session)(peer.session.rules, None, ("", None), "", "http", lambda: None)
    peer.session.receive(PREFACE[:5])
    peer.pass_time(5)
    assert peer.session.phase.want is CLOSE


@pytest.mark.parametrize("sizes", [(24,), (1, 23), (18, 6), (3, 100)])
def test_preface_in_clear(sizes: tuple[int, ...]) -> None:
    """The preface looks like a request with a body, which must not be taken for one, however its bytes come."""
    session = PriorKnowledge(Rules(http2=Http2Session.instead_of), ("192.0.2.1", 5), ("192.0.2.2", 80))
    data = PREFACE + frame(SETTINGS)
    for size in sizes:
        session.receive(data[:size])
        data = data[size:]
    session.receive(data)
    assert session.reads_files  # it is HTTP/2's
    assert session.phase.want is not CLOSE
    session.lose()
    session.close()


def test_request_in_clear_is_no_preface() -> None:
    session = PriorKnowledge(Rules(http2=Http2Session.instead_of), ("192.0.2.1", 5), ("192.0.2.2", 80))
    assert session.receive(b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n") is RUN
    assert type(session) is Session
    session.lose()
    session.close()


def test_unfinished_head() -> None:
    peer = Peer(Rules(concurrent=True, timeouts=QUICK))
    peer.receive(frame(HEADERS, END_STREAM, 1, block(get())))
    for _ in range(4):
        peer.pass_time(1)
        peer.receive(frame(CONTINUATION, 0, 1, b""))
    peer.pass_time(1)
    assert peer.session.phase.want is CLOSE


@pytest.mark.parametrize("concurrent", [True, False])
def test_slow_body_is_answered_408(concurrent: bool) -> None:
    peer = Peer(Rules(concurrent=concurrent, timeouts=QUICK))
    stream = peer.ask(get(method=b"POST"), end=False)
    exchange = peer.due[0]
    exchange.want_body()
    peer.pass_time(2)
    assert not exchange.gone
    peer.pass_time(2)
    assert exchange.gone
    exchange.fail()
    peer.send()
    assert peer[stream].status == 408


def test_slow_reader_loses_its_stream_and_no_other() -> None:
    peer = Peer(Rules(concurrent=True, timeouts=QUICK), client=Client(window=10, reads=False))
    slow, other = peer.ask(get()), peer.ask(get())
    peer.due[0].respond(ok(), pattern(100), True)
    peer.send()
    peer.pass_time(3)
    assert peer[slow].reset == 8  # CANCEL
    peer.due[1].respond(ok(), b"short", True)
    peer.send()
    assert peer[other].body == b"short"


def test_applications_have_their_time() -> None:
    peer = Peer(Rules(concurrent=True, timeouts=QUICK))
    peer.ask(get())
    peer.pass_time(60)
    assert not peer.due[0].gone


# Collected bodies


def test_collected_body() -> None:
    peer = Peer(Rules(concurrent=True, spool=BytesIO, timeouts=QUICK))
    whole = peer.ask(get(method=b"POST"), b"body")
    assert peer.due[0].body.read() == b"body"
    parts = peer.ask(get(method=b"POST"), b"one", end=False)
    assert len(peer.due) == 1
    peer.client.send_body(parts, b"two")
    peer.exchange_data()
    assert peer.due[1].body.read() == b"onetwo"
    late = peer.ask(get(method=b"POST"), b"one", end=False)
    peer.pass_time(4)
    assert peer[late].status == 408
    assert len(peer.due) == 2
    assert whole == 1


def test_a_view_of_a_collected_body_that_is_kept_changes_nothing() -> None:
    peer = Peer(Rules(concurrent=True, spool=BytesIO, timeouts=QUICK))
    for _ in range(2):
        peer.ask(get(method=b"POST"), b"body")
        exchange = peer.due[-1]
        view = exchange.body.getbuffer()
        exchange.respond(response_head(200, b"OK", ()), b"hello", True)
        peer.exchange_data()
        exchange.drop_body()
        assert exchange.body is None
        assert view == b"body"


def test_collected_body_does_not_put_off_a_stop() -> None:
    """However fast the rest of it comes."""
    peer = Peer(Rules(concurrent=True, spool=BytesIO))
    stream = peer.ask(get(method=b"POST"), b"one", end=False)
    peer.session.stop()
    for _ in range(10):
        peer.client.send_body(stream, b"more", end=False)
        peer.exchange_data()
        peer.pass_time(0.1, 0.1)
        if peer.client.answers[stream].fields:
            break
    assert peer[stream].status == 503


def test_collected_body_has_its_time_while_a_successor_serves() -> None:
    peer = Peer(Rules(concurrent=True, spool=BytesIO))
    stream = peer.ask(get(method=b"POST"), b"one", end=False)
    peer.session.drain()
    peer.pass_time(4, 0.1)
    peer.client.send_body(stream, b"two")
    peer.exchange_data()
    assert peer.due[0].body.read() == b"onetwo"


def test_refusal_that_is_not_taken_does_not_put_off_a_stop() -> None:
    peer = Peer(Rules(concurrent=True, spool=BytesIO), client=Client(window=0))
    stream = peer.ask(get(method=b"POST"), b"one", end=False)
    peer.session.stop()
    peer.pass_time(1.5, 0.1)
    assert peer[stream].status == 503
    assert peer.session.phase.want is CLOSE


@pytest.mark.parametrize("window", [0, 65535])
def test_streams_are_refused_together_at_a_stop(window: int) -> None:
    """Not one at each look of the carrier, which would prolong the stop by the number of streams."""
    peer = Peer(Rules(concurrent=True, spool=BytesIO), client=Client(window=window))
    streams = [peer.ask(get(method=b"POST"), end=False) for _ in range(STREAMS)]
    peer.session.stop()
    peer.pass_time(1.2, 0.1)
    assert {peer[stream].status for stream in streams} == {503}
    assert peer.session.phase.want is CLOSE


def test_streams_that_are_late_at_the_same_time_end_together() -> None:
    peer = Peer(Rules(concurrent=True, spool=BytesIO, timeouts=Timeouts(body=2.0)))
    streams = [peer.ask(get(method=b"POST"), end=False) for _ in range(10)]
    peer.pass_time(3.0)
    assert {peer[stream].status for stream in streams} == {408}


def test_requests_that_wait_for_their_turn_are_answered_after_a_stop() -> None:
    peer = Peer(concurrent=False)
    streams = [peer.ask(get()), peer.ask(get())]
    peer.session.stop()
    peer.pass_time(2, 0.1)
    for number, stream in enumerate(streams):
        peer.due[number].respond(ok(), b"done", True)
        peer.send()
        assert peer[stream].body == b"done"


def test_output_of_no_request_is_not_waited_for() -> None:
    peer = Peer()
    peer.receive(frame(PING, 0, 0, bytes(8)))
    assert peer.session.phase.want is EITHER
    assert peer.session.phase.interruptible
    peer.session.stop()
    assert peer.session.deadline(5.0) == 5.0 + STOPPING_S


def test_end_of_an_answer_is_waited_for() -> None:
    """The application has ended, and the client takes its time."""
    peer = Peer()
    peer.ask(get())
    peer.due[0].respond(ok(), bytes(1000), True)
    assert peer.session.phase.want is EITHER
    assert not peer.session.phase.interruptible
    peer.session.deadline(0.0)
    peer.session.stop()
    assert peer.session.deadline(5.0) > 5.0 + STOPPING_S


def opened_websocket(client: Client) -> tuple[Peer, int, Any]:
    """One that is accepted, on a stream."""
    peer = Peer(Rules(concurrent=True, websocket=WebSockets(TunnelOptions())), client=client)
    fields = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *get()[1:], (b"sec-websocket-version", b"13")]
    stream = peer.ask(fields, end=False)
    exchange: Any = peer.due[0]
    exchange.upgrade(None, ())
    peer.exchange_data()
    return peer, stream, exchange


def test_websocket_that_was_silent_has_its_time_at_a_stop() -> None:
    peer, _, exchange = opened_websocket(Client())
    exchange.deadline(0.0)
    exchange.deadline(10.0)
    peer.session.stop()
    peer.exchange_data()
    assert exchange.deadline(10.0) == 12.0


def test_pings_do_not_put_off_the_end_of_a_websocket() -> None:
    """Even if the client's window lets our answers through byte by byte."""
    peer, stream, exchange = opened_websocket(Client(window=0))
    peer.session.stop()
    peer.client.h2.increment_flow_control_window(20, stream)  # for the Close frame
    peer.exchange_data()
    ends_at = exchange.deadline(50.0)
    for at in (50.5, 51.0, 51.5):
        peer.client.send_body(stream, websocket_frame(WEBSOCKET_PING, bytes(125)), end=False)
        peer.client.h2.increment_flow_control_window(1, stream)
        peer.exchange_data()
        assert exchange.deadline(at) == ends_at


def test_settings_come_first() -> None:
    peer = Peer()
    assert peer.said[3] == SETTINGS


@pytest.mark.parametrize("length", [0, 3, 23])
def test_client_that_is_silent_before_the_end_of_its_preface(length: int) -> None:
    """As after a TLS handshake that has chosen HTTP/2: at the order to stop its connection is over."""
    session = Http2Session(Rules(), ("192.0.2.1", 50000), ("192.0.2.2", 443), "192.0.2.1", "https", lambda: None)
    if length:
        assert session.receive(PREFACE[:length]) is not CLOSE
    want = session.stop()
    while want is WRITE or want is EITHER:
        want = session.wrote(len(session.output))
    assert want is CLOSE
