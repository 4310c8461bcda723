"""Runs a server from a configuration: load the application, listen, call the model's `run`."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from septet.interpreter import warn_if_gil_is_turned_on
from septet.logs import configure
from septet.metrics.monitor import Monitor
from septet.net.address import parse_address, speaks_tls
from septet.net.certificates import Certificates
from septet.net.handover import ListenerSet
from septet.net.listener import Listener, open_listeners
from septet.net.sd_notify import ServiceManager
from septet.preparation import become_user, give_logs, prepared, set_umask
from septet.processes import orders, upgrade
from septet.processes.application_signals import guard_handlers
from septet.processes.children import (
    exit_despite_threads,
    exit_now,
    run_exit_handlers,
    unblock_orders,
)
from septet.processes.generation import Plan
from septet.processes.generations import Generations
from septet.processes.orders import Stop, exit_soon, forget_cuts, log_stopped
from septet.processes.pid_file import pid_file_at
from septet.processes.recycling import ANSWERED, Recycling
from septet.processes.reload import Problem, Watched, check_installed
from septet.processes.report import Report
from septet.processes.supervisor import supervise
from septet.processes.threads import share_heap
from septet.service import Service, recycling_of, tls_options
from septet.settings.checks import check_serves_something
from septet.settings.config import Config
from septet.settings.sources import Resolved
from septet.sites import site_of_process

log = logging.getLogger("septet")


def serve(config: Config, said: Iterable[str] = (), again: Callable[[], Resolved] | None = None) -> int:
    """Serve until TERM or INT, and return the exit status. Raises UsageError and Failed before anything is started.

    For a process that does nothing else. `said`: remarks on the configuration, which are logged. `again`: reads the
    configuration again, for HUP. Without `again`, or with `--no-supervisor`, this process serves by itself.
    """
    manager = ServiceManager.from_environment(os.environ)  # so no process that is started from here on finds it
    if inventory.concurrency(config.model) != "interpreters":  # whose threads allocate at the same time
        share_heap()
    configure(config.log_level, config.log_format, config.log_config)
    warn_if_gil_is_turned_on()
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
        return SupervisedServer(again, manager).run(config, state)
    with pid_file_at(config.pid_file), opened(config) as (config, site, listeners):

        def ready(workers: int) -> None:
            announce(config.model, listeners, workers)
            manager.ready(f"{config.model} serves")

        run(config, site, listeners, _ToldStop(manager), ready, manager=manager)
        log_stopped()
    exit_despite_threads(0)
    return 0


class _FirstStop(Stop):
    """The order to stop in the first process of a server. What is cut from the order on is told in the last line of the
    log, also if it is cut while this process has not yet turned to the order.
    """

    def order(self, drain: bool = False) -> None:
        if not self.ordered:
            forget_cuts()
        super().order(drain)


class _ToldStop(_FirstStop):
    """The order to stop a server without a supervisor. When the order comes, it is also reported to the service manager
    (systemd).
    """

    def __init__(self, manager: ServiceManager) -> None:
        super().__init__()
        self._manager = manager

    def order(self, drain: bool = False) -> None:
        if not self.ordered:
            self._manager.stopping()
        super().order(drain)


def _end_while_loading(number: int, frame: FrameType | None) -> None:
    """Signal handler for TERM until `run` sets its own, for instance while the application is being imported: write to
    standard error that the application was not loaded yet, and exit with status 1.
    """
    with suppress(OSError):
        os.write(2, b"septet: the application was not loaded yet when the order to stop came\n")
    exit_now(Failed.exit_status)


@contextmanager
def opened(
    config: Config, application: Any = None, mounted: Mapping[str, Any] | None = None
) -> Iterator[tuple[Config, Site, tuple[Listener, ...]]]:
    """Context manager: load the applications, open the listeners, and close them at the end. Gives the configuration
    with absolute paths, the applications and directories, and the listeners.

    application: an application object, used if `config` names none. mounted: application objects by route. Raises
    UsageError and Failed.
    """
    config = prepared(config)
    set_umask(config)
    forked.mark_as_server()
    certificates = Certificates(tls_options(config)) if config.tls_certificate else None
    changes_user = config.user is not None or config.group is not None
    site = None if changes_user else site_of_process(config, application, mounted=mounted)
    _exit_if_forked_by_application(None, None, None)
    with ExitStack() as stack:
        addresses = [parse_address(text) for text in config.bind]
        listeners = open_listeners(addresses, config.backlog, certificates)
        for listener in listeners:
            stack.callback(listener.close)
        stack.push(_exit_if_forked_by_application)
        if site is None:  # what takes root's rights comes first, and the application has none of them
            become_user(config)
            site = site_of_process(config, application, mounted=mounted)
            _exit_if_forked_by_application(None, None, None)
        yield config, site, listeners


def _exit_if_forked_by_application(kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
    """End this process if it is a child that the application has forked. Such a child must run the application's code
    only; here it has come back from there into the server's code. The arguments are those of `__exit__`.
    """
    if forked.by_application:
        forked.exit_child(error)


def restore_inherited_signals() -> None:
    """Make CHLD, TERM and INT arrive: the parent process may have left them ignored or blocked (execve(2) keeps
    that)."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else the kernel discards the exit status of children
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT))


def run(
    config: Config,
    site: Site,
    listeners: tuple[Listener, ...],
    stop: Stop,
    announce: Callable[[int], None],
    retire: Callable[[str], None] | None = None,
    monitor: Monitor | None = None,
    manager: ServiceManager | None = None,
    serves: Callable[[], None] = lambda: None,
) -> None:
    """Serve in this process until TERM or INT. For the main thread. Raises Failed.

    `announce`: called with the number of processes that serve, when they are ready. `retire`: called in any thread with
    a reason for which this process is to be replaced; None if there is no supervisor, or if workers are replaced
    instead. `monitor`: the supervisor's table of metrics. `serves`: called when the first
    of several workers is ready.
    """

    def ready(workers: int) -> None:
        stop.started = True
        announce(workers)

    watched = manager is not None and manager.watchdog_s > 0
    service = Service.from_config(
        config,
        site=site,
        listeners=listeners,
        stop=stop,
        ready=ready,
        monitor=monitor,
        retire=retire,
        watched=watched,
        serves=serves,
    )
    if manager is not None and service.monitor is not None:
        _beat_for(manager, service.monitor, config)
    if service.counted is not None:
        service.counted.begin(None if retire is None else partial(retire, ANSWERED))
    guard_handlers()
    stop.on_signals(lambda: exit_now(1))
    unblock_orders()
    run_model = models.load(config.model)
    own = attended(config, service, _has_workers(config)) if monitor is None else nullcontext(service)
    try:
        with own as service:
            gc.collect()
            gc.freeze()  # what was made so far is never collected: children share its pages, and collections skip it
            if _has_workers(config):
                if models.concurrency(config.model) == "processes":
                    run_model(service)
                else:
                    supervise(service, run_model, int(config.workers or 0), service.most_workers)
                stop.exit_despite_application(config.graceful_timeout)
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


def _beat_for(manager: ServiceManager, monitor: Monitor, config: Config) -> None:
    """Have the service manager (systemd) told regularly that this process, which has no supervisor, is alive. With the
    model forking, this process only forks one child for each client and cannot know whether they make progress: then
    the manager is told to watch it no more.
    """
    if manager.watchdog_s and config.model == "forking":
        log.warning("WATCHDOG_USEC has no effect with forking and --no-supervisor: its first process only forks")
        manager.do_without_watchdog()
    elif manager.watchdog_s:
        monitor.on_beat_s = manager.beats_every_s
        monitor.on_beat = lambda: manager.beat(monitor.serves(manager.watchdog_s))


class SupervisedServer:
    """Runs `septet serve` with a supervisor. Each load of the configuration and the application makes a *generation*, a
    process that serves or has workers; this class makes the `Plan` of each generation, which says what its process runs
    and which time-outs it has.

    `again`: reads the configuration again. `manager`: the service manager (systemd), which is told when the server
    starts, reloads and stops. For the main thread of the supervisor.
    """

    def __init__(self, again: Callable[[], Resolved], manager: ServiceManager) -> None:
        self._again = again
        self._manager = manager
        self._listeners = ListenerSet()
        self._announced: tuple[Listener, ...] = ()
        self._problem = Problem()
        self._console: Console | None = None

    def run(self, config: Config, state: dict[str, Any] | None = None) -> int:
        """Serve until TERM or INT, and return the exit status. Raises UsageError and Failed if the server cannot start.

        `state`: what the previous program in this process has handed over (USR2); None if there was none.
        """
        stop = _FirstStop()
        generations: Generations | None = None

        def serves() -> bool:
            return generations is not None and generations.living.current is not None

        try:
            # The console's addresses are the only ones that are opened before those of the server.
            overseer = state.get("overseer") if state else None
            console = self._console = Console(prepared(config), stop, serves, self._manager, overseer)
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
        """Return the plan (what its process runs) of the first generation of a program that has replaced another in the
        same process (USR2). `handed`: the listeners of the previous program, as it has described them. An error is
        logged and not raised, because the generations of the previous program must go on; then the plan is for the
        addresses of these listeners.
        """
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
        try:
            return self._plan(resolved.config)
        except BaseException:
            self._close_unused()
            raise

    def _plan(self, config: Config) -> Plan:
        """Return the plan of a generation with this configuration: what its process runs, and within which time-outs.
        Opens the listeners that the generation needs. Raises UsageError and Failed.
        """
        config = prepared(config)
        set_umask(config)
        listeners = self._listeners.open(config.bind, config.backlog)
        problem = self._problem
        monitor = self._console.monitor if self._console is not None else None
        certificates = Certificates(tls_options(config)) if config.tls_certificate else None
        return Plan(
            run=partial(_serve_generation, config, listeners, certificates, problem, monitor),
            instead=partial(_serve_problem, config, listeners, certificates, problem, monitor)
            if config.reload
            else None,
            failed=self._note_failure,
            began=partial(self._began, config, listeners, certificates),
            reopens=partial(give_logs, config),
            graceful_timeout=config.graceful_timeout,
            startup_timeout=config.startup_timeout,
            recycling=Recycling() if _has_workers(config) else recycling_of(config),
        )

    def _note_failure(self, text: str) -> None:
        """Called with `text` when a generation cannot start, which says why; with "" when one is ready."""
        if text:
            self._problem.write(text)
            self._close_unused()
        else:
            self._problem.clear()

    def _close_unused(self) -> None:
        """Close the listeners that were opened for a generation which cannot start. A client that connects there would
        wait in a queue from which nobody accepts.
        """
        if self._announced:  # else none has served yet, and the listeners are those of the one that will
            self._listeners.close_others(self._announced)

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
    """True if a generation forks workers, each of which runs the model; False if it runs the model itself."""
    return bool(config.workers) or config.model == "preforked"


def _watched(config: Config) -> Watched | None:
    """Return the files whose changes cause a reload; None without `--reload`. Raises Failed."""
    if not config.reload:
        return None
    check_installed()
    directories = tuple(map(os.path.abspath, config.reload_dir or (config.app_dir,)))
    return Watched(directories, config.reload_exclude, config.reload_include)


def _speak_tls(config: Config, listeners: tuple[Listener, ...], certificates: Certificates | None) -> None:
    """Give `certificates` to those listeners at which the configuration asks for TLS, so that their clients must speak
    TLS; the other listeners get None.
    """
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
    """Serve a page with the text of `problem`, the error because of which no code could be loaded. Runs in a
    generation's process while there is no earlier generation whose code could go on.
    """
    alone = replace(config, app=None, mount=(), factory=False, interface="wsgi", span_log=None)
    if inventory.concurrency(config.model) == "interpreters":  # to which the page's application cannot be given
        alone = replace(alone, model="prethreaded")
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
    """Load the application and serve, in the process of a generation; return the exit status.

    `problem`: with --reload, while it has the text of an error, browsers see that in place of the application's pages.
    `report`: tells the supervisor when the process serves, or why it cannot. `application`: served if none is named.
    """
    if monitor is not None:
        count_generation(monitor, _has_workers(config), report.tell)
    forked.set_signal_handler(signal.SIGTERM, _end_while_loading)
    forked.mark_as_server()
    _speak_tls(config, listeners, certificates)
    if config.reload:
        orders.time_is_up = f"under --reload they have {config.graceful_timeout:g} s to end"
    status = 0
    try:
        configure(config.log_level, config.log_format, config.log_config)
        become_user(config, os.getppid())
        site = site_of_process(config, application, problem.read if config.reload and application is None else None)
        _exit_if_forked_by_application(None, None, None)
        report.check_descriptors(listener.sock for listener in listeners)
        retire = None if _has_workers(config) else report.retire
        run(config, site, listeners, Stop(supervised=True), report.ready, retire, monitor, serves=report.serves)
    except SeptetError as error:
        _exit_if_forked_by_application(None, error, None)
        report.failed(error)
        exit_soon(error.exit_status)
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
