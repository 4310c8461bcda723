"""The site of a server: directories and applications at their routes, and one application for all other paths."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from septet.apps.asgi import Asgi
from septet.apps.mounted import Mounted
from septet.apps.static import ALLOW, Static, plain
from septet.apps.wsgi import Wsgi
from septet.exchange import Exchange, Request, Response
from septet.http.head import response_head

SyncApplication = Callable[[Exchange], Response]
App = TypeVar("App", Wsgi, Asgi, Wsgi | Asgi, Wsgi | Asgi | None)


@dataclass(frozen=True, eq=False)
class Site:
    """Directories at their routes, and an application, which may be None, for all other paths."""

    application: Wsgi | Asgi | None
    directories: tuple[Static, ...] = ()

    @property
    def applications(self) -> tuple[Wsgi | Asgi, ...]:
        return () if self.application is None else (self.application,)

    @cached_property
    def asgis(self) -> tuple[Asgi, ...]:
        """The ASGI applications of the site."""
        return tuple(each for each in self.applications if isinstance(each, Asgi))

    @cached_property
    def has_wsgi(self) -> bool:
        """True if the site has WSGI applications, which may block their thread."""
        return any(isinstance(each, Wsgi) for each in self.applications)

    @property
    def mixed(self) -> bool:
        """True if the site has both WSGI and ASGI applications."""
        return self.has_wsgi and bool(self.asgis)

    @property
    def sole(self) -> Wsgi | Asgi | None:
        """The one application of a site without directories, which answers every request, so that no path has to be
        looked at. None if the site has directories, or no application.
        """
        return None if self.directories else self.application

    def for_another_loop(self) -> "Site":
        """Return a copy for another event loop of this process: the same applications and directories, but ASGI
        applications have a state of their own, which their lifespan on that loop sets up.
        """
        states: dict[int, dict[str, Any]] = {}
        return replace(self, application=_with_own_state(self.application, states))

    def find(self, exchange: Exchange) -> SyncApplication | Asgi:
        """Return the directory or application that answers this request."""
        for directory in self.directories:
            if directory.serves(exchange.request.path):
                return directory
        return self.application or _nothing


@dataclass(frozen=True, eq=False)
class MountedSite(Site):
    """Applications and directories at their routes, and an application, which may be None, for all other paths."""

    places: tuple[Static | Mounted, ...] = ()
    """Everything that has a route, the longest route first: the first one that serves a path answers."""

    @property
    def applications(self) -> tuple[Wsgi | Asgi, ...]:
        return (*super().applications, *(each.application for each in self.places if isinstance(each, Mounted)))

    @property
    def sole(self) -> None:
        return None

    def for_another_loop(self) -> "MountedSite":
        states: dict[int, dict[str, Any]] = {}  # one for all mounts of an application
        places = tuple(
            replace(each, application=_with_own_state(each.application, states)) if isinstance(each, Mounted) else each
            for each in self.places
        )
        return replace(self, application=_with_own_state(self.application, states), places=places)

    def find(self, exchange: Exchange) -> SyncApplication | Asgi:
        return self.at(exchange.request)

    def at(self, request: Request) -> SyncApplication | Asgi:
        """Return the directory or application that answers this request. The result is cached in `request.derived`,
        which requests with the same head share.
        """
        if request.derived is None:
            return self._at(request.path)
        found: SyncApplication | Asgi | None = request.derived.get(self)
        if found is None:
            found = request.derived[self] = self._at(request.path)
        return found

    def calls(self, request: Request) -> bool:
        """True if a WSGI application answers this request; such an application may block its thread while it reads the
        body.
        """
        return isinstance(self.at(request), Wsgi)

    def _at(self, path: bytes) -> SyncApplication | Asgi:
        for place in self.places:
            if place.serves(path):
                return place.application if isinstance(place, Mounted) else place
        return self.application or _nothing


def _with_own_state(application: App, states: dict[int, dict[str, Any]]) -> App:
    """Return a copy of an ASGI application with an empty state; any other application as it is. `states`: the new
    states, by `id` of the old ones, so that applications that have shared a state share the new one.
    """
    if not isinstance(application, Asgi):
        return application
    found = copy(application)
    found.state = states.setdefault(id(application.state), {})
    return found


def _nothing(exchange: Exchange) -> Response:
    """Return the answer if there is no application and no directory for the path: 404, or 204 for `OPTIONS *`."""
    if exchange.request.path == b"*":  # RFC 9110 section 9.3.7
        return response_head(204, b"No Content", ALLOW), b"", None
    return plain(404)
