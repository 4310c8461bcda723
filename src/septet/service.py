"""What a model is given to serve: listeners, application, rules, and the order to stop; made from a configuration."""

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from socket import socket
from tempfile import gettempdir
from typing import Any

from septet import inventory
from septet.apps.asgi import Asgi
from septet.apps.loading import check_callable, has_websocket_routes, interface, load
from septet.apps.site import Site
from septet.apps.static import Static
from septet.apps.wsgi import Wsgi
from septet.date_and_server import date_and_server_fields
from septet.errors import Failed
from septet.exchange import Fields, Want
from septet.http.incoming import Limits
from septet.logs import AccessLog
from septet.net.certificates import Pair, TlsOptions
from septet.net.listener import Listener
from septet.processes.in_flight import InFlight
from septet.processes.metrics import ProcessMetrics
from septet.processes.orders import Stop
from septet.processes.resource_exhaustion import ResourceExhaustion
from septet.processes.spool import Body
from septet.protocol import ServerProtocol
from septet.proxies.filter import UntrustedFieldFilter
from septet.proxies.trust import Trust
from septet.rules import Admission, Observer, Rules, Timeouts, Upgrade
from septet.session.http1 import Session
from septet.session.tls import Tls
from septet.settings import hints
from septet.settings.config import Config
from septet.settings.extensions import parse_extensions
from septet.settings.mount import parse_mount
from septet.spans import Observers, SpanLog

log = logging.getLogger("septet")

LIBRARY_VERSION = 17
"""Of `websockets`, as in the extra `websocket`."""


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class Service:
    """What a model serves, and how."""

    listeners: tuple[Listener, ...]
    site: Site
    rules: Rules
    stop: Stop
    ready: Callable[[int], None]
    """To be called once, with the number of processes that serve, when they are about to accept clients."""
    threads: int | None = None
    workers: int | None = None
    graceful_timeout: float = 30.0
    in_flight: InFlight = field(default_factory=InFlight)
    exhaustion: ResourceExhaustion = field(default_factory=ResourceExhaustion)
    metrics: ProcessMetrics | None = None
    context: Context = field(default_factory=copy_context)
    """The context in which the application was imported; each answer of a WSGI application runs in a copy of it."""

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        site: Site,
        listeners: tuple[Listener, ...],
        stop: Stop,
        ready: Callable[[int], None],
    ) -> "Service":
        """The service that a configuration describes. Raises Failed."""
        in_flight = InFlight(config.limit_concurrency, config.limit_spool)
        admission = in_flight if config.limit_concurrency else None
        metrics = ProcessMetrics(config.metrics_interval, admission) if config.metrics_interval else None
        return cls(
            listeners=listeners,
            site=site,
            rules=replace(rules_of(config, metrics or admission), websocket=_websockets(config, site.asgi)),
            stop=stop,
            ready=ready,
            threads=config.threads,
            workers=config.workers,
            graceful_timeout=config.graceful_timeout,
            in_flight=in_flight,
            metrics=metrics,
        )

    def accepted(self, listener: Listener, sock: socket, address: tuple[str, int] | None) -> ServerProtocol:
        """The protocol of a client that was accepted. The one place where that is decided."""
        certificates = listener.certificates
        if certificates is None:
            return Session(self.rules, address, listener.reached(sock))
        certificates.renew_if_changed()
        return Tls(Session(self.rules, address, listener.reached(sock), "https"), certificates.wrap, self.rules)

    def for_worker(self, stop: Stop, ready: Callable[[int], None], workers: int) -> "Service":
        """This service for one of `workers` processes, with its own `stop` and `ready`."""
        return replace(self, stop=stop, ready=ready, workers=workers)

    def close_listeners(self) -> None:
        """Accept no more clients. The kernel refuses new connections, which would otherwise wait in vain."""
        for listener in self.listeners:
            listener.shut()

    def with_spooled_bodies(self) -> "Service":
        """This service for a model in which a WSGI application must not wait for a request's body: the body is
        collected first, in memory or in a temporary file."""
        if not self.site.called:
            return self
        with suppress(OSError):  # it tries directories, which needs descriptors; the result is kept
            gettempdir()
        lacking = partial(ResourceExhaustion().report, meanwhile="it is answered 500")
        spool, limits = self.in_flight.spool, self.rules.limits
        if spool.limit and not 0 < limits.body <= spool.limit:  # a larger body can never be stored
            limits = replace(limits, body=spool.limit)
        rules = replace(self.rules, limits=limits, spool=partial(Body, spool), lacking=lacking)
        return replace(self, rules=rules)


def load_site(config: Config, application: Any = None) -> Site:
    """The application and the directories that a configuration names. Raises UsageError and Failed.

    application: is served if the configuration names none.
    """
    mounts = [parse_mount(text) for text in config.static]
    # The longest route first: the first one that matches a path is used.
    mounts.sort(key=lambda mount: len(mount.route), reverse=True)
    directories = [Static(mount.route, mount.directory, config.static_cache_control or "") for mount in mounts]
    name = config.app or _name_of(application)
    if config.app is not None:
        application = load(config.app, config.app_dir, config.factory)
    if application is None:
        return Site(None, tuple(directories))
    kind = interface(application) if config.interface == "auto" else config.interface
    check_callable(name, application, kind)
    for remark in hints.of_application(config, kind):
        log.warning("%s", remark)
    log.debug("%s is served as %s", name, kind.upper())
    if config.span_log:
        application = SpanLog.open(config.span_log).around(application, kind)
    if kind == "asgi":
        extensions = [name for text in config.asgi_extensions for name in parse_extensions(text)]
        return Site(Asgi(application, extensions, _why_no_websocket(config, name, application)), tuple(directories))
    concurrency = inventory.concurrency(config.model)
    multithread = concurrency == "threads" and config.threads not in (0, 1)
    multiprocess = concurrency == "processes" or bool(config.workers and config.workers > 1)
    return Site(Wsgi(application, multithread=multithread, multiprocess=multiprocess), tuple(directories))


def _why_no_websocket(config: Config, name: str, application: Any) -> str:
    """Why an ASGI application is not offered WebSockets, in words; empty if it is. Raises Failed if the application has
    routes for them, and the library is not installed."""
    if config.ws == "none":
        return "--ws is none"
    lacking = _lacking_library()
    if lacking and has_websocket_routes(application):
        raise Failed(
            f"APP {name!r} has routes for WebSockets, and {lacking}: pip install 'septet[websocket]', or give --ws none"
        )
    return f"{lacking} (pip install 'septet[websocket]')" if lacking else ""


def _lacking_library() -> str:
    """Why the library for WebSockets cannot be used, in words; empty if it can."""
    if find_spec("websockets") is None:
        return "the library websockets is not installed"
    from websockets.version import version as found

    if int(found.partition(".")[0]) < LIBRARY_VERSION:
        return f"the library websockets is version {found}, but must be {LIBRARY_VERSION} or later"
    return ""


def _name_of(application: Any) -> str:
    return getattr(application, "__qualname__", type(application).__qualname__)


def tls_options(config: Config) -> TlsOptions:
    """What a configuration that has certificates says of TLS."""
    return TlsOptions(
        pairs=Pair.of(config.tls_certificate, config.tls_key, config.tls_key_password_file),
        client_ca=config.tls_client_ca,
        client_auth=config.tls_client_auth,
        crl=config.tls_crl,
        min_version=config.tls_min_version,
        ciphers=config.tls_ciphers,
        watch=config.tls_watch,
    )


def rules_of(config: Config, admission: Admission | None) -> Rules:
    """The rules that a configuration describes. Raises Failed."""
    trust = Trust(config.forwarded_allow_ips)
    return Rules(
        limits=Limits(
            request_line=config.limit_request_line,
            header_block=config.limit_header_block,
            header_count=config.limit_header_count,
            body=config.limit_body,
        ),
        timeouts=Timeouts(
            keep_alive=config.keep_alive_timeout,
            header=config.header_timeout,
            body=config.body_timeout,
            write=config.write_timeout,
            ping=config.ws_ping_interval,
            pong=config.ws_ping_timeout,
            handshake=config.tls_handshake_timeout,
            rate=config.min_rate,
        ),
        date_and_server=date_and_server_fields(config.server_header, config.date_header),
        complain=log.error,
        refused=log.debug,
        observer=_observer(config),
        admission=admission,
        filter_untrusted=UntrustedFieldFilter(trust, config.forwarded_fields, config.underscore_headers),
        expects_proxy_header=trust if config.proxy_protocol else None,
    )


class WebSocketsOnDemand:
    """Opens WebSockets, with a library that is imported for the first of them: it takes 5 MB, and most applications
    have none. Implements `rules.Upgrade`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._opener: Upgrade | None = None

    def open(self, session: Session, subprotocol: str | None, fields: Fields) -> Want:
        return self.load().open(session, subprotocol, fields)

    def load(self) -> Upgrade:
        if self._opener is None:
            from septet.session.websocket import WebSockets
            from septet.websocket.tunnel import TunnelOptions

            config = self._config
            self._opener = WebSockets(TunnelOptions(max_message=config.ws_max_message, deflate=config.ws_deflate))
        return self._opener


def _websockets(config: Config, asgi: Asgi | None) -> Upgrade | None:
    """What opens WebSockets for an application; None if it has none. The library is imported now if it will be needed,
    or if each client has a process of its own."""
    if asgi is None or asgi.no_websocket:
        return None
    opener = WebSocketsOnDemand(config)
    if config.model == "forking" or has_websocket_routes(asgi.application):
        opener.load()
    return opener


def _observer(config: Config) -> Observer | None:
    logs: list[Observer] = []
    if config.access_log:
        logs.append(AccessLog.open(config.access_log))
    if config.span_log:
        logs.append(SpanLog.open(config.span_log))
    return Observers(*logs) if len(logs) > 1 else next(iter(logs), None)
