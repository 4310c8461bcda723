"""An application that opens connections and starts a thread when it is imported, as a module does with a global client
of a database or a global scheduler."""

import os
import socket
import threading
from collections.abc import Iterable
from typing import Any

PEERS = "APP_PEERS"
"""A variable: what to connect to, such as `127.0.0.1:5432 /run/db`, separated by spaces."""
THREAD = "the scheduler"


def _connect(peer: str) -> socket.socket:
    host, colon, port = peer.rpartition(":")
    client = socket.socket(socket.AF_INET if colon else socket.AF_UNIX)
    client.connect((host, int(port)) if colon else peer)
    return client


connections = [_connect(peer) for peer in os.environ.get(PEERS, "").split()]
pair = socket.socketpair()
_connect(os.environ["APP_CLOSED"]).close() if "APP_CLOSED" in os.environ else None
threading.Thread(target=threading.Event().wait, name=THREAD, daemon=True).start()


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"made"]
