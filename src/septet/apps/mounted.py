"""Applications that do not have the whole of the URL's path: those of `--mount`, and all of them with `--root-path`.

A path has up to three parts, here for `--root-path /shop --mount /api=...` and the URL https://example.org/shop/api/items:

    /shop   which a proxy may have taken off; then it is in no request, and is put back for the application (`added`)
    /api    where the application is mounted: in every request that comes to it (`received`)
    /items  which is the application's own

WSGI calls the first two SCRIPT_NAME and the rest PATH_INFO (PEP 3333, "environ Variables"). ASGI calls the first two
`root_path`; its `path` and `raw_path` are the whole path, all three parts: so the specification has it, and so do
Starlette (since 0.33) and uvicorn (since 0.26).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, unquote, unquote_to_bytes

from septet.apps.asgi import Application, Asgi
from septet.apps.noted import NotedAsgi, NotedWsgi
from septet.apps.wsgi import Environ, Wsgi
from septet.exchange import Request


@dataclass(frozen=True, slots=True)
class Prefix:
    """The part of the URL's path that comes before an application's own, as percent-decoded bytes."""

    added: bytes = b""
    """The part that a proxy has removed: it is in no request, and is put back for the application."""
    received: bytes = b""
    """The part that follows `added`, and is in every request for the application."""

    @property
    def whole(self) -> bytes:
        """Both parts: the beginning of the application's URLs as its clients write them."""
        return self.added + self.received


class MountedWsgi(Wsgi):
    """A WSGI application whose own paths begin after `prefix`. The other arguments are those of `Wsgi`."""

    def __init__(self, application: Callable[..., Iterable[bytes]], prefix: Prefix, **options: bool) -> None:
        super().__init__(application, **options)
        self._received = len(prefix.received)
        self._base["SCRIPT_NAME"] = prefix.whole.decode("latin-1")

    def _of_head(self, request: Request, server: tuple[str, int | None]) -> Environ:
        environ = super()._of_head(request, server)
        if self._received and request.path != b"*":
            environ["PATH_INFO"] = environ["PATH_INFO"][self._received :]
        return environ


class MountedAsgi(Asgi):
    """An ASGI application whose own paths begin after `prefix`. The other arguments are those of `Asgi`."""

    def __init__(
        self, application: Application, extensions: Iterable[str], no_websocket: str, prefix: Prefix, name: str
    ) -> None:
        super().__init__(application, extensions, no_websocket)
        self.name = name
        self._root_path = prefix.whole.decode("utf-8", "replace")
        self._added = quote_from_bytes(prefix.added).encode("ascii")

    def _from_head(self, request: Request) -> dict[str, Any]:
        template = super()._from_head(request)
        template["root_path"] = self._root_path
        if self._added and request.path != b"*":
            template["raw_path"] = raw_path = self._added + request.path
            template["path"] = unquote(raw_path.decode("ascii"))
        return template


class NotedMountedWsgi(NotedWsgi, MountedWsgi):
    """A `MountedWsgi` that notes in each exchange when the application was called; see `apps.noted`."""


class NotedMountedAsgi(NotedAsgi, MountedAsgi):
    """A `MountedAsgi` that notes in each exchange when the application was called; see `apps.noted`."""


@dataclass(frozen=True, eq=False)
class Mounted:
    """An application, and the prefix of the paths that it answers."""

    received: bytes
    """The prefix as it is in requests: percent-decoded, without a slash at its end."""
    application: Wsgi | Asgi

    def serves(self, path: bytes) -> bool:
        """True if the application answers requests for `path`, as it is in the request line.

        Paths are compared percent-decoded, and by whole segments: `/%61pi/x` is below `/api`, and `/apis` is not.
        """
        if b"%" in path:
            path = unquote_to_bytes(path)
        return path.startswith(self.received) and path[len(self.received) :][:1] in (b"", b"/")
