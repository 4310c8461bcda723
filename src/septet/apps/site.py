"""What a server serves: directories at their routes, and an application for everything else."""

from collections.abc import Callable
from dataclasses import dataclass

from septet.apps.asgi import Asgi
from septet.apps.static import Static, plain
from septet.apps.wsgi import Wsgi
from septet.http.events import Exchange, Response

Called = Callable[[Exchange], Response]


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

    def find(self, exchange: Exchange) -> Called | Asgi:
        """Who answers this request."""
        for directory in self.directories:
            if directory.serves(exchange.request.path):
                return directory
        return self.application or _nothing


def _nothing(exchange: Exchange) -> Response:
    return plain(404)
