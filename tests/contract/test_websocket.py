"""A WebSocket that is asked for where there is none: the request is an ordinary one, and one warning says so."""

from support.marks import each_style
from support.server import serve

HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@each_style
def test_websocket_is_warned_of_once(model: str, interface: str) -> None:
    with serve(model, interface) as server:
        assert server.get("/info", "Connection: Upgrade", "Upgrade: h2c").status == 200
        assert "WebSocket" not in server.stderr()
        for path in ("/info?x", "/info?y", "/info?y"):
            assert server.get(path, *HANDSHAKE).status == 200
        # What libraries do that find no socket to talk over.
        assert server.get("/fail?when=before%20start", *HANDSHAKE).status == 500
        server.stop()
        line, raised = [line for line in server.stderr().splitlines() if "WebSocket" in line]
        assert "ERROR septet: SEP141 the application raised at GET /fail" in raised
        assert "WARNING septet: a client asks for a WebSocket at /info, and Septet has none yet: " in line
        assert "Traceback" not in server.stderr()
