"""What is answered at each path of the endpoint."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from septet.exchange import Fields, Request
from septet.metrics.exposition import MISSING, is_available, render
from septet.metrics.reader import Reader

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

_FIELDS: Fields = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
)


@dataclass(slots=True, frozen=True)
class Answer:
    """A whole answer; or, with `more`, the beginning of one that is continued once a second."""

    status: int
    kind: str
    content: bytes
    fields: Fields = _FIELDS
    more: Callable[[], bytes] | None = None


class Answers:
    """Answers requests from what the reader reads. For the one thread of an endpoint."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages: dict[bytes, Callable[[Request], Answer]] = {
            b"/metrics": self._metrics,
            b"/healthz": lambda request: Answer(200, TEXT, b"ok\n"),
            b"/readyz": self._readyz,
            b"/status.json": lambda request: Answer(200, JSON, self._status()),
        }

    def tick(self, now_s: float) -> None:
        """To be called about once a second."""
        self._reader.tick(now_s)

    def answer(self, request: Request) -> Answer:
        page = self._pages.get(request.path)
        if page is None:
            return Answer(404, TEXT, b"there is " + b", ".join(sorted(self._pages)) + b"\n")
        if request.method not in ("GET", "HEAD"):
            return Answer(405, TEXT, b"GET and HEAD are answered here\n", (*_FIELDS, (b"Allow", b"GET, HEAD")))
        return page(request)

    def _metrics(self, request: Request) -> Answer:
        if not is_available():
            return Answer(501, TEXT, MISSING.encode() + b"\n")
        accept = b",".join(value for name, value in request.fields if name == b"accept")
        content, kind = render(self._reader, accept.decode("latin-1"))
        return Answer(200, kind, content)

    def _readyz(self, request: Request) -> Answer:
        state = self._reader.state()
        return Answer(200 if state == "ready" else 503, TEXT, state.encode() + b"\n")

    def _status(self) -> bytes:
        return json.dumps(self._reader.status()).encode() + b"\n"
