"""Runs a server from a configuration: load the application, listen, call the model's `run`."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

from septet import __version__, forked, inventory, models
from septet.apps import problem_page
from septet.apps.site import Site
from septet.console import attended
from septet.console.overseer import Console, count_generation
from septet.errors import Failed, SeptetError, UsageError
from septet.logs import configure
from septet.metrics.monitor import Monitor
from septet.net.address import parse_address, speaks_tls
from septet.net.certificates import Certificates
from septet.net.handover import ListenerSet
from septet.net.listener import Listener, open_listeners
from septet.processes import upgrade
from septet.processes.capacity import why_over_capacity
from septet.processes.children import (
    exit_before_the_interpreter_ends,
    exit_despite_threads,
    exit_now,
    run_exit_handlers,
)
from septet.processes.generation import Plan, Report
from septet.processes.generations import Generations
from septet.processes.orders import Stop
from septet.processes.recycling import ANSWERED, Recycling
from septet.processes.reload import Problem, Watched, check_installed
from septet.processes.supervisor import supervise
from septet.processes.threads import share_heap
from septet.service import Service, load_site, recycling_of, tls_options
from septet.settings.checks import check_serves_something
from septet.settings.config import Config
from septet.settings.sources import Resolved

log = logging.getLogger("septet")

RELOADING_S = 2.0
"""The longest graceful time-out under `--reload`: streams that never end, such as server-sent events, begin anew soon
with the new code."""


def serve(config: Config, said: Iterable[str] = (), again: Callable[[], Resolved] | None = None) -> int:
    """Serve until TERM or INT, and return the exit status. Raises UsageError and Failed before anything is begun.

    For a process that does nothing else. `said` are remarks on the configuration, which are logged. `again` reads it
    anew, for HUP; without it, or with `--no-supervisor`, this process serves by itself.
    """
    share_heap()
    exit_before_the_interpreter_ends()
    configure(config.log_level, config.log_format, config.log_config)
    if upgrade.is_trial():
        prepared(config)
        upgrade.report_success()
        return 0
    state = upgrade.handed_over()
    if state is None:  # else signals wait until the supervisor has its handlers
        restore_inherited_signals()
        forked.set_signal_handler(signal.SIGTERM, _end_while_loading)
    for remark in said:
        log.warning("%s", remark)
    if config.supervisor and again is not None:
        return SupervisedServer(again).run(config, state)
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
    config = prepared(config)
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


def prepared(config: Config) -> Config:
    """The configuration with absolute paths, if this machine can run it. Raises UsageError and Failed."""
    obstacle = models.obstacle(config.model)
    if obstacle:
        raise Failed(f"the model {config.model} cannot run here: {obstacle}")
    _check_capacity(config)
    if config.reload:
        config = replace(config, graceful_timeout=min(config.graceful_timeout, RELOADING_S))
    return _with_absolute_paths(config)


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
    one = ("access_log", "span_log", "control", "tls_client_ca", "tls_crl")
    several = ("tls_certificate", "tls_key", "tls_key_password_file")
    files: dict[str, Any] = {name: os.path.abspath(path) for name in one if (path := getattr(config, name))}
    files |= {name: tuple(map(os.path.abspath, getattr(config, name))) for name in several}
    if config.access_log in ("-", "logger"):
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
    config: Config,
    site: Site,
    listeners: tuple[Listener, ...],
    stop: Stop,
    announce: Callable[[int], None],
    retire: Callable[[str], None] | None = None,
    monitor: Monitor | None = None,
    serves: Callable[[], None] = lambda: None,
) -> None:
    """Serve in this process until TERM or INT. For the main thread. Raises Failed.

    announce: called with the number of processes that serve, when they are ready. retire: called in any thread with a
    reason for which this process is to be replaced; None: there is no supervisor, or it has workers. monitor: the table
    of metrics of a supervisor. serves: called when the first of several workers is ready.
    """

    def ready(workers: int) -> None:
        stop.started = True
        announce(workers)

    service = Service.from_config(
        config, site=site, listeners=listeners, stop=stop, ready=ready, monitor=monitor, retire=retire, serves=serves
    )
    if service.counted is not None:
        service.counted.begin(None if retire is None else partial(retire, ANSWERED))
    stop.on_signals(lambda: exit_now(1))
    run_model = models.load(config.model)
    own = attended(config, service, _has_workers(config)) if monitor is None else nullcontext(service)
    try:
        with own as service:
            gc.collect()
            gc.freeze()  # what was made so far is never collected: children share its pages, and collections skip it
            if config.workers and models.concurrency(config.model) != "processes":
                supervise(service, run_model, config.workers)
            else:
                stop.exit_after(config.graceful_timeout)
                run_model(service)
                stop.silence_application()
    except Failed as error:
        stop.exit_soon(error.exit_status)
        raise
    except OSError as error:
        if stop.started or forked.by_application:
            raise
        stop.exit_soon(Failed.exit_status)
        raise Failed(f"cannot start: {error.strerror or error}") from error


class SupervisedServer:
    """`septet serve` with a supervisor: what the generations have in common, and how each of them serves.

    again: reads the configuration anew. For the main thread of the supervisor.
    """

    def __init__(self, again: Callable[[], Resolved]) -> None:
        self._again = again
        self._listeners = ListenerSet()
        self._announced: tuple[Listener, ...] = ()
        self._problem = Problem()
        self._console: Console | None = None

    def run(self, config: Config, state: dict[str, Any] | None = None) -> int:
        """Serve until TERM or INT; gives the exit status. Raises UsageError and Failed if the server cannot start.

        state: what a program has handed over that this one has replaced.
        """
        stop = Stop()
        generations: Generations | None = None

        def serves() -> bool:
            return generations is not None and generations.living.current is not None

        try:
            # The console's addresses are the only ones that are opened before those of the server.
            console = self._console = Console(prepared(config), stop, serves, state.get("overseer") if state else None)
            plan = self._plan(config) if state is None else self._plan_to_go_on(config, state["listeners"])
            gc.collect()
            gc.freeze()  # as in `run`: generations share the pages
            generations = Generations(stop, plan, self._plan_anew, self._listeners, console, _watched(config))
            if state is not None:
                log.info("process %d runs Septet %s now", os.getpid(), __version__)
                generations.adopt(state)
            return generations.run()
        finally:
            self._listeners.close_others(())
            if self._console is not None:
                self._console.close()

    def _plan_to_go_on(self, config: Config, handed: list[dict[str, Any]]) -> Plan:
        """The first plan of a program that has replaced another. Its generations must not end with a failure here."""
        self._announced = self._listeners.adopt(handed)
        try:
            return self._plan(config)
        except SeptetError as error:
            log.error("USR2: %s; the server stays where it listens", error)
            return self._plan(replace(config, bind=tuple(each["bind"] for each in handed)))

    def _plan_anew(self) -> Plan:
        resolved = self._again()
        check_serves_something(resolved.config)
        for remark in resolved.warnings:
            log.warning("%s", remark)
        return self._plan(resolved.config)

    def _plan(self, config: Config) -> Plan:
        """What a generation with this configuration is. Opens listeners that it needs. Raises UsageError and Failed."""
        config = prepared(config)
        listeners = self._listeners.open(config.bind, config.backlog)
        problem = self._problem
        monitor = self._console.monitor if self._console is not None else None
        certificates = Certificates(tls_options(config)) if config.tls_certificate else None
        return Plan(
            run=partial(_serve_generation, config, listeners, certificates, problem, monitor),
            instead=partial(_serve_problem, config, listeners, certificates, problem, monitor)
            if config.reload
            else None,
            failed=lambda text: problem.write(text) if text else problem.clear(),
            began=partial(self._began, config, listeners, certificates),
            graceful_timeout=config.graceful_timeout,
            startup_timeout=config.startup_timeout,
            recycling=Recycling() if _has_workers(config) else recycling_of(config),
        )

    def _began(
        self, config: Config, listeners: tuple[Listener, ...], certificates: Certificates | None, workers: int
    ) -> None:
        try:
            configure(config.log_level, config.log_format, config.log_config)
        except UsageError as error:  # the file has changed since the generation has read it
            log.error("%s", error)
        _speak_tls(config, listeners, certificates)
        self._listeners.close_others(listeners)
        if self._console is not None:
            self._console.began(config, listeners)
        if inventory.has_loop(config.model):
            for listener in listeners:
                listener.undefer()
        if listeners != self._announced:
            self._announced = listeners
            announce(config.model, listeners, workers)


def _has_workers(config: Config) -> bool:
    """Whether a generation forks workers, which the model runs in."""
    return bool(config.workers) or config.model == "preforked"


def _watched(config: Config) -> Watched | None:
    """The files whose changes have the application loaded anew. Raises Failed."""
    if not config.reload:
        return None
    check_installed()
    return Watched(tuple(map(os.path.abspath, config.reload_dir or (config.app_dir,))), config.reload_exclude)


def _speak_tls(config: Config, listeners: tuple[Listener, ...], certificates: Certificates | None) -> None:
    """Have TLS spoken at those listeners where the configuration says so."""
    addresses = [parse_address(text) for text in config.bind]
    for listener, address in zip(listeners, addresses, strict=True):
        spoken = certificates is not None and speaks_tls(address, addresses)
        listener.certificates = certificates if spoken else None


def _serve_problem(
    config: Config,
    listeners: tuple[Listener, ...],
    certificates: Certificates | None,
    problem: Problem,
    monitor: Monitor | None,
    report: Report,
) -> int:
    """The life of a generation in whose place no code of the application has run yet: a page says why."""
    alone = replace(config, app=None, factory=False, interface="wsgi", span_log=None)
    return _serve_generation(alone, listeners, certificates, problem, monitor, report, problem_page.alone(problem.read))


def _serve_generation(
    config: Config,
    listeners: tuple[Listener, ...],
    certificates: Certificates | None,
    problem: Problem,
    monitor: Monitor | None,
    report: Report,
    application: Any = None,
) -> int:
    """The life of a generation, in its process; gives the exit status."""
    if monitor is not None:
        count_generation(monitor, _has_workers(config), report.tell)
    forked.set_signal_handler(signal.SIGTERM, _end_while_loading)
    forked.mark_as_server()
    _speak_tls(config, listeners, certificates)
    status = 0
    try:
        configure(config.log_level, config.log_format, config.log_config)
        site = load_site(config, application, problem.read if config.reload and application is None else None)
        _exit_if_forked_by_application(None, None, None)
        retire = None if _has_workers(config) else report.retire
        run(config, site, listeners, Stop(supervised=True), report.ready, retire, monitor, report.serves)
    except SeptetError as error:
        _exit_if_forked_by_application(None, error, None)
        report.failed(error)
        status = error.exit_status
    except BaseException as error:
        _exit_if_forked_by_application(None, error, None)
        raise
    _exit_if_forked_by_application(None, None, None)
    run_exit_handlers(status)
    return status


def announce(model: str, listeners: tuple[Listener, ...], workers: int) -> None:
    """Write the ready line to standard error, one for each address: clients are accepted there now."""
    processes = f"{workers} worker" if workers == 1 else f"{workers} workers"
    for listener in listeners:
        print(f"septet: listening on {listener} ({model}, {processes}, pid {os.getpid()})", file=sys.stderr)
    sys.stderr.flush()
