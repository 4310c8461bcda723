"""What a server serves: directories at their routes, and an application for everything else."""

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
    application: Wsgi | Asgi | None
    directories: tuple[Static, ...] = ()

    @property
    def asgi(self) -> Asgi | None:
        return self.application if isinstance(self.application, Asgi) else None

    @property
    def called(self) -> bool:
        """Everything here is called, and none of it may wait for a request's body on an event loop."""
        return self.asgi is None

    def find(self, exchange: Exchange) -> SyncApplication | Asgi:
        """Who answers this request."""
        for directory in self.directories:
            if directory.serves(exchange.request.path):
                return directory
        return self.application or _nothing


def _nothing(exchange: Exchange) -> Response:
    """For what neither a directory nor an application answers; `OPTIONS *` asks of the server as a whole."""
    if exchange.request.path == b"*":  # RFC 9110 section 9.3.7
        return response_head(204, b"No Content", ALLOW), b"", None
    return plain(404)
