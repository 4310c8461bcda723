"""Coverage-guided fuzzing of a session of HTTP/2: whatever bytes a client sends, nothing raises.

The first byte of the input says how: whether exchanges run side by side, how their application behaves, whether the
rest is raw frames or a recipe for well-formed ones (which random bytes would seldom be), and how it is cut. What is
held: no exception, an end once the client has left, no more kept in memory than the limits allow, and that each request
is answered at most once.
"""

import sys
from io import BytesIO
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

with atheris.instrument_imports(include=["septet", "h2", "hpack", "hyperframe"]):
    from septet.exchange import ClientGone
    from septet.http.head import response_head
    from septet.http.incoming import Limits
    from septet.protocol import CLOSE, EITHER, RUN, TURN
    from septet.rules import Rules
    from septet.session.http2 import Http2Session
    from septet.session.websocket import WebSockets
    from septet.websocket.tunnel import TunnelOptions
    from support.http2 import PREFACE, block, frame, get

LIMITS = Limits(header_block=4096, body=5000)
WEBSOCKETS = WebSockets(TunnelOptions(max_message=5000))
KEPT = 4 << 20
BODY = b"x" * 20_000

_FIELDS = [
    get(),
    get(method=b"POST"),
    get("/", (b"content-length", b"3"), method=b"POST"),
    get("/", (b"expect", b"100-continue"), method=b"POST"),
    get(method=b"HEAD"),
    [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *get()[1:], (b"sec-websocket-version", b"13")],
    [(b"connection", b"close")],
    get("/", (b"priority", b"u=0")),
]


def frames(data: bytes) -> bytes:
    """Frames from a recipe: of each, four bytes say type, flags, stream and content."""
    out = [PREFACE, frame(4)]
    for at in range(0, len(data) - 3, 4):
        kind, flags, stream, what = data[at : at + 4]
        kind = kind % 12 if kind < 240 else 0x10
        payload = block(_FIELDS[what % len(_FIELDS)]) if kind in (1, 9) and what < 240 else bytes([what]) * (what % 20)
        if kind in (6, 8, 3, 2) and what < 200:
            payload = bytes([0, 0, what, what, 0, 0, 0, 1])[: {6: 8, 8: 4, 3: 4, 2: 5}[kind]]
        out.append(frame(kind, flags & 0x2D, stream % 16, payload))
    return b"".join(out)


def act(exchange: object, how: int) -> None:
    """What an application does with its turn."""
    each: object = exchange
    if each.answered:  # type: ignore[attr-defined]
        return
    try:
        if hasattr(each, "tunnel"):
            each.noticed()  # type: ignore[attr-defined]
            while each.next_message() is not None:  # type: ignore[attr-defined]
                pass
            each.resume()  # type: ignore[attr-defined]
            if each.closed is not None:  # type: ignore[attr-defined]
                each.detach()  # type: ignore[attr-defined]
            return
        if each.request.upgrade is not None and how & 4:  # type: ignore[attr-defined]
            each.upgrade(None, ())  # type: ignore[attr-defined]
            return
        if each.body is None and how & 1:  # type: ignore[attr-defined]
            while part := each.poll():  # type: ignore[attr-defined]
                assert part
            if part is None:
                each.want_body()  # type: ignore[attr-defined]
                return
        if not each.responding and how & 2:  # type: ignore[attr-defined]
            each.inform(103, ())  # type: ignore[attr-defined]
            each.respond(response_head(200, b"", ()), BODY, False)  # type: ignore[attr-defined]
        elif each.responding:  # type: ignore[attr-defined]
            each.finish(((b"a", b"b"),))  # type: ignore[attr-defined]
        else:
            each.respond(response_head(200, b"", ()), b"hello", True)  # type: ignore[attr-defined]
    except ClientGone:
        each.fail()  # type: ignore[attr-defined]
    except Exception as error:
        if type(error).__name__ != "ProtocolError":
            raise
        each.fail()  # type: ignore[attr-defined]


def serve(session: Http2Session, how: int) -> None:
    """Do what a carrier does, and applications."""
    for _ in range(5_000):
        want = session.phase.want
        if want is TURN:
            act(session.take_turn(), how)
        elif want is RUN:
            act(session.exchange, how)
            if session.phase.want is RUN and not session.exchange.answered:
                session.exchange.fail()
        elif want is EITHER:
            session.wrote(len(session.output))
        else:
            break
    held = sum(exchange.in_memory for exchange in session._exchanges.values())
    assert held + len(session.output) < KEPT


def test(data: bytes) -> None:
    how, data = data[0] if data else 0, data[1:]
    concurrent = bool(how & 16)
    spool = BytesIO if how & 32 else None
    rules = Rules(concurrent=concurrent, limits=LIMITS, spool=spool, websocket=None if spool else WEBSOCKETS)
    session = Http2Session(rules, None, ("/run/x", None), "unix:", "http", lambda: None)
    sent = frames(data) if how & 64 else PREFACE + data
    size = len(sent) or 1 if how & 128 else 1 + how % 13
    serve(session, how)
    for start in range(0, len(sent), size):
        if session.phase.want is CLOSE:
            break
        session.receive(sent[start : start + size])
        serve(session, how)
    for now in (0.0, 100.0, 200.0):
        due = session.deadline(now)
        if due is not None and due <= now:
            session.expire()
            serve(session, how)
    if session.phase.want is not CLOSE or session.half_close():
        session.receive(b"")
    serve(session, how)
    session.lose()
    serve(session, how)
    assert session.phase.want is CLOSE
    session.close()


if __name__ == "__main__":
    atheris.Setup(sys.argv, test)
    atheris.Fuzz()
