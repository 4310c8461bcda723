"""Asks a running server, at its control socket or at the address of its metrics. `septet status`, `top` and `control`
use it.
"""

import http.client
import json
import os
import socket
import time
from typing import Any

from septet.errors import Failed, UsageError
from septet.net.address import parse_address

TIMEOUT_S = 5.0

POLL_S = 0.1
"""Seconds between two requests that ask the server whether an order has ended."""
SILENCE_S = 5.0
"""Seconds. While an order is carried out, a server may not answer for a moment, because its program is replaced. If it
has not answered for this time, `Asked.outcome` takes it to have ended, and raises Failed.
"""

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
        status, content, _ = self._request("GET", "/status.json")
        try:
            found = json.loads(content) if status == 200 else None
        except ValueError:
            found = None
        if not isinstance(found, dict) or "septet" not in found:
            right = "the path of --control" if self._path else "the address of --metrics-bind"
            raise Failed(f"no Septet answers metrics at {self.where}; give {right}")
        return found

    def order(self, name: str) -> int | None:
        """Give the server an order. Returns the number by which `outcome` waits for the order's end, or None for an
        order whose end cannot be waited for. Raises Failed if the server does not take the order, UsageError if `where`
        is not a control socket.
        """
        if not self._path:
            raise UsageError(f"WHERE is {self.where!r}, but orders are taken only at the unix socket of --control")
        status, content, number = self._request("POST", f"/orders/{name}")
        if status == 409:
            raise Failed(content.decode("ascii", "replace").strip())
        if (status, content) != (202, b"given\n"):
            raise Failed(f"no Septet takes orders at {self.where}; give the path of --control")
        return int(number) if number is not None and number.isdecimal() else None

    def outcome(self, number: int, timeout_s: float) -> dict[str, Any] | None:
        """Wait until the order with this number has ended, and return how, as a dictionary with the keys `kind`,
        `failed` and `text`. None if it has not ended after `timeout_s` seconds. Raises Failed if the server has not
        answered for SILENCE_S seconds.
        """
        until = time.monotonic() + timeout_s
        answered_at = time.monotonic()
        while True:
            try:
                orders = self.status()["orders"]
            except Failed:  # a program that is replaced closes its connections
                if time.monotonic() - answered_at > SILENCE_S:
                    raise
            else:
                answered_at = time.monotonic()
                if orders["ended"] >= number:
                    return dict(orders["last"])
            if time.monotonic() >= until:
                return None
            time.sleep(POLL_S)

    def _request(self, method: str, path: str) -> tuple[int, bytes, str | None]:
        """Send a request; return the status and the content of the answer, and the value of its field Septet-Order,
        which is None if the answer does not have the field. Raises Failed.
        """
        connection = (
            _Unix(self._path) if self._path else http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        )
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("Septet-Order")
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
