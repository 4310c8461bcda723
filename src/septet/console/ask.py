"""Asks a running server, at its control socket or at the address of its metrics. `septet status`, `top` and `control`
use it.
"""

import http.client
import json
import os
import socket
from typing import Any

from septet.errors import Failed, UsageError
from septet.net.address import parse_address

TIMEOUT_S = 5.0

WHERE = "the path of a control socket (--control), or HOST:PORT of the metrics (--metrics-bind)"


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


class Asked:
    """A running server that is asked. `where`: the path of its control socket, or HOST:PORT of its metrics."""

    def __init__(self, where: str) -> None:
        """Check `where`. Raises UsageError."""
        self.where = where
        self._host, self._port = "", 0
        text = where.removeprefix("http://").rstrip("/")
        self._path = where.removeprefix("unix:") if _is_path(where, text) else ""
        if self._path.startswith("@"):  # abstract, see unix(7)
            self._path = "\0" + self._path[1:]
        if not self._path:
            try:
                address = parse_address(text)
                if address.tls:
                    raise ValueError("no TLS is spoken there")
            except ValueError:
                guess = f" (did you mean 127.0.0.1:{text}?)" if text.isdecimal() else ""
                raise UsageError(f"WHERE is {where!r}, but must be {WHERE}{guess}") from None
            self._host, self._port = address.host, address.port

    def status(self) -> dict[str, Any]:
        """Return what /status.json says. Raises Failed."""
        status, content = self._request("GET", "/status.json")
        try:
            found = json.loads(content) if status == 200 else None
        except ValueError:
            found = None
        if not isinstance(found, dict) or "septet" not in found:
            right = "the path of --control" if self._path else "the address of --metrics-bind"
            raise Failed(f"no Septet answers metrics at {self.where}; give {right}")
        return found

    def order(self, name: str) -> None:
        """Give an order. Raises Failed, or UsageError if `where` is not a control socket."""
        if not self._path:
            raise UsageError(f"WHERE is {self.where!r}, but orders are taken only at the unix socket of --control")
        if self._request("POST", f"/orders/{name}") != (202, b"given\n"):
            raise Failed(f"no Septet takes orders at {self.where}; give the path of --control")

    def _request(self, method: str, path: str) -> tuple[int, bytes]:
        """Send a request and return the status and content of the answer. Raises Failed."""
        connection = (
            _Unix(self._path) if self._path else http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        )
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Failed(f"{self.where} does not answer: {why}") from error
        finally:
            connection.close()


def _is_path(where: str, text: str) -> bool:
    """True if `where` is the path of a unix socket. `text`: `where` without a leading http://."""
    if where.startswith("https://"):  # no TLS is spoken there
        return False
    return where.startswith("unix:") or "/" in text or os.path.exists(where)
