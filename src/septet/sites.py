"""Makes the site of a server, its applications and its directories of static files, from a configuration: loads the
applications, and finds out whether each is WSGI or ASGI.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from septet import inventory
from septet.apps import problem_page
from septet.apps.asgi import Asgi
from septet.apps.loading import check_callable, has_websocket_routes, interface, load
from septet.apps.mounted import Mounted, MountedAsgi, MountedWsgi, NotedMountedAsgi, NotedMountedWsgi, Prefix
from septet.apps.noted import NotedAsgi, NotedWsgi
from septet.apps.site import MountedSite, Site
from septet.apps.static import Static
from septet.apps.wsgi import Wsgi
from septet.errors import Failed, UsageError
from septet.interpreter import gil_state
from septet.log_format import NOTED, fields_of
from septet.settings import hints
from septet.settings.config import Config
from septet.settings.extensions import parse_extensions
from septet.settings.mount import (
    ApplicationMount,
    parse_application_mount,
    parse_application_route,
    parse_mount,
    parse_root_path,
)
from septet.settings.workers import most_workers
from septet.spans import SpanLog

log = logging.getLogger("septet")

LIBRARY_VERSION = 17
"""The first version of the package `websockets` that is supported, as in the extra `websocket`."""


def load_site(
    config: Config,
    application: Any = None,
    problem: Callable[[], str] | None = None,
    mounted: Mapping[str, Any] | None = None,
) -> Site:
    """Load the applications that a configuration names. Raises UsageError and Failed.

    `application`: served if the configuration names none. `problem`: returns an error text; while it is not empty,
    browsers see it in place of the application's pages. `mounted`: application objects by route, in addition to those
    that the configuration names.
    """
    report = _report_at_import(config)
    site = _site(_Loader(config, problem), config, application, mounted or {})
    report()
    log.debug("this Python %s", gil_state())
    kinds = ["asgi"] * bool(site.asgis) + ["wsgi"] * site.has_wsgi
    if len(kinds) == 1:
        for remark in hints.of_application(config, kinds[0]):
            log.warning("%s", remark)
    if site.mixed and config.threads == 0:
        raise UsageError(
            "--threads is 0, but must be at least 1 where WSGI and ASGI applications are served together: a WSGI "
            "application that ran in the event loop would hold up the others"
        )
    return site


def _report_at_import(config: Config) -> Callable[[], None]:
    """Return a function that, when the applications are loaded, logs what they have made and the processes that serve
    will share or lack, if these are forked from this one.
    """
    concurrency = inventory.concurrency(config.model)
    if concurrency != "processes" and (not config.workers or concurrency == "interpreters"):
        return lambda: None
    from septet.apps.at_import import MadeAtImport  # not held by a server that does not fork

    return MadeAtImport().report


def site_of_process(
    config: Config,
    application: Any = None,
    problem: Callable[[], str] | None = None,
    mounted: Mapping[str, Any] | None = None,
) -> Site:
    """Return the site that a process serves: that of `load_site`, or an empty one if the model loads the applications
    in interpreters of its own. Raises UsageError and Failed.
    """
    if inventory.concurrency(config.model) != "interpreters":
        return load_site(config, application, problem, mounted)
    if application is not None or mounted:
        raise UsageError(
            f"model is {config.model!r}, but must be another one for an application that is an object: interpreters "
            "load the application by its name, MODULE:ATTRIBUTE"
        )
    return Site(None)


def _site(loader: "_Loader", config: Config, application: Any, mounted: Mapping[str, Any]) -> Site:
    root = os.fsencode(parse_root_path(config.root_path)) if config.root_path else b""
    added, received = (b"", root) if config.root_path_kept else (root, b"")
    directories = [
        Static(os.fsdecode(received) + each.route, each.directory, config.static_cache_control or "", before=added)
        for each in sorted(map(parse_mount, config.static), key=lambda mount: len(mount.route), reverse=True)
    ]
    main = loader.main(application, Prefix(added, received))
    applications = [
        Mounted(prefix.received, loader.mounted(mount, found, prefix))
        for mount, found in _mounts(config, mounted)
        for prefix in [Prefix(added, received + os.fsencode(mount.route))]
    ]
    if not (applications or received):
        return Site(main, tuple(directories))
    if main is not None and received:
        applications.append(Mounted(received, main))
        main = None
    places: list[Static | Mounted] = [*directories, *applications]
    places.sort(key=lambda place: len(place.received), reverse=True)
    return MountedSite(main, tuple(directories), tuple(places))


def _mounts(config: Config, objects: Mapping[str, Any]) -> list[tuple[ApplicationMount, Any]]:
    """Return the mounts of `--mount` and of `objects` (applications by route), each with its application object, or
    None if the application is still to be loaded. Raises UsageError.
    """
    mounts: list[tuple[ApplicationMount, Any]] = [(parse_application_mount(text), None) for text in config.mount]
    routes = {mount.route for mount, _ in mounts} | {parse_mount(text).route.rstrip("/") for text in config.static}
    for text, found in objects.items():
        try:
            route = parse_application_route(text)
        except ValueError as error:
            raise UsageError(f"mount is {text!r}, but {error}") from None
        if route in routes:
            raise UsageError(f"mount gives {route} more than once, but each ROUTE must be given once")
        routes.add(route)
        mounts.append((ApplicationMount(route, name_of(found), "auto", False), found))
    return mounts


@dataclass(frozen=True, eq=False)
class _Loader:
    """Loads applications, and wraps each in the object that the server calls (`Wsgi`) or awaits (`Asgi`)."""

    config: Config
    problem: Callable[[], str] | None
    wrapped: dict[tuple[int, str], tuple[Any, Any, dict[str, Any]]] = field(default_factory=dict)
    """For each application and interface ("asgi" or "wsgi"), under the key (id of the application, interface): the
    application, its wrapper, and the state of its lifespan. So an application that is mounted twice is started once.
    """

    def main(self, application: Any, prefix: Prefix) -> Wsgi | Asgi | None:
        """Return the application that APP of the configuration names, or else the object `application`, wrapped; None
        if there is neither. `prefix`: the part of a URL's path that comes before the application's own.
        """
        config = self.config
        name = f"APP {config.app or name_of(application)!r}"
        if config.app is not None:
            application = load(config.app, config.app_dir, config.factory, name)
        if application is None:
            return None
        return self._made(name, "the application", application, config.interface, "--factory", prefix)

    def mounted(self, mount: ApplicationMount, application: Any, prefix: Prefix) -> Wsgi | Asgi:
        """Return the application of a mount, wrapped. It is loaded if `application` is None. `prefix`: the part of a
        URL's path that comes before the application's own.
        """
        called = f"the application {mount.application!r} at {mount.route}"
        if application is None:
            application = load(mount.application, self.config.app_dir, mount.factory, called)
        return self._made(
            called, f"the application at {mount.route}", application, mount.interface, "() after it", prefix
        )

    def _made(
        self, called: str, name: str, application: Any, kind: str, factory_cure: str, prefix: Prefix
    ) -> Wsgi | Asgi:
        config = self.config
        kind = interface(application) if kind == "auto" else kind
        check_callable(called, application, kind, factory_cure)
        log.debug("%s is served as %s", called, kind.upper())
        application, wrapped, state = self._wrapped(application, kind)
        if kind == "wsgi":
            return _wsgi(config, wrapped, prefix)
        asgi = _asgi(config, called, name, wrapped, prefix)
        asgi.state = state
        return asgi

    def _wrapped(self, application: Any, kind: str) -> tuple[Any, Any, dict[str, Any]]:
        key = id(application), kind
        if key not in self.wrapped:
            wrapped = application
            if self.config.span_log:
                wrapped = SpanLog.open(self.config.span_log).around(wrapped, kind)
            if self.problem is not None:
                wrapped = problem_page.around(wrapped, kind, self.problem)
            self.wrapped[key] = application, wrapped, {}
        return self.wrapped[key]


def _wsgi(config: Config, application: Any, prefix: Prefix) -> Wsgi:
    concurrency = inventory.concurrency(config.model)
    multithread = concurrency == "threads" and (config.threads not in (0, 1) or (config.loops or 1) > 1)
    # An interpreter shares no more objects with the others than a process does.
    multiprocess = concurrency in ("processes", "interpreters") or most_workers(config.workers or 1) > 1
    if not prefix.whole:
        plain = NotedWsgi if notes(config) else Wsgi
        return plain(application, multithread=multithread, multiprocess=multiprocess)
    mounted = NotedMountedWsgi if notes(config) else MountedWsgi
    return mounted(application, prefix, multithread=multithread, multiprocess=multiprocess)


def _asgi(config: Config, called: str, name: str, application: Any, prefix: Prefix) -> Asgi:
    extensions = [name for text in config.asgi_extensions for name in parse_extensions(text)]
    why_no_websocket = _why_no_websocket(config, called, application)
    if not prefix.whole:
        return (NotedAsgi if notes(config) else Asgi)(application, extensions, why_no_websocket)
    mounted = NotedMountedAsgi if notes(config) else MountedAsgi
    return mounted(application, extensions, why_no_websocket, prefix, name)


def notes(config: Config) -> bool:
    """True if an option of `config` needs sessions that do more than usual: that note when clients are accepted and
    when applications are called and have answered, or that change the heads of requests or answers.
    """
    logged = fields_of(config.access_log_format) if config.access_log else set()
    of_answers = any(name.startswith("response:") for name in logged)
    timed = config.request_timeout or config.server_timing or config.span_log
    return bool(timed or config.request_id or of_answers or logged & NOTED)


def _why_no_websocket(config: Config, called: str, application: Any) -> str:
    """Return why an ASGI application is not offered WebSockets, in words; "" if it is. `called`: how messages call the
    application. Raises Failed if it has WebSocket routes and the library is not installed.
    """
    if config.ws == "none":
        return "--ws is none"
    lacking = _lacking_library()
    if lacking and has_websocket_routes(application):
        raise Failed(
            f"{called} has routes for WebSockets, and {lacking}: pip install 'septet[websocket]', or give --ws none"
        )
    return f"{lacking} (pip install 'septet[websocket]')" if lacking else ""


def _lacking_library() -> str:
    """Return why the library for WebSockets cannot be used, in words; "" if it can."""
    if find_spec("websockets") is None:
        return "the library websockets is not installed"
    from websockets.version import version as found

    if int(found.partition(".")[0]) < LIBRARY_VERSION:
        return f"the library websockets is version {found}, but must be {LIBRARY_VERSION} or later"
    return ""


def name_of(application: Any) -> str:
    """Return the name by which messages of the server call an application object."""
    return getattr(application, "__qualname__", type(application).__qualname__)
