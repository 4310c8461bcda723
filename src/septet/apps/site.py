"""The site of a server: directories at their routes, and one application for all other paths."""

from collections.abc import Callable
from dataclasses import dataclass

from septet.apps.asgi import Asgi
from septet.apps.static import ALLOW, Static, plain
from septet.apps.wsgi import Wsgi
from septet.exchange import Exchange, Response
from septet.http.head import response_head

SyncApplication = Callable[[Exchange], Response]


@dataclass(frozen=True, eq=False)
class Site:
    """Directories at their routes, and an application, which may be None, for all other paths."""

    application: Wsgi | Asgi | None
    directories: tuple[Static, ...] = ()

    @property
    def asgi(self) -> Asgi | None:
        return self.application if isinstance(self.application, Asgi) else None

    @property
    def called(self) -> bool:
        """True if everything here is called, not awaited. On an event loop such code must not wait for a body."""
        return self.asgi is None

    def find(self, exchange: Exchange) -> SyncApplication | Asgi:
        """Return the directory or application that answers this request."""
        for directory in self.directories:
            if directory.serves(exchange.request.path):
                return directory
        return self.application or _nothing


def _nothing(exchange: Exchange) -> Response:
    """Return the answer if there is no application and no directory for the path: 404, or 204 for `OPTIONS *`."""
    if exchange.request.path == b"*":  # RFC 9110 section 9.3.7
        return response_head(204, b"No Content", ALLOW), b"", None
    return plain(404)
