"""What a process model is given to serve, made from a configuration: listeners, application, rules for all sessions,
and the order to stop."""

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from socket import socket
from tempfile import gettempdir
from typing import Any

from septet import inventory
from septet.apps.asgi import Asgi
from septet.apps.loading import check_callable, interface, load
from septet.apps.site import Site
from septet.apps.static import Static
from septet.apps.wsgi import Wsgi
from septet.date_and_server import date_and_server_fields
from septet.http.incoming import Limits
from septet.logs import AccessLog
from septet.net.listener import Listener
from septet.processes.in_flight import InFlight
from septet.processes.metrics import ProcessMetrics
from septet.processes.orders import Stop
from septet.processes.resource_exhaustion import ResourceExhaustion
from septet.processes.spool import Body
from septet.protocol import ServerProtocol
from septet.proxies.filter import UntrustedFieldFilter
from septet.proxies.trust import Trust
from septet.rules import Admission, Observer, Rules, Timeouts
from septet.session.http1 import Session
from septet.settings import hints
from septet.settings.config import Config
from septet.settings.extensions import parse_extensions
from septet.settings.mount import parse_mount
from septet.spans import Observers, SpanLog

log = logging.getLogger("septet")


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
    threads: int | None = None
    """`--threads`; None: the model's default."""
    workers: int | None = None
    """`--workers`; None: the model's default."""
    graceful_timeout: float = 30.0
    """Seconds after the order to stop at which requests that still run are cut."""
    in_flight: InFlight = field(default_factory=InFlight)
    """Counts over all processes of the server, in shared memory."""
    exhaustion: ResourceExhaustion = field(default_factory=ResourceExhaustion)
    """Logs that descriptors, memory, threads or processes are exhausted."""
    metrics: ProcessMetrics | None = None
    """Logs figures of this process (`--metrics-interval`); None: they are not logged."""
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
        """Return the service that a configuration describes. Raises Failed if a log cannot be opened."""
        in_flight = InFlight(config.limit_concurrency, config.limit_spool)
        admission = in_flight if config.limit_concurrency else None
        metrics = ProcessMetrics(config.metrics_interval, admission) if config.metrics_interval else None
        return cls(
            listeners=listeners,
            site=site,
            rules=rules_of(config, metrics or admission),
            stop=stop,
            ready=ready,
            threads=config.threads,
            workers=config.workers,
            graceful_timeout=config.graceful_timeout,
            in_flight=in_flight,
            metrics=metrics,
        )

    def accepted(self, listener: Listener, sock: socket, address: tuple[str, int] | None) -> ServerProtocol:
        """Return the protocol object for a client that `listener` has accepted; `address` is None on a unix socket.
        This is the one place that decides which protocol a connection speaks."""
        return Session(self.rules, address, listener.reached(sock))

    def for_worker(self, stop: Stop, ready: Callable[[int], None], workers: int) -> "Service":
        """Return a copy of this service for one of `workers` processes, with its own `stop` and `ready`."""
        return replace(self, stop=stop, ready=ready, workers=workers)

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


def load_site(config: Config, application: Any = None) -> Site:
    """Import the application that a configuration names, and open its directories of static files.

    application: an application object, used if the configuration names none. Raises UsageError and Failed.
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
        return Site(Asgi(application, extensions), tuple(directories))
    concurrency = inventory.concurrency(config.model)
    multithread = concurrency == "threads" and config.threads not in (0, 1)
    multiprocess = concurrency == "processes" or bool(config.workers and config.workers > 1)
    return Site(Wsgi(application, multithread=multithread, multiprocess=multiprocess), tuple(directories))


def _name_of(application: Any) -> str:
    return getattr(application, "__qualname__", type(application).__qualname__)


def rules_of(config: Config, admission: Admission | None) -> Rules:
    """Return the rules that a configuration describes. `admission` bounds the requests in flight; None: no bound.
    Raises Failed if a log cannot be opened."""
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


def _observer(config: Config) -> Observer | None:
    logs: list[Observer] = []
    if config.access_log:
        logs.append(AccessLog.open(config.access_log))
    if config.span_log:
        logs.append(SpanLog.open(config.span_log))
    return Observers(*logs) if len(logs) > 1 else next(iter(logs), None)
