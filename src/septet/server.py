"""From a configuration to a server that runs: load the application, listen, hand over to the model."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from septet import forked, models
from septet.apps.asgi import Asgi
from septet.apps.loading import check_callable, interface, load
from septet.apps.site import Site
from septet.apps.static import Static
from septet.apps.wsgi import Wsgi
from septet.errors import Failed, UsageError
from septet.http.incoming import Limits
from septet.logs import AccessLog, configure
from septet.net.address import parse_address
from septet.net.listener import Listener, open_listeners
from septet.processes.capacity import shortfall
from septet.processes.children import bound_exit, leave
from septet.processes.heap import share_heap
from septet.processes.in_flight import InFlight
from septet.processes.metrics import Figures
from septet.processes.supervisor import supervise
from septet.proxies.filter import Vetting
from septet.proxies.trust import Trust
from septet.rules import Admission, Observer, Rules, Timeouts
from septet.service import Service, Stop
from septet.settings import hints
from septet.settings.config import Config
from septet.settings.extensions import parse_extensions
from septet.settings.mount import parse_mount
from septet.spans import Observers, SpanLog
from septet.stamp import stamper

log = logging.getLogger("septet")


def serve(config: Config, said: Iterable[str] = ()) -> int:
    """Serve until TERM or INT, and return the exit status. Raises UsageError and Failed before anything is begun.

    For a process that does nothing else. `said` of the configuration already is logged with what is to be said of it
    beside its application.
    """
    share_heap()
    configure(config.log_level)
    take_signals_as_they_are_meant()
    for remark in said:
        log.warning("%s", remark)
    with opened(config) as (config, site, listeners):
        run(config, site, listeners, Stop(), lambda workers: announce(config.model, listeners, workers))
    bound_exit(0)
    return 0


@contextmanager
def opened(config: Config, application: Any = None) -> Iterator[tuple[Config, Site, tuple[Listener, ...]]]:
    """What there is to serve, and its open listeners. `application` stands in the place of the one that `config` names.

    Raises UsageError and Failed.
    """
    config = _with_absolute_paths(config)
    obstacle = models.obstacle(config.model)
    if obstacle:
        raise Failed(f"the model {config.model} cannot run here: {obstacle}")
    _find_room(config)
    forked.begin()
    site = load_site(config, application)
    _end_strangers(None, None, None)
    with ExitStack() as stack:
        listeners = open_listeners([parse_address(text) for text in config.bind], config.backlog)
        for listener in listeners:
            stack.callback(listener.close)
        stack.push(_end_strangers)
        yield config, site, listeners


def _end_strangers(kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
    """A child that the application has forked, and that came back to what loads it or to the event loop, ends there."""
    if forked.stranger:
        forked.leave(error)


def take_signals_as_they_are_meant() -> None:
    """A parent that ignores or blocks these signals has left us that, and means itself."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else nobody learns how a child has ended
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT))


def _with_absolute_paths(config: Config) -> Config:
    """Before the application is loaded, which may change the working directory."""
    logs = {name: os.path.abspath(path) for name in ("access_log", "span_log") if (path := getattr(config, name))}
    if config.access_log == "-":
        del logs["access_log"]
    return replace(config, bind=tuple(map(_absolute, config.bind)), **logs)


def _absolute(bind: str) -> str:
    kind, colon, path = bind.partition(":")
    if kind != "unix" or path.startswith("@"):
        return bind
    absolute = kind + colon + os.path.abspath(path)
    try:
        parse_address(absolute)
    except ValueError:  # longer than the kernel takes
        return bind
    return absolute


def _find_room(config: Config) -> None:
    """Raise UsageError if more processes and threads are asked for than this machine has room for."""
    asked = [f"--{name} {number}" for name in ("workers", "threads") if (number := getattr(config, name))]
    why = shortfall(config.workers or 1, config.threads or 0) if asked else None
    if why:
        raise UsageError(f"{' '.join(asked)} is too much for this machine: {why}")


def run(
    config: Config, site: Site, listeners: tuple[Listener, ...], stop: Stop, announce: Callable[[int], None]
) -> None:
    """Serve in this process until TERM or INT. For the main thread. Raises Failed."""

    def ready(workers: int) -> None:
        stop.started = True
        announce(workers)

    service = make_service(config, site, listeners, stop, ready)
    stop.on_signals(lambda: leave(1))
    run_model = models.load(config.model)
    gc.collect()
    gc.freeze()  # what is loaded stays: children share its pages, and no collection walks it again
    try:
        if config.workers and models.concurrency(config.model) != "processes":
            supervise(service, run_model, config.workers)
        else:
            stop.end_after(config.graceful_timeout)
            run_model(service)
    except Failed as error:
        stop.end_soon(error.exit_status)
        raise
    except OSError as error:
        if stop.started or forked.stranger:
            raise
        stop.end_soon(Failed.exit_status)
        raise Failed(f"cannot start: {error.strerror or error}") from error


def make_service(
    config: Config, site: Site, listeners: tuple[Listener, ...], stop: Stop, ready: Callable[[int], None]
) -> Service:
    """What a model is given to serve. Raises Failed."""
    in_flight = InFlight(config.limit_concurrency, config.limit_spool)
    admission = in_flight if config.limit_concurrency else None
    figures = Figures(config.metrics_interval, admission) if config.metrics_interval else None
    return Service(
        listeners=listeners,
        site=site,
        rules=rules_of(config, figures or admission),
        stop=stop,
        ready=ready,
        threads=config.threads,
        workers=config.workers,
        graceful_timeout=config.graceful_timeout,
        in_flight=in_flight,
        figures=figures,
    )


def load_site(config: Config, application: Any = None) -> Site:
    """The application and the directories that a configuration names. Raises UsageError and Failed.

    `application` is served in the place of the one that is named.
    """
    mounts = [parse_mount(text) for text in config.static]
    # The longest route first: the most exact one decides.
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
    concurrency = models.concurrency(config.model)
    multithread = concurrency == "threads" and config.threads not in (0, 1)
    multiprocess = concurrency == "processes" or bool(config.workers and config.workers > 1)
    return Site(Wsgi(application, multithread=multithread, multiprocess=multiprocess), tuple(directories))


def _name_of(application: Any) -> str:
    return getattr(application, "__qualname__", type(application).__qualname__)


def rules_of(config: Config, admission: Admission | None) -> Rules:
    """What all sessions of this configuration share. Raises Failed."""
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
        stamp=stamper(config.server_header, config.date_header),
        complain=log.error,
        refused=log.debug,
        observer=_observer(config),
        admission=admission,
        vet=Vetting(trust, config.forwarded_fields, config.underscore_headers),
        prefaced=trust if config.proxy_protocol else None,
    )


def _observer(config: Config) -> Observer | None:
    logs: list[Observer] = []
    if config.access_log:
        logs.append(AccessLog.open(config.access_log))
    if config.span_log:
        logs.append(SpanLog.open(config.span_log))
    return Observers(*logs) if len(logs) > 1 else next(iter(logs), None)


def announce(model: str, listeners: tuple[Listener, ...], workers: int) -> None:
    """One line for each address: now clients are let in."""
    processes = f"{workers} worker" if workers == 1 else f"{workers} workers"
    for listener in listeners:
        print(f"septet: listening on {listener} ({model}, {processes}, pid {os.getpid()})", file=sys.stderr)
    sys.stderr.flush()
