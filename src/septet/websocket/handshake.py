"""The opening handshake of a WebSocket (RFC 6455 section 4.2): the request, and the answer 101."""

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha1

from septet.exchange import Fields, ProtocolError, Request

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The constant from which Sec-WebSocket-Accept is computed (RFC 6455 section 1.3)."""

VERSION = b"13"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_EXTENSION = rb"%b(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|\"%b\"))?)*" % (_TOKEN, _TOKEN, _TOKEN, _TOKEN)
_extension_list = re.compile(rb"[ \t,]*%b(?:[ \t]*,[ \t,]*%b)*[ \t,]*" % (_EXTENSION, _EXTENSION)).fullmatch
"""The syntax of Sec-WebSocket-Extensions (RFC 6455 section 9.1). Empty elements of a list are allowed (RFC 9110 section
5.6.1).
"""


@dataclass(slots=True, frozen=True)
class Opening:
    """A valid request for a WebSocket: the client's part of the opening handshake."""

    key: bytes
    """The value of Sec-WebSocket-Key; empty over HTTP/2, which has no such field."""
    subprotocols: tuple[str, ...]
    """The subprotocols that the client offers, in its order."""
    extensions: tuple[str, ...]
    """The values of Sec-WebSocket-Extensions."""

    def accepted(self, subprotocol: str | None, extensions: str | None) -> Fields:
        """Return the fields of the answer 101 (RFC 6455 section 4.2.2). `subprotocol` and `extensions`: those that were
        chosen, None for none.
        """
        return (
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", base64.b64encode(sha1(self.key + _GUID, usedforsecurity=False).digest())),
            *self.accepted_on_stream(subprotocol, extensions),
        )

    def accepted_on_stream(self, subprotocol: str | None, extensions: str | None) -> Fields:
        """Return the fields of the answer 200 over HTTP/2 (RFC 8441 section 5). `subprotocol` and `extensions`: those
        that were chosen, None for none.
        """
        fields = []
        if subprotocol is not None:
            fields.append((b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1")))
        if extensions is not None:
            fields.append((b"Sec-WebSocket-Extensions", extensions.encode("latin-1")))
        return tuple(fields)


def asks_for_websocket(request: Request) -> bool:
    """True if the request is an opening handshake, well-formed or not.

    The Upgrade field counts only in HTTP/1.1 and if Connection names it (RFC 9110 section 7.8): otherwise a proxy that
    does not know the field may have passed it on.
    """
    if request.version == "2":  # an extended CONNECT (RFC 8441)
        return request.upgrade is not None
    return (
        request.upgrade is not None
        and request.upgrade.lower() == b"websocket"
        and request.method == "GET"
        and request.version == "1.1"
        and b"upgrade" in _tokens(request, b"connection")
    )


def opening(request: Request) -> Opening:
    """Return the handshake of a request for which `asks_for_websocket` is true. Raises ProtocolError: 400 if it is
    malformed, 426 if it asks for another version of the protocol.
    """
    streamed = request.version == "2"
    if request.has_body is not streamed:
        raise ProtocolError(400, "the request for a WebSocket has a body, or its stream has ended")
    version = _only(request, b"sec-websocket-version")
    if version != VERSION:
        raise ProtocolError(426, f"the version of WebSocket is {VERSION.decode()}")
    key = b"" if streamed else _only(request, b"sec-websocket-key")
    if not (streamed or _is_key(key)):
        raise ProtocolError(400, "Sec-WebSocket-Key is not 16 bytes in base64")
    extensions = _values(request, b"sec-websocket-extensions")
    if not all(map(_extension_list, extensions)):
        raise ProtocolError(400, "Sec-WebSocket-Extensions is malformed")
    subprotocols = [word.decode("latin-1") for word in _words(request, b"sec-websocket-protocol")]
    return Opening(key, tuple(subprotocols), tuple(value.decode("latin-1") for value in extensions))


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _values(request: Request, wanted: bytes) -> list[bytes]:
    return [value for name, value in request.fields if name == wanted]


def _words(request: Request, name: bytes) -> list[bytes]:
    words = [word.strip(b" \t") for value in _values(request, name) for word in value.split(b",")]
    return [word for word in words if word]


def _tokens(request: Request, name: bytes) -> list[bytes]:
    return [word.lower() for word in _words(request, name)]


def _only(request: Request, name: bytes) -> bytes:
    """Return the value of a field that must occur exactly once. Raises ProtocolError."""
    values = _values(request, name)
    if len(values) != 1:
        raise ProtocolError(400, f"the request for a WebSocket must have {name.decode()} once")
    return values[0]
