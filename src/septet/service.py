"""What a process model is given to serve, made from a configuration: listeners, application, rules for all sessions,
and the object through which it is told to stop.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from socket import socket
from tempfile import gettempdir
from time import monotonic_ns
from typing import Any

from septet import inventory
from septet.access_log import AccessLog, LoggedAccess
from septet.apps.loading import has_websocket_routes
from septet.apps.site import MountedSite, Site
from septet.date_and_server import date_and_server_fields
from septet.exchange import ClientGone, Fields, Want
from septet.http.incoming import Limits
from septet.log_format import formatter
from septet.logs import apart
from septet.metrics.lanes import LEFT_BEHIND, LEFT_SERVING, TIMED_OUT
from septet.metrics.monitor import Monitor
from septet.metrics.observer import unread_ms
from septet.metrics.table import Table
from septet.net.listener import Listener
from septet.net.tls_files import Pair, TlsOptions
from septet.observers import Beginnings, Observers
from septet.processes.attendant import Attendant
from septet.processes.capacity import default_interpreters
from septet.processes.in_flight import InFlight
from septet.processes.metrics import ProcessMetrics
from septet.processes.orders import Stop
from septet.processes.recycling import ANSWERED, Recycling, RequestCount
from septet.processes.request_watch import RequestWatch
from septet.processes.resource_exhaustion import ResourceExhaustion, reason
from septet.processes.spool import Body
from septet.protocol import ServerProtocol
from septet.proxies.filter import UntrustedFieldFilter
from septet.proxies.request_id import RequestId
from septet.proxies.trust import Trust
from septet.rules import Admission, Observer, Rules, Timeouts, Upgrade
from septet.session.counted import CountedTls
from septet.session.http1 import Session
from septet.session.observed import NotingSession, ObservedSession
from septet.session.prior_knowledge import LOOKING
from septet.session.tls import Tls
from septet.settings.config import Config
from septet.settings.http_versions import versions_over_tls
from septet.settings.units import parse_size
from septet.settings.workers import most_workers
from septet.sites import notes
from septet.spans import SpanLog

log = logging.getLogger("septet")


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class Service:
    """All that a model's `run(service)` needs to serve: the listeners, the application, and its settings."""

    listeners: tuple[Listener, ...]
    site: Site
    """The applications, and the directories of static files."""
    rules: Rules
    """Limits and time-outs for all sessions, and the objects that they report to."""
    stop: Stop
    """The order to stop. It has a descriptor that becomes readable when the order comes; the model includes it
    in every wait.
    """
    ready: Callable[[int], None]
    """Called once by the model, with the number of processes that serve, when they are about to accept clients."""
    serves: Callable[[], None] = lambda: None
    """Called by the parent of several workers when the first of them accepts clients."""
    threads: int | None = None
    """The value of `--threads`; None: the model's default."""
    workers: int | None = None
    """The value of `--workers`; None: the model's default."""
    loops: int = 1
    """The value of `--loops`: the number of event loops of each process, in models that have them."""
    most_workers: int | None = None
    """The largest number of workers that `--workers` allows, if it is a range; None if it is not."""
    graceful_timeout: float = 30.0
    worker_timeout: float = 0.0
    in_flight: InFlight = field(default_factory=InFlight)
    """Counts of requests in flight and of threads that wait for clients, over all processes of the server, in shared
    memory.
    """
    exhaustion: ResourceExhaustion = field(default_factory=ResourceExhaustion)
    """Logs that descriptors, memory, threads or processes are exhausted."""
    metrics: ProcessMetrics | None = None
    monitor: Monitor | None = None
    """The table of metrics; None if nothing is counted."""
    request_watch: RequestWatch | None = None
    """Ends requests that exceed `--request-timeout`; None without that option."""
    retire: Callable[[str], None] | None = None
    """Called with a reason to have this process replaced: it takes no new requests, and ends when those it has are
    answered. None if there is no supervisor to replace it.
    """
    notes: bool = False
    """True if sessions must note when the client was accepted, when the application was called and when it had
    answered, as some logs and options need.
    """
    endpoint: Attendant | None = None
    """Answers requests of operators at the address of `--metrics-bind` (metrics, console) and at the control socket;
    None without these options.
    """
    recycling: Recycling = field(default_factory=Recycling)
    """The limits at which a worker is replaced by a fresh one."""
    counted: RequestCount | None = None
    """Counts the requests of this process if `--max-requests` is given; else None."""
    http2_cleartext: bool = False
    """True if clients without TLS may speak HTTP/2, by beginning with its preface."""
    config: Config | None = None
    """The configuration that this service was made from; an interpreter beside the main one makes its own service from
    it. None: it was not made from one.
    """
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
        watched: bool = False,
        serves: Callable[[], None] = lambda: None,
        in_flight: InFlight | None = None,
    ) -> "Service":
        """Return the service that a configuration describes. Raises Failed.

        `monitor`: the supervisor's table of metrics, if there is one. `retire`: called with a reason to have this
        process replaced; None if there is no supervisor. `watched`: True if the service manager watches whether the
        server is alive. `serves`: called by the parent of several workers when the first of them accepts clients.
        `in_flight`: the counts of requests in flight to use, if they were made before; None: new ones are made.
        """
        if monitor is None or (monitor.requests is None and most_workers(config.workers or 0) > (config.workers or 0)):
            monitor = monitor_for(config, watched)
        watch = RequestWatch(config.request_timeout) if config.request_timeout else None
        if in_flight is None:
            table = monitor.table if monitor else None
            in_flight = InFlight(config.limit_concurrency, config.limit_spool, table, interpreters_of(config))
        admission = in_flight if config.limit_concurrency else None
        metrics = ProcessMetrics(config.metrics_interval, admission) if config.metrics_interval else None
        counted = RequestCount(config.max_requests, config.max_requests_jitter) if config.max_requests else None
        observer = _observer(config, counted, monitor, watch)
        if monitor is not None:
            monitor.presents(next((each.certificates for each in listeners if each.certificates), None))
        exhaustion = ResourceExhaustion()
        rules = replace(
            rules_of(config, metrics or admission),
            observer=observer,
            websocket=_websockets(config, site, exhaustion),
            traffic=monitor.traffic if monitor is not None else None,
            **_http2(config),
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
            workers=config.workers and int(config.workers),
            loops=config.loops or 1,
            most_workers=config.workers and most_workers(config.workers),
            graceful_timeout=config.graceful_timeout,
            worker_timeout=config.worker_timeout,
            in_flight=in_flight,
            metrics=metrics,
            monitor=monitor,
            notes=notes(config),
            retire=retire,
            recycling=recycling_of(config),
            counted=counted,
            http2_cleartext=config.http2_cleartext,
            config=config,
            exhaustion=exhaustion,
        )

    def accepted(self, listener: Listener, sock: socket, address: tuple[str, int] | None) -> ServerProtocol:
        """Return the protocol object for a client that `listener` has accepted; `address` is None on a unix socket.
        This is the one place that decides which protocol a connection speaks."""
        certificates = listener.certificates
        if certificates is None:
            session = self._session(listener, sock, address, "http")
            if self.http2_cleartext:
                session.__class__ = LOOKING[type(session)]
            return session
        certificates.look()
        tls = Tls if self.rules.traffic is None else CountedTls
        return tls(self._session(listener, sock, address, "https"), certificates.wrap, self.rules)

    def _session(self, listener: Listener, sock: socket, address: tuple[str, int] | None, scheme: str) -> Session:
        if self.notes:
            return NotingSession(self.rules, address, listener.reached(sock), partial(unread_ms, sock), scheme)
        if self.monitor is not None and self.monitor.requests is not None:
            return ObservedSession(self.rules, address, listener.reached(sock), partial(unread_ms, sock), scheme)
        return Session(self.rules, address, listener.reached(sock), scheme)

    def for_worker(
        self, stop: Stop, ready: Callable[[int], None], workers: int, retire: Callable[[str], None]
    ) -> "Service":
        """Return a copy of this service for one of `workers` processes. `stop`: its order to stop. `ready`: called when
        it is about to accept clients. `retire`: called with a reason to have this worker replaced.
        """
        return replace(self, stop=stop, ready=ready, workers=workers, retire=retire)

    @property
    def shares_listeners(self) -> bool:
        """True if other processes, or other loops of this one, accept from the same listeners, so that a client may be
        accepted by any of them.
        """
        return (self.workers or 1) > 1 or self.loops > 1

    def retire_when_answered(self) -> None:
        """Have this process replaced, because it has answered as many requests as `--max-requests` allows."""
        if self.retire is not None:
            self.retire(ANSWERED)

    def count_timed_out(self) -> None:
        """Count a request that has exceeded `--request-timeout`."""
        if self.monitor is not None:
            self.monitor.table.row[TIMED_OUT] += 1

    def count_left_behind(self, count: int, serving: int) -> None:
        """Record how many threads still run the application for requests that were ended by `--request-timeout`, and
        how many of these are threads that serve clients otherwise.
        """
        if self.monitor is not None:
            self.monitor.table.row[LEFT_BEHIND] = count
            self.monitor.table.row[LEFT_SERVING] = serving

    def finds_threads(self, find: Callable[[], dict[Any, int]]) -> None:
        """Have the metrics, if there are any, name the threads of requests that have been in flight for a while.
        `find`: returns, for each exchange for which a thread runs a WSGI application, the kernel's id of that thread.
        """
        if self.monitor is not None and self.monitor.requests is not None:
            self.monitor.requests.find_threads = find

    def close_listeners(self) -> None:
        """Close the listeners of this process. When all processes have done so, the kernel refuses new connections,
        which would otherwise wait in vain. May be called in a signal handler."""
        for listener in self.listeners:
            listener.shut()

    def for_a_loop(self) -> "Service":
        """Return a copy of this service for a model that has many clients in one thread: bodies are collected for a
        WSGI application, and one connection may have several exchanges at the same time."""
        service = self.with_spooled_bodies()
        return replace(service, rules=replace(service.rules, concurrent=True))

    def with_spooled_bodies(self) -> "Service":
        """Return a copy of this service for a model in which a WSGI application must not wait for a request's body: the
        body is collected first, in memory or in a temporary file. Returns the service itself if all applications are
        ASGI."""
        site = self.site
        if site.asgis and not site.has_wsgi:
            return self
        with suppress(OSError):  # tries directories now, while there are descriptors, and caches one
            gettempdir()
        lacking = partial(ResourceExhaustion().report, meanwhile="it is answered 500")
        spool, limits = self.in_flight.spool, self.rules.limits
        collects = site.calls if site.asgis and isinstance(site, MountedSite) else None
        if collects is None and spool.limit and not 0 < limits.body <= spool.limit:  # a larger body can never be stored
            limits = replace(limits, body=spool.limit)
        rules = replace(self.rules, limits=limits, spool=partial(Body, spool), lacking=lacking, collects=collects)
        return replace(self, rules=rules)


def interpreters_of(config: Config) -> int:
    """Return in how many interpreters a process serves: one, unless the model makes more."""
    if inventory.concurrency(config.model) != "interpreters":
        return 1
    return config.threads or default_interpreters()


def monitor_for(config: Config, watched: bool = False) -> Monitor | None:
    """Return a new table of metrics with a row for this process, if an option needs one, or if `watched`: the service
    manager watches whether the server is alive. Else return None.
    """
    counts = config.metrics_bind is not None or config.control is not None
    counts = counts or most_workers(config.workers or 0) > (config.workers or 0)  # which follows the counts
    return Monitor(Table.with_row(), counts) if counts or config.worker_timeout or watched else None


def recycling_of(config: Config) -> Recycling:
    """Return the limits of a configuration (age, memory, number of requests) at which a process is replaced by a fresh
    one.
    """
    memory = parse_size(config.max_worker_memory) if config.max_worker_memory else 0
    return Recycling(config.max_requests, config.max_requests_jitter, memory, config.max_worker_age)


def tls_options(config: Config) -> TlsOptions:
    """Return the options about TLS of a configuration that names certificates."""
    return TlsOptions(
        pairs=Pair.of(config.tls_certificate, config.tls_key, config.tls_key_password_file),
        client_ca=config.tls_client_ca,
        client_auth=config.tls_client_auth,
        crl=config.tls_crl,
        min_version=config.tls_min_version,
        ciphers=config.tls_ciphers,
        watch=config.tls_watch,
        protocols=versions_over_tls(config.http, config.http2_cleartext),
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
        refused=apart(log.debug),
        admission=admission,
        identify=identify,
        more_fields=_more_fields(config),
        clock=monotonic_ns,
        filter_untrusted=UntrustedFieldFilter(trust, config.forwarded_fields, config.underscore_headers),
        expects_proxy_header=trust if config.proxy_protocol else None,
    )


def _more_fields(config: Config) -> Callable[[Any], Fields] | None:
    """Return a function that gives the header fields which the server adds to an answer (request id, Server-Timing),
    given its exchange; None if it adds none.
    """
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
    """Return the value of Server-Timing (W3C) in milliseconds: how long the request waited for the application, and how
    long the application took until its answer began.
    """
    now, began, called = monotonic_ns(), exchange.observer_state, exchange.called_ns
    if not began or not called:
        return b"total;dur=%.3f" % ((now - began) / 1e6) if began else b"total"
    return b"queue;dur=%.3f, app;dur=%.3f" % ((called - began) / 1e6, (now - called) / 1e6)


class WebSocketsOnDemand:
    """Turns exchanges into WebSockets, with a library that is imported for the first of them: it takes 5 MB, and most
    applications have no WebSockets. Implements `rules.Upgrade`.
    """

    def __init__(self, config: Config, exhaustion: ResourceExhaustion) -> None:
        self._config = config
        self._exhaustion = exhaustion
        self._opener: Upgrade | None = None

    def open(self, session: Session, subprotocol: str | None, fields: Fields) -> Want:
        return self._loaded().open(session, subprotocol, fields)

    def open_on_stream(self, exchange: Any, subprotocol: str | None, fields: Fields) -> Want:
        return self._loaded().open_on_stream(exchange, subprotocol, fields)

    def _loaded(self) -> Upgrade:
        """Call `load` for a client. Raises ClientGone if the library cannot be read: that is no fault of the
        application, which can do nothing for this client, and another one may find it readable.
        """
        try:
            return self.load()
        except OSError as error:
            what = f"cannot load the library for WebSockets: {reason(error)}"
            self._exhaustion.report(what, "requests for one are answered 500")
            raise ClientGone(what) from error

    def load(self) -> Upgrade:
        """Import the library, if that was not done before. Raises OSError if it cannot be read."""
        if self._opener is None:
            from septet.session.websocket import WebSockets
            from septet.websocket.tunnel import TunnelOptions

            if _http2(self._config):
                import_module("septet.session._http2_websocket")
            config = self._config
            self._opener = WebSockets(TunnelOptions(max_message=config.ws_max_message, deflate=config.ws_deflate))
        return self._opener


def _websockets(config: Config, site: Site, exhaustion: ResourceExhaustion) -> Upgrade | None:
    """Return the object that turns exchanges into WebSockets; None if no application has WebSockets. Its library is
    imported now if an application has routes for WebSockets, or if each client has a process of its own; else when it
    is needed.
    """
    asgis = [asgi for asgi in site.asgis if not asgi.no_websocket]
    if not asgis:
        return None
    opener = WebSocketsOnDemand(config, exhaustion)
    if config.model == "forking" or any(has_websocket_routes(asgi.application) for asgi in asgis):
        opener.load()
    return opener


def _http2(config: Config) -> dict[str, Any]:
    """Return the fields of `Rules` that concern HTTP/2, by name; empty if the server does not speak it. Raises Failed
    if it is asked for and the library is missing.
    """
    offered = versions_over_tls(config.http, config.http2_cleartext)
    if not (config.http2_cleartext or (config.tls_certificate and "h2" in offered)):
        return {}
    from septet.session.http2 import Http2Session

    return {"http2": Http2Session.instead_of, "http1": "http/1.1" in offered}


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
