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
from septet.net.certificates import Certificates
from septet.net.listener import Listener, open_listeners
from septet.processes.capacity import why_over_capacity
from septet.processes.children import exit_despite_threads, exit_now
from septet.processes.orders import Stop
from septet.processes.supervisor import supervise
from septet.processes.threads import share_heap
from septet.service import Service, load_site, tls_options
from septet.settings.config import Config

log = logging.getLogger("septet")


def serve(config: Config, said: Iterable[str] = ()) -> int:
    """Serve until TERM or INT, and return the exit status. Raises UsageError and Failed before anything is begun.

    For a process that does nothing else. `said` are remarks on the configuration, which are logged.
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
    """TERM before `run`, for instance while the application is imported and waits for something."""
    with suppress(OSError):
        os.write(2, b"septet: the application was not loaded yet when the order to stop came\n")
    exit_now(Failed.exit_status)


@contextmanager
def opened(config: Config, application: Any = None) -> Iterator[tuple[Config, Site, tuple[Listener, ...]]]:
    """The configuration with absolute paths, the application and directories, and the open listeners.

    application: is served if `config` names none. Raises UsageError and Failed.
    """
    config = _with_absolute_paths(config)
    obstacle = models.obstacle(config.model)
    if obstacle:
        raise Failed(f"the model {config.model} cannot run here: {obstacle}")
    _check_capacity(config)
    forked.mark_as_server()
    certificates = Certificates(tls_options(config)) if config.tls_certificate else None
    site = load_site(config, application)
    _exit_if_forked_by_application(None, None, None)
    with ExitStack() as stack:
        addresses = [parse_address(text) for text in config.bind]
        listeners = open_listeners(addresses, config.backlog, certificates)
        for listener in listeners:
            stack.callback(listener.close)
        stack.push(_exit_if_forked_by_application)
        yield config, site, listeners


def _exit_if_forked_by_application(kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
    """End a child that the application has forked while it was loaded or served, if it returns into our code."""
    if forked.by_application:
        forked.exit_child(error)


def restore_inherited_signals() -> None:
    """Restore signals that the server needs: the parent process may have left them ignored or blocked."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else the kernel discards the exit status of children
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT))


def _with_absolute_paths(config: Config) -> Config:
    """To be called before the application is loaded, because that may change the working directory."""
    one = ("access_log", "span_log", "tls_client_ca", "tls_crl")
    several = ("tls_certificate", "tls_key", "tls_key_password_file")
    files: dict[str, Any] = {name: os.path.abspath(path) for name in one if (path := getattr(config, name))}
    files |= {name: tuple(map(os.path.abspath, getattr(config, name))) for name in several}
    if config.access_log == "-":
        del files["access_log"]
    return replace(config, bind=tuple(map(_absolute, config.bind)), **files)


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
    """Serve in this process until TERM or INT. For the main thread. Raises Failed."""

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
    """Write one line to stderr for each address at which clients are accepted now."""
    processes = f"{workers} worker" if workers == 1 else f"{workers} workers"
    for listener in listeners:
        print(f"septet: listening on {listener} ({model}, {processes}, pid {os.getpid()})", file=sys.stderr)
    sys.stderr.flush()
