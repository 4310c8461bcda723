"""What a process model is given to serve, made from a configuration: listeners, application, rules for all sessions,
and the order to stop."""

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from socket import socket
from tempfile import gettempdir
from time import monotonic_ns
from typing import Any

from septet import inventory
from septet.access_log import AccessLog, LoggedAccess
from septet.apps import problem_page
from septet.apps.asgi import Asgi
from septet.apps.loading import check_callable, has_websocket_routes, interface, load
from septet.apps.noted import NotedAsgi, NotedWsgi
from septet.apps.site import Site
from septet.apps.static import Static
from septet.apps.wsgi import Wsgi
from septet.date_and_server import date_and_server_fields
from septet.errors import Failed
from septet.exchange import Fields, Want
from septet.http.incoming import Limits
from septet.log_format import NOTED, fields_of, formatter
from septet.metrics.lanes import TIMED_OUT
from septet.metrics.monitor import Monitor
from septet.metrics.observer import unread_ms
from septet.metrics.table import Table
from septet.net.certificates import Pair, TlsOptions
from septet.net.listener import Listener
from septet.observers import Beginnings, Observers
from septet.processes.attendant import Attendant
from septet.processes.in_flight import InFlight
from septet.processes.metrics import ProcessMetrics
from septet.processes.orders import Stop
from septet.processes.recycling import Recycling, RequestCount
from septet.processes.request_watch import RequestWatch
from septet.processes.resource_exhaustion import ResourceExhaustion
from septet.processes.spool import Body
from septet.protocol import ServerProtocol
from septet.proxies.filter import UntrustedFieldFilter
from septet.proxies.request_id import RequestId
from septet.proxies.trust import Trust
from septet.rules import Admission, Observer, Rules, Timeouts, Upgrade
from septet.session.http1 import Session
from septet.session.observed import NotingSession, ObservedSession
from septet.session.tls import Tls
from septet.settings import hints
from septet.settings.config import Config
from septet.settings.extensions import parse_extensions
from septet.settings.mount import parse_mount
from septet.settings.size import parse_size
from septet.spans import SpanLog

log = logging.getLogger("septet")

LIBRARY_VERSION = 17
"""Of `websockets`, as in the extra `websocket`."""


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class Service:
    """All that a model's `run(service)` needs to serve: the listeners, the application, and its settings."""

    listeners: tuple[Listener, ...]
    site: Site
    """The application, and the directories of static files."""
    rules: Rules
    """Limits and time-outs for all sessions, and the objects that they report to."""
    stop: Stop
    """The order to stop, which the model must include in every wait."""
    ready: Callable[[int], None]
    """To be called once, with the number of processes that serve, when they are about to accept clients."""
    serves: Callable[[], None] = lambda: None
    """Called by the parent of several workers when the first of them accepts clients."""
    threads: int | None = None
    """`--threads`; None: the model's default."""
    workers: int | None = None
    """`--workers`; None: the model's default."""
    graceful_timeout: float = 30.0
    worker_timeout: float = 0.0
    in_flight: InFlight = field(default_factory=InFlight)
    """Counts over all processes of the server, in shared memory."""
    exhaustion: ResourceExhaustion = field(default_factory=ResourceExhaustion)
    """Logs that descriptors, memory, threads or processes are exhausted."""
    metrics: ProcessMetrics | None = None
    monitor: Monitor | None = None
    """The table of metrics. None: nothing is counted."""
    request_watch: RequestWatch | None = None
    """For `--request-timeout`."""
    retire: Callable[[str], None] | None = None
    """Has this process replaced, given why: it takes no new requests, and ends when the others are answered. None:
    there is no supervisor to replace it."""
    notes: bool = False
    """Sessions note when their application was called and when it had answered."""
    endpoint: Attendant | None = None
    """Answers at the address of `--metrics-bind` and at the control socket."""
    recycling: Recycling = field(default_factory=Recycling)
    """When a worker is replaced by a fresh one."""
    counted: RequestCount | None = None
    """Counts the requests of this process, if there is a limit."""
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
        monitor: Monitor | None = None,
        retire: Callable[[str], None] | None = None,
        serves: Callable[[], None] = lambda: None,
    ) -> "Service":
        """The service that a configuration describes. monitor: that of a supervisor, if there is one. retire, serves:
        as the fields. Raises Failed."""
        monitor = monitor or monitor_for(config)
        watch = RequestWatch(config.request_timeout) if config.request_timeout else None
        in_flight = InFlight(config.limit_concurrency, config.limit_spool, monitor.table if monitor else None)
        admission = in_flight if config.limit_concurrency else None
        metrics = ProcessMetrics(config.metrics_interval, admission) if config.metrics_interval else None
        counted = RequestCount(config.max_requests, config.max_requests_jitter) if config.max_requests else None
        observer = _observer(config, counted, monitor, watch)
        rules = replace(
            rules_of(config, metrics or admission), observer=observer, websocket=_websockets(config, site.asgi)
        )
        return cls(
            listeners=listeners,
            site=site,
            rules=rules,
            request_watch=watch,
            stop=stop,
            ready=ready,
            serves=serves,
            threads=config.threads,
            workers=config.workers,
            graceful_timeout=config.graceful_timeout,
            worker_timeout=config.worker_timeout,
            in_flight=in_flight,
            metrics=metrics,
            monitor=monitor,
            notes=notes(config),
            retire=retire,
            recycling=recycling_of(config),
            counted=counted,
        )

    def accepted(self, listener: Listener, sock: socket, address: tuple[str, int] | None) -> ServerProtocol:
        """Return the protocol object for a client that `listener` has accepted; `address` is None on a unix socket.
        This is the one place that decides which protocol a connection speaks."""
        certificates = listener.certificates
        if certificates is None:
            return self._session(listener, sock, address, "http")
        certificates.renew_if_changed()
        return Tls(self._session(listener, sock, address, "https"), certificates.wrap, self.rules)

    def _session(self, listener: Listener, sock: socket, address: tuple[str, int] | None, scheme: str) -> Session:
        if self.notes:
            return NotingSession(self.rules, address, listener.reached(sock), partial(unread_ms, sock), scheme)
        if self.monitor is not None and self.monitor.requests is not None:
            return ObservedSession(self.rules, address, listener.reached(sock), partial(unread_ms, sock), scheme)
        return Session(self.rules, address, listener.reached(sock), scheme)

    def for_worker(
        self, stop: Stop, ready: Callable[[int], None], workers: int, retire: Callable[[str], None]
    ) -> "Service":
        """Return a copy of this service for one of `workers` processes, with its own `stop` and `ready`."""
        return replace(self, stop=stop, ready=ready, workers=workers, retire=retire)

    def count_timed_out(self) -> None:
        """A request has exceeded `--request-timeout`."""
        if self.monitor is not None:
            self.monitor.table.row[TIMED_OUT] += 1

    def close_listeners(self) -> None:
        """Close the listeners of this process. When all processes have done so, the kernel refuses new connections,
        which would otherwise wait in vain. May be called in a signal handler."""
        for listener in self.listeners:
            listener.shut()

    def with_spooled_bodies(self) -> "Service":
        """Return a copy of this service for a model in which a WSGI application must not wait for a request's body: the
        body is collected first, in memory or in a temporary file. Returns the service itself if there is no WSGI
        application."""
        if not self.site.called:
            return self
        with suppress(OSError):  # tries directories now, while there are descriptors, and caches one
            gettempdir()
        lacking = partial(ResourceExhaustion().report, meanwhile="it is answered 500")
        spool, limits = self.in_flight.spool, self.rules.limits
        if spool.limit and not 0 < limits.body <= spool.limit:  # a larger body can never be stored
            limits = replace(limits, body=spool.limit)
        rules = replace(self.rules, limits=limits, spool=partial(Body, spool), lacking=lacking)
        return replace(self, rules=rules)


def monitor_for(config: Config) -> Monitor | None:
    """A new table of metrics with a row for this process, if an option needs one."""
    counts = config.metrics_bind is not None or config.control is not None
    return Monitor(Table.with_row(), counts) if counts or config.worker_timeout else None


def load_site(config: Config, application: Any = None, problem: Callable[[], str] | None = None) -> Site:
    """The application and the directories that a configuration names. Raises UsageError and Failed.

    application: is served if the configuration names none. problem: gives the text that pages show in place of the
    application's, if it is not empty.
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
    if problem is not None:
        application = problem_page.around(application, kind, problem)
    if kind == "asgi":
        extensions = [name for text in config.asgi_extensions for name in parse_extensions(text)]
        asgi = NotedAsgi if notes(config) else Asgi
        why_no_websocket = _why_no_websocket(config, name, application)
        return Site(asgi(application, extensions, why_no_websocket), tuple(directories))
    concurrency = inventory.concurrency(config.model)
    multithread = concurrency == "threads" and config.threads not in (0, 1)
    multiprocess = concurrency == "processes" or bool(config.workers and config.workers > 1)
    wsgi = NotedWsgi if notes(config) else Wsgi
    return Site(wsgi(application, multithread=multithread, multiprocess=multiprocess), tuple(directories))


def notes(config: Config) -> bool:
    """Whether an option wants to know when applications are called and have answered, or changes heads."""
    logged = fields_of(config.access_log_format) if config.access_log else set()
    of_answers = any(name.startswith("response:") for name in logged)
    return bool(config.request_timeout or config.server_timing or config.request_id or of_answers or logged & NOTED)


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


def recycling_of(config: Config) -> Recycling:
    """When a process is replaced, as a configuration says."""
    memory = parse_size(config.max_worker_memory) if config.max_worker_memory else 0
    return Recycling(config.max_requests, config.max_requests_jitter, memory, config.max_worker_age)


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
    """Return the rules that a configuration describes. `admission` bounds the requests in flight; None: no bound.
    Raises Failed if a log cannot be opened."""
    trust = Trust(config.forwarded_allow_ips)
    identify = RequestId(config.request_id.lower().encode(), trust) if config.request_id else None
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
        admission=admission,
        identify=identify,
        more_fields=_more_fields(config),
        clock=monotonic_ns,
        filter_untrusted=UntrustedFieldFilter(trust, config.forwarded_fields, config.underscore_headers),
        expects_proxy_header=trust if config.proxy_protocol else None,
    )


def _more_fields(config: Config) -> Callable[[Any], Fields] | None:
    """Fields that the server adds to answers, given their exchange."""
    id_field = config.request_id.encode() if config.request_id else b""
    if not (id_field or config.server_timing):
        return None

    def more_fields(exchange: Any) -> Fields:
        fields = [(b"Server-Timing", timing(exchange))] if config.server_timing else []
        if exchange.request_id is not None:
            fields.append((id_field, exchange.request_id.encode()))
        return tuple(fields)

    return more_fields


def timing(exchange: Any) -> bytes:
    """The value of Server-Timing (W3C), in milliseconds: how long the request waited for the application, and how long
    that took until its answer began."""
    now, began, called = monotonic_ns(), exchange.observer_state, exchange.called_ns
    if not began or not called:
        return b"total;dur=%.3f" % ((now - began) / 1e6) if began else b"total"
    return b"queue;dur=%.3f, app;dur=%.3f" % ((called - began) / 1e6, (now - called) / 1e6)


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


def _observer(
    config: Config, counted: RequestCount | None, monitor: Monitor | None, watch: RequestWatch | None
) -> Observer | None:
    logs: list[Observer] = [] if watch is None else [watch]
    if config.access_log:
        format = formatter(config.access_log_format)
        if config.access_log == "logger":
            logs.append(LoggedAccess(format, config.access_log_exclude))
        else:
            logs.append(AccessLog.open(config.access_log, format, config.access_log_exclude))
    if config.span_log:
        logs.append(SpanLog.open(config.span_log))
    if config.server_timing and not logs:
        logs.append(Beginnings())
    if monitor is not None and monitor.requests is not None:
        monitor.requests.alone = not logs
        logs.append(monitor.requests)
    if counted is not None:
        logs.append(counted)
    return Observers(*logs) if len(logs) > 1 else next(iter(logs), None)
