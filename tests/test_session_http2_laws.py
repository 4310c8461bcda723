"""Laws of a session of HTTP/2, for conversations that hypothesis makes up. What a client sees does not depend on how
its bytes are cut, on the order in which applications answer, or on the size of its windows."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from septet.http.head import response_head
from septet.protocol import RUN
from support.http2 import Answer, Client, Peer, get
from support.messages import pattern

REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"HEAD"]),
        st.integers(0, 40_000),  # of the body
        st.integers(0, 40_000),  # of the answer
        st.booleans(),  # the answer has a length
        st.integers(0, 7),
    ),
    min_size=1,
    max_size=6,
)


def expected(method: bytes, asked: int, answered: int) -> tuple[bytes, bytes]:
    body = pattern(asked) if method == b"POST" else b""
    return body, b"" if method == b"HEAD" else pattern(answered)


@settings(max_examples=40)
@given(REQUESTS, st.integers(1, 70_000), st.integers(1, 70_000), st.booleans(), st.randoms(use_true_random=False))
def test_conversations(requests: Any, step: int, window: int, concurrent: bool, random: Any) -> None:
    client = Client(window=max(window, 500))
    peer = Peer(concurrent=concurrent, client=client)
    unsent: dict[int, bytes] = {}
    wanted: dict[int, Any] = {}
    for method, asked, answered, sized, urgency in requests:
        fields = get("/", (b"priority", b"u=%d" % urgency), method=method)
        body, content = expected(method, asked, answered)
        stream = client.ask(fields, end=not body)
        if body:
            unsent[stream] = body
        wanted[stream] = body, content, answered, sized
    read: dict[int, bytes] = {}
    waiting: list[Any] = []
    for _ in range(3000):
        for stream, body in list(unsent.items()):
            unsent[stream] = client.send_body(stream, body)
            if not unsent[stream]:
                del unsent[stream]
        data = client.h2.data_to_send()
        if data:
            peer.receive(data, step)
        peer.send()
        waiting = [exchange for exchange in peer.due if not exchange.answered]
        if not concurrent:
            waiting = [peer.session.exchange] if peer.session.phase.want is RUN else []
        elif waiting:
            waiting = [random.choice(waiting)]
        for exchange in waiting:
            go_on(exchange, read, wanted)
        if all(answer.ended for answer in client.answers.values()):
            break
    for stream, (body, content, answered, sized) in wanted.items():
        answer: Answer = client.answers[stream]
        assert (answer.status, answer.body, answer.ended, answer.reset) == (200, content, True, None)
        assert read[stream] == body
        assert answer.fields.get(b"content-length") == (b"%d" % answered if sized else None)
    assert not peer.session._exchanges
    assert not client.went_away


def go_on(exchange: Any, read: dict[int, bytes], wanted: dict[int, Any]) -> None:
    """Read what there is of the body; answer when it is whole."""
    read.setdefault(exchange.stream, b"")
    while part := exchange.poll():
        read[exchange.stream] += part
    if part is None:
        exchange.want_body()
        return
    _, _, answered, sized = wanted[exchange.stream]
    fields = ((b"Content-Length", b"%d" % answered),) if sized else ()
    if exchange.blocked:
        return
    if not exchange.responding:
        exchange.respond(response_head(200, b"", fields), pattern(answered)[: answered // 2], False)
    else:
        exchange.push(pattern(answered)[answered // 2 :], True)
