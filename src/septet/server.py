"""From a configuration to a server that runs: load the application, listen, hand over to the model."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

from septet import forked, models, remarks
from septet.address import parse_address
from septet.apps.asgi import Asgi
from septet.apps.loading import check_callable, interface, load
from septet.apps.site import Site
from septet.apps.static import Static
from septet.apps.wsgi import Wsgi
from septet.config import Config
from septet.errors import Failed, UsageError
from septet.extensions import parse_extensions
from septet.http.incoming import Limits
from septet.http.vetting import Vetting
from septet.listener import Listener, open_listeners
from septet.logs import AccessLog, configure
from septet.models._children import bound_exit, leave
from septet.models._figures import Figures
from septet.models._in_flight import InFlight
from septet.models._room import shortfall
from septet.models._service import Service, Stop
from septet.models._supervise import supervise
from septet.mount import parse_mount
from septet.rules import Admission, Observer, Rules, Timeouts
from septet.spans import Observers, SpanLog
from septet.stamp import stamper
from septet.trust import Trust

log = logging.getLogger("septet")


def serve(config: Config, said: Iterable[str] = ()) -> int:
    """Serve until TERM or INT, and return the exit status. Raises UsageError and Failed before anything is begun.

    `said` of the configuration already is logged with what is to be said of it beside its application.
    """
    configure(config.log_level)
    _take_signals_as_they_are_meant()
    config = _with_absolute_paths(config)
    for remark in said:
        log.warning("%s", remark)
    obstacle = models.obstacle(config.model)
    if obstacle:
        raise Failed(f"the model {config.model} cannot run here: {obstacle}")
    _find_room(config)
    forked.begin()
    site = load_site(config)
    _end_strangers(None, None, None)
    with ExitStack() as stack:
        listeners = open_listeners([parse_address(text) for text in config.bind], config.backlog)
        for listener in listeners:
            stack.callback(listener.close)
        stack.push(_end_strangers)
        _run(config, site, listeners)
    bound_exit(0)
    return 0


def _end_strangers(kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
    """A child that the application has forked, and that came back to what loads it or to the event loop, ends there."""
    if forked.stranger:
        forked.leave(error)


def _take_signals_as_they_are_meant() -> None:
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


def _run(config: Config, site: Site, listeners: tuple[Listener, ...]) -> None:
    stop = Stop()
    in_flight = InFlight(config.limit_concurrency)
    admission = in_flight if config.limit_concurrency else None
    figures = Figures(config.metrics_interval, admission) if config.metrics_interval else None

    def ready(workers: int) -> None:
        stop.started = True
        _announce(config.model, listeners, workers)

    service = Service(
        listeners,
        site,
        rules_of(config, figures or admission),
        stop,
        ready,
        config.threads,
        config.workers,
        config.graceful_timeout,
        in_flight,
        figures=figures,
    )
    stop.on_signals(lambda: leave(1))
    run = models.load(config.model)
    gc.collect()
    gc.freeze()  # what is loaded stays: children share its pages, and no collection walks it again
    try:
        if config.workers and models.concurrency(config.model) != "processes":
            supervise(service, run, config.workers)
        else:
            stop.end_after(config.graceful_timeout)
            run(service)
    except Failed as error:
        stop.end_soon(error.exit_status)
        raise
    except OSError as error:
        if stop.started or forked.stranger:
            raise
        stop.end_soon(Failed.exit_status)
        raise Failed(f"cannot start: {error.strerror or error}") from error


def load_site(config: Config) -> Site:
    """The application and the directories that a configuration names. Raises UsageError and Failed."""
    mounts = [parse_mount(text) for text in config.static]
    # The longest route first: the most exact one decides.
    mounts.sort(key=lambda mount: len(mount.route), reverse=True)
    directories = [Static(mount.route, mount.directory, config.static_cache_control or "") for mount in mounts]
    if config.app is None:
        return Site(None, tuple(directories))
    application = load(config.app, config.app_dir, config.factory)
    kind = interface(application) if config.interface == "auto" else config.interface
    check_callable(config.app, application, kind)
    for remark in remarks.of_application(config, kind):
        log.warning("%s", remark)
    log.debug("%s is served as %s", config.app, kind.upper())
    if config.span_log:
        application = SpanLog.open(config.span_log).around(application, kind)
    if kind == "asgi":
        extensions = [name for text in config.asgi_extensions for name in parse_extensions(text)]
        return Site(Asgi(application, extensions), tuple(directories))
    concurrency = models.concurrency(config.model)
    multithread = concurrency == "threads" and config.threads not in (0, 1)
    multiprocess = concurrency == "processes" or bool(config.workers and config.workers > 1)
    return Site(Wsgi(application, multithread=multithread, multiprocess=multiprocess), tuple(directories))


def rules_of(config: Config, admission: Admission | None) -> Rules:
    """What all sessions of this configuration share. Raises Failed."""
    trust = Trust(config.forwarded_allow_ips)
    return Rules(
        Limits(config.limit_request_line, config.limit_header_block, config.limit_header_count, config.limit_body),
        Timeouts(
            config.keep_alive_timeout,
            config.header_timeout,
            config.body_timeout,
            config.write_timeout,
            rate=config.min_rate,
        ),
        stamper(config.server_header, config.date_header),
        log.error,
        log.debug,
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


def _announce(model: str, listeners: tuple[Listener, ...], workers: int) -> None:
    """One line for each address: now clients are let in."""
    processes = f"{workers} worker" if workers == 1 else f"{workers} workers"
    for listener in listeners:
        print(f"septet: listening on {listener} ({model}, {processes}, pid {os.getpid()})", file=sys.stderr)
    sys.stderr.flush()
