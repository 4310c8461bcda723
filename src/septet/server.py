"""Runs a server from a configuration: load the application, listen, call the model's `run`."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import Any

from septet import forked, models
from septet.apps.site import Site
from septet.errors import Failed, UsageError
from septet.logs import configure
from septet.net.address import parse_address
from septet.net.listener import Listener, open_listeners
from septet.processes.capacity import why_over_capacity
from septet.processes.children import exit_despite_threads, exit_now
from septet.processes.orders import Stop
from septet.processes.supervisor import supervise
from septet.processes.threads import share_heap
from septet.service import Service, load_site
from septet.settings.config import Config

log = logging.getLogger("septet")


def serve(config: Config, said: Iterable[str] = ()) -> int:
    """Serve until TERM or INT, and return the exit status, 0. Raises UsageError and Failed if it cannot start.

    For a process that does nothing else: it changes signal handlers, logging and the heap. `said` are remarks on the
    configuration, which are logged.
    """
    share_heap()
    configure(config.log_level)
    restore_inherited_signals()
    forked.set_signal_handler(signal.SIGTERM, _end_while_loading)
    for remark in said:
        log.warning("%s", remark)
    with opened(config) as (config, site, listeners):
        run(config, site, listeners, Stop(), lambda workers: announce(config.model, listeners, workers))
    exit_despite_threads(0)
    return 0


def _end_while_loading(number: int, frame: FrameType | None) -> None:
    """Signal handler for TERM until `run` sets its own, for instance while the application is being imported: say so on
    standard error, and exit with status 1."""
    with suppress(OSError):
        os.write(2, b"septet: the application was not loaded yet when the order to stop came\n")
    exit_now(Failed.exit_status)


@contextmanager
def opened(config: Config, application: Any = None) -> Iterator[tuple[Config, Site, tuple[Listener, ...]]]:
    """Context manager: load the application, open the listeners, and close them at the end. Gives the configuration
    with absolute paths, the application with its directories, and the listeners.

    application: an application object, used if `config` names none. Raises UsageError and Failed.
    """
    config = _with_absolute_paths(config)
    obstacle = models.obstacle(config.model)
    if obstacle:
        raise Failed(f"the model {config.model} cannot run here: {obstacle}")
    _check_capacity(config)
    forked.mark_as_server()
    site = load_site(config, application)
    _exit_if_forked_by_application(None, None, None)
    with ExitStack() as stack:
        listeners = open_listeners([parse_address(text) for text in config.bind], config.backlog)
        for listener in listeners:
            stack.callback(listener.close)
        stack.push(_exit_if_forked_by_application)
        yield config, site, listeners


def _exit_if_forked_by_application(kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
    """End this process if the application has forked it while it was loaded or served, and it has returned into our
    code. The arguments are those of `__exit__`."""
    if forked.by_application:
        forked.exit_child(error)


def restore_inherited_signals() -> None:
    """Make CHLD, TERM and INT arrive: the parent process may have left them ignored or blocked (execve(2) keeps
    that)."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else the kernel discards the exit status of children
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT))


def _with_absolute_paths(config: Config) -> Config:
    """Return `config` with absolute paths of logs and unix sockets. Called before the application is loaded, because
    that may change the working directory."""
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
    except ValueError:  # the path is longer than the kernel allows for a unix socket
        return bind
    return absolute


def _check_capacity(config: Config) -> None:
    """Raise UsageError if the configuration asks for more processes and threads than fit on this machine."""
    asked = [f"--{name} {number}" for name in ("workers", "threads") if (number := getattr(config, name))]
    why = why_over_capacity(config.workers or 1, config.threads or 0) if asked else None
    if why:
        raise UsageError(f"{' '.join(asked)} is too much for this machine: {why}")


def run(
    config: Config, site: Site, listeners: tuple[Listener, ...], stop: Stop, announce: Callable[[int], None]
) -> None:
    """Serve by the configured model until `stop` is ordered, by TERM or INT. For the main thread. Raises Failed if the
    model cannot start.

    announce: called with the number of processes when they accept clients.
    """

    def ready(workers: int) -> None:
        stop.started = True
        announce(workers)

    service = Service.from_config(config, site=site, listeners=listeners, stop=stop, ready=ready)
    stop.on_signals(lambda: exit_now(1))
    run_model = models.load(config.model)
    gc.collect()
    gc.freeze()  # objects made so far are never collected: children share their pages, and collections skip them
    try:
        if config.workers and models.concurrency(config.model) != "processes":
            supervise(service, run_model, config.workers)
        else:
            stop.exit_after(config.graceful_timeout)
            run_model(service)
    except Failed as error:
        stop.exit_soon(error.exit_status)
        raise
    except OSError as error:
        if stop.started or forked.by_application:
            raise
        stop.exit_soon(Failed.exit_status)
        raise Failed(f"cannot start: {error.strerror or error}") from error


def announce(model: str, listeners: tuple[Listener, ...], workers: int) -> None:
    """Write the ready line to standard error, one for each address: clients are accepted there now."""
    processes = f"{workers} worker" if workers == 1 else f"{workers} workers"
    for listener in listeners:
        print(f"septet: listening on {listener} ({model}, {processes}, pid {os.getpid()})", file=sys.stderr)
    sys.stderr.flush()
