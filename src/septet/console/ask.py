"""Asks a running server, at its control socket or the address of its metrics; for `septet status` and its siblings."""

import http.client
import json
import os
import socket
from typing import Any

from septet.errors import Failed, UsageError

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
    """A server that is asked. where: as WHERE says."""

    def __init__(self, where: str) -> None:
        """Raises UsageError."""
        self.where = where
        self._address = where.removeprefix("unix:").removeprefix("http://").rstrip("/")
        self._unix = where.startswith("unix:") or "/" in self._address or os.path.exists(where)
        if not self._unix and not self._address.rpartition(":")[2].isdecimal():
            raise UsageError(f"WHERE is {where!r}, but must be {WHERE}")

    def status(self) -> dict[str, Any]:
        """What /status.json says. Raises Failed."""
        found = json.loads(self._request("GET", "/status.json"))
        if not isinstance(found, dict) or "septet" not in found:
            raise Failed(f"{self.where} answers, but is not Septet's")
        return found

    def order(self, name: str) -> None:
        """Raises Failed."""
        self._request("POST", f"/orders/{name}")

    def _request(self, method: str, path: str) -> bytes:
        connection = (
            _Unix(self._address) if self._unix else http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        )
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Failed(f"{self.where} does not answer: {why}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise Failed(f"{self.where} answers {answer.status}: {content.decode(errors='replace').strip()[:200]}")
        return content
