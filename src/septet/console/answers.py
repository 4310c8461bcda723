"""Answers HTTP requests at the addresses of `--metrics-bind` and `--control`: a function for each path, such as
/metrics and /status.json.
"""

import json
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import get_data
from typing import NamedTuple

from septet.console.outcomes import Outcomes
from septet.exchange import Fields, Request
from septet.metrics.exposition import MISSING, is_available, render
from septet.metrics.reader import Reader
from septet.processes.senders import process_in_words

log = logging.getLogger("septet")

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

_FIELDS: Fields = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
)


_FIELDS_OF_PAGE: Fields = (
    *_FIELDS,
    (
        b"Content-Security-Policy",
        b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        b"connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"Referrer-Policy", b"no-referrer"),
)

ORDERS = b"/orders/"
SIGNALS = {
    "stop": signal.SIGTERM,
    "reload": signal.SIGHUP,
    "upgrade": signal.SIGUSR2,
    "reopen": signal.SIGUSR1,
    "more": signal.SIGTTIN,
    "fewer": signal.SIGTTOU,
}
"""For each order at the control socket, by its name: the signal that has the same meaning."""

AWAITED = ("reload", "upgrade")
"""Orders whose outcome a client can wait for: they can fail, and take as long as the application needs to start."""


def _page() -> bytes:
    page = get_data("septet.console", "page.html")  # which may lie in an archive
    assert page is not None
    return page


@dataclass(slots=True, frozen=True)
class Answer:
    """The answer to a request. If `more` is set, the answer is the beginning of a stream: `more` is called once a
    second, and what it returns is sent.
    """

    status: int
    kind: str
    content: bytes
    fields: Fields = _FIELDS
    more: Callable[[], bytes] | None = None


class Peer(NamedTuple):
    """A process that has connected to the control socket: its process id and the id of its user, as the kernel gives
    them (SO_PEERCRED in unix(7)).
    """

    pid: int
    user: int

    def __str__(self) -> str:
        return process_in_words(self.pid, self.user)


class Answers:
    """Answers HTTP requests from the figures of a `metrics.reader.Reader`. Only the thread that serves the endpoint
    uses it.
    """

    def __init__(self, reader: Reader, outcomes: Outcomes | None = None) -> None:
        """`outcomes`: numbers the orders to reload and to upgrade, and keeps how they ended. None: there is no
        supervisor, and such orders are refused.
        """
        self._reader = reader
        self._outcomes = outcomes
        self._pages: dict[bytes, Callable[[Request], Answer]] = {
            b"/metrics": self._metrics,
            b"/healthz": lambda request: Answer(200, TEXT, b"ok\n"),
            b"/readyz": self._readyz,
            b"/status.json": lambda request: Answer(200, JSON, self._status()),
            b"/": lambda request: Answer(200, "text/html; charset=utf-8", _page(), _FIELDS_OF_PAGE),
            b"/events": lambda request: Answer(200, "text/event-stream", self._event(), more=self._event),
        }

    def tick(self, now_s: float) -> None:
        """Let the reader take a sample of the metrics. Called about once a second with `time.monotonic`."""
        self._reader.tick(now_s)

    def answer(self, request: Request, peer: Peer | None) -> Answer:
        if request.path.startswith(ORDERS) and peer is not None:
            return self._order(request, peer)
        page = self._pages.get(request.path)
        if page is None:
            return Answer(404, TEXT, b"there is " + b", ".join(sorted(self._pages)) + b"\n")
        if request.method not in ("GET", "HEAD"):
            return Answer(405, TEXT, b"GET and HEAD are answered here\n", (*_FIELDS, (b"Allow", b"GET, HEAD")))
        return page(request)

    def _order(self, request: Request, peer: Peer) -> Answer:
        """Carry out an order: this process sends itself the signal that has the same meaning. The field Septet-Order of
        the answer is the number by which /status.json says that an order to reload or to upgrade has ended."""
        name = request.path.removeprefix(ORDERS).decode("ascii")
        if name not in SIGNALS:
            return Answer(404, TEXT, f"there is no order {name}; there are {', '.join(SIGNALS)}\n".encode())
        if request.method != "POST":
            return Answer(405, TEXT, b"an order is given by POST\n", (*_FIELDS, (b"Allow", b"POST")))
        fields = _FIELDS
        if name in AWAITED and self._outcomes is None:
            return Answer(409, TEXT, f"only a server with a supervisor (--supervisor) can {name}\n".encode())
        log.info("order by the control socket: %s, from %s", name, peer)
        if name in AWAITED and self._outcomes is not None:
            fields = (*_FIELDS, (b"Septet-Order", b"%d" % self._outcomes.give(name)))
        os.kill(os.getpid(), SIGNALS[name])
        return Answer(202, TEXT, b"given\n", fields)

    def _metrics(self, request: Request) -> Answer:
        if not is_available():
            return Answer(501, TEXT, MISSING.encode() + b"\n")
        accept = b",".join(value for name, value in request.fields if name == b"accept")
        content, kind = render(self._reader, accept.decode("latin-1"))
        return Answer(200, kind, content)

    def _readyz(self, request: Request) -> Answer:
        state = self._reader.state()
        return Answer(200 if state == "ready" else 503, TEXT, state.encode() + b"\n")

    def _event(self) -> bytes:
        """Return the status as a server-sent event."""
        return b"data: " + self._status() + b"\n"

    def _status(self) -> bytes:
        return json.dumps(self._reader.status()).encode() + b"\n"
