"""Coverage-guided fuzzing of an open WebSocket: whatever bytes a client sends, nothing raises.

The first byte of the input says how: whether messages are compressed, how the application reads, how the rest is cut.
What is held: no exception, the same messages however the bytes are cut, an end once the client has left, and no more
kept in memory than the limits allow.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

with atheris.instrument_imports(include=["septet", "websockets"]):
    from septet.protocol import CLOSE, EITHER, RUN, WRITE
    from septet.rules import Rules
    from septet.session.http1 import Session
    from septet.session.websocket import WebSockets, WebSocketSession
    from septet.websocket.tunnel import TunnelOptions
    from support.websocket import handshake

RULES = Rules(websocket=WebSockets(TunnelOptions(max_message=5000)))
KEPT = 200_000


def opened(compressed: bool) -> WebSocketSession:
    session = Session(RULES, None, ("/run/x", None))
    offered = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"] if compressed else []
    session.receive(handshake("/", *offered))
    session.upgrade(None, ())
    assert isinstance(session, WebSocketSession)
    return session


def serve(session: WebSocketSession, reads: bool) -> list[object]:
    """Do what a carrier does, and an application that reads, or does not."""
    taken: list[object] = []
    for _ in range(100_000):
        want = session.want
        if want is RUN:
            session.noticed()
            if reads:
                while (message := session.next_message()) is not None:
                    taken.append(message)
                session.resume()
            if session.want is RUN:
                break
        elif want is WRITE or want is EITHER:
            session.wrote(len(session.output))
        else:
            break
    assert session.in_memory + session.tunnel.queued < KEPT
    return taken


def live(data: bytes, compressed: bool, reads: bool, size: int) -> list[object]:
    session = opened(compressed)
    taken = serve(session, reads)
    for start in range(0, len(data), size):
        if session.want is CLOSE:
            break
        session.receive(data[start : start + size])
        taken += serve(session, reads)
    if session.want is not CLOSE or session.half_close():
        session.receive(b"")
    taken += serve(session, True)
    assert session.want is CLOSE
    session.close()
    return taken


def test(data: bytes) -> None:
    how, data = data[0] if data else 0, data[1:]
    compressed = bool(how & 1)
    whole = live(data, compressed, True, max(1, len(data)))
    assert live(data, compressed, True, 1 + (how >> 2) % 7) == whole
    live(data, compressed, False, 64)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test)
    atheris.Fuzz()
