"""The opening handshake: what is valid, what is offered, and the answer of RFC 6455's own example."""

import pytest

from septet.exchange import ProtocolError, Request
from septet.websocket.handshake import asks_for_websocket, opening

FIELDS = (
    (b"host", b"server.example.com"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-protocol", b"chat, superchat"),
    (b"sec-websocket-version", b"13"),
)


def request(*changes: tuple[bytes, bytes], without: bytes = b"", **attributes: object) -> Request:
    changed = {name for name, _ in changes} | {without}
    fields = (*(field for field in FIELDS if field[0] not in changed), *changes)
    upgrade = dict(fields).get(b"upgrade")
    made = Request("GET", b"/chat", b"/chat", b"", "1.1", fields, upgrade=upgrade)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_the_example_of_the_rfc() -> None:
    handshake = opening(request())
    assert handshake.subprotocols == ("chat", "superchat")
    assert handshake.accepted("chat", None) == (
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        (b"Sec-WebSocket-Protocol", b"chat"),
    )


@pytest.mark.parametrize(
    "changed",
    [
        request((b"connection", b"keep-alive"), (b"connection", b"x, UPGRADE")),
        request((b"upgrade", b"WebSocket")),
        request((b"sec-websocket-extensions", b'permessage-deflate; a="b"; c, , x-other')),
    ],
)
def test_valid(changed: Request) -> None:
    assert asks_for_websocket(changed)
    opening(changed)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        (request(has_body=True), 400),
        (request(without=b"sec-websocket-version"), 400),
        (request((b"sec-websocket-version", b"14")), 426),
        (request(without=b"sec-websocket-key"), 400),
        (request((b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")), 200),
        (request((b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25j")), 400),
        (request((b"sec-websocket-key", b"@@@@IHNhbXBsZSBub25jZQ==")), 400),
        (request((b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="), (b"sec-websocket-key", b"x")), 400),
        (request((b"sec-websocket-extensions", b"a;;b")), 400),
        (request((b"sec-websocket-extensions", b'a; b="c d"')), 400),
    ],
)
def test_malformed(changed: Request, status: int) -> None:
    if status == 200:
        opening(changed)
        return
    with pytest.raises(ProtocolError) as refused:
        opening(changed)
    assert refused.value.status == status


def test_what_asks_for_something_else() -> None:
    assert not asks_for_websocket(request((b"upgrade", b"h2c")))
    assert not asks_for_websocket(request(method="POST"))
    assert not asks_for_websocket(request(without=b"upgrade"))
    assert not asks_for_websocket(request(version="1.0"))
    assert not asks_for_websocket(request((b"connection", b"close")))
