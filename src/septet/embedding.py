"""Septet as a part of a program: `run` serves until a signal arrives, `Server` serves on a thread.

Both take the options of `septet serve` as keywords, such as `limit_body=1_000_000` for `--limit-body 1000000`. The
application is an object, or "MODULE:ATTRIBUTE"; `mount` may be a dictionary of applications by their routes, such as
`mount={"/api": api}`. Neither reads SEPTET_* variables or septet.toml. At the end both restore the program's signal
handlers and the state of its garbage collector. If the program has configured its logging, both leave that as it is.
"""

import gc
import logging
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from threading import Event, current_thread, main_thread
from types import TracebackType
from typing import Any

from septet import forked, models, server
from septet.console import attended
from septet.errors import Failed, UsageError
from septet.logs import configure, guard
from septet.processes.orders import Stop
from septet.service import Service
from septet.settings.checks import check, check_serves_something, refuse
from septet.settings.config import OPTIONS, Config
from septet.settings.options import did_you_mean
from septet.thread import ServerThread

_OPTIONS = {option.name: option for option in OPTIONS}

_OF_THE_PROGRAM = ("user", "group", "umask", "pid_file")
"""Options that change the whole process. They are refused here, because the process belongs to the program that embeds
the server.
"""

STARTUP_S = 60.0
"""Seconds that `Server.__enter__` waits at most for the application's lifespan startup; then it raises Failed."""

MARGIN_S = 2.0
"""Seconds that `Server.__exit__` waits for its thread beyond `graceful_timeout`. At that time-out the model breaks off
the requests that still run, whose clients get no complete answer, and then needs some time to end.
"""


def run(application: Any = None, /, **options: Any) -> None:
    """Serve `application` until TERM, INT or KeyboardInterrupt, and return when the requests in flight are answered.

    Call it in the main thread; every model but interpreters is allowed. If requests still run `graceful_timeout`
    seconds after the signal, the process exits. Raises UsageError for an option that is not allowed, and Failed if the
    server cannot start.
    """
    if current_thread() is not main_thread():
        raise UsageError("septet.run needs the main thread, where signals arrive; septet.Server serves on another")
    config, *applications = _config(application, options)
    if not logging.getLogger().handlers:
        configure(config.log_level, config.log_format, config.log_config)
    guard()
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    forked.by_application = False  # it is True in a fork of a program that has served; the fork may serve, too
    stop = Stop()
    try:
        server.restore_inherited_signals()
        with server.opened(config, *applications) as (config, site, listeners):
            server.run(config, site, listeners, stop, partial(server.announce, config.model, listeners))
    finally:
        stop.close()
        gc.unfreeze()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:  # the server has set its own, or has wrapped the program's
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


class Server:
    """Serves `application` on a thread of its own, from `__enter__` to `__exit__`; for tests and notebooks.

        with septet.Server(app, model="prethreaded") as server:
            assert httpx.get(server.url).status_code == 200

    When `__enter__` returns, it listens, at a free port of 127.0.0.1 unless `bind` says otherwise. When `__exit__`
    returns, it has answered the requests that were in flight. Models: poll, epoll, io_uring, threaded, prethreaded.
    `workers` is not allowed, because a program with threads cannot safely fork. Several servers may run at the same
    time. Signals are left to the program.
    """

    def __init__(self, application: Any = None, /, **options: Any) -> None:
        """Raises UsageError for an option that is not allowed. Opens and starts nothing before `__enter__`."""
        self._config, *self._applications = _config(application, {"bind": "127.0.0.1:0", **options})
        _check_runs_on_thread(self._config)
        self._stack = ExitStack()
        self._urls: tuple[str, ...] = ()
        self._thread: ServerThread | None = None
        self._stop: Stop | None = None
        self._ready = Event()
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """The address at which the server listens, such as `http://127.0.0.1:41234`; if there are several, the first.
        Raises RuntimeError before `__enter__` has returned.
        """
        return self.urls[0]

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses at which the server listens, in the order of `bind`. Raises RuntimeError before `__enter__` has
        returned."""
        if not self._urls:
            raise RuntimeError("the server has no address yet: it listens within `with`")
        return self._urls

    def __enter__(self) -> "Server":
        """Start the server, and return when it accepts clients. Raises Failed if it cannot start, UsageError if there
        is no such application, and RuntimeError if this object has served before."""
        if self._thread is not None:
            raise RuntimeError("a Server serves once: make another")
        guard()
        forked.by_application = False
        with self._stack:
            config, site, listeners = self._stack.enter_context(server.opened(self._config, *self._applications))
            for listener in listeners:
                listener.alone = True
            stop = self._stop = Stop(signals=False)
            self._stack.callback(stop.close)
            service = Service.from_config(config, site=site, listeners=listeners, stop=stop, ready=self._say_ready)
            service = self._stack.enter_context(attended(self._config, service, supervised=False))
            self._thread = ServerThread(self._serve, "septet.Server", (service,))
            self._thread.start()
            self._stack.callback(self._end)
            if not self._ready.wait(STARTUP_S):
                raise Failed(f"the application has not started within {STARTUP_S:.0f} s")
            if self._failure is not None:
                raise self._failure
            self._urls = tuple(map(str, listeners))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server, and wait until the requests in flight are answered. Raises TimeoutError if some still run
        after `graceful_timeout` seconds, or the exception with which the server has ended by itself."""
        self._stack.close()
        if self._failure is not None and error is None:
            raise self._failure

    def _serve(self, service: Service) -> None:
        try:
            models.load(self._config.model)(service)
        except OSError as error:
            self._failure = Failed(f"cannot start: {error.strerror or error}")
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    def _say_ready(self, workers: int) -> None:
        assert self._stop is not None
        self._stop.started = True
        self._ready.set()

    def _end(self) -> None:
        assert self._stop is not None
        assert self._thread is not None
        self._stop.order()
        self._thread.join(self._config.graceful_timeout + MARGIN_S)
        if self._thread.is_alive():
            raise TimeoutError(f"requests still run {self._config.graceful_timeout:g} s after the order to stop")


def _config(application: Any, options: dict[str, Any]) -> tuple[Config, Any, dict[str, Any]]:
    """Return three things: the configuration, checked; the application object for the paths outside of all mounts, or
    None if `application` is a text, which becomes `config.app`, or was not given; and the application objects that are
    mounted, by route. Raises UsageError.
    """
    mounted: dict[str, Any] = {}
    if isinstance(options.get("mount"), Mapping):
        given: Mapping[str, Any] = options["mount"]
        mounted = {route: found for route, found in given.items() if not isinstance(found, str)}
        named = [f"{route}={found}" for route, found in given.items() if isinstance(found, str)]
        options = {**options, "mount": named}
    values = {name: _value(name, value) for name, value in options.items()}
    if isinstance(application, str):
        values["app"], application = application, None
    if values.setdefault("supervisor", False):
        raise UsageError("supervisor is True, but must be left out: only septet serve has one")
    for name in _OF_THE_PROGRAM:
        if values.get(name) is not None:
            raise UsageError(
                f"{name} is {values[name]!r}, but must be left out: only septet serve changes its process so"
            )
    config = Config(**values)
    check(config, {name: name for name in _OPTIONS})
    if models.concurrency(config.model) == "interpreters":
        raise UsageError(
            f"model is {config.model!r}, but must be another one in a program: interpreters end with their process, so "
            "only septet serve has them"
        )
    if application is None and not mounted:
        check_serves_something(config)
    return config, application, mounted


def _value(name: str, value: Any) -> Any:
    option = _OPTIONS.get(name)
    if option is None or name == "app":
        cure = did_you_mean(name, _OPTIONS) or f"; the options are {', '.join(_OPTIONS)}"
        raise UsageError(f"{name} is not an option{cure}")
    if value is None and option.default is None:
        return None
    try:
        return option.from_toml(list(value) if isinstance(value, tuple) else value)
    except ValueError as error:
        refuse(name, value, error)


def _check_runs_on_thread(config: Config) -> None:
    possible = [name for name in models.names() if models.concurrency(name) == "threads"]
    if config.model not in possible:
        raise UsageError(f"model is {config.model!r}, but must be one of {', '.join(possible)} on a thread")
    if config.workers is not None:
        raise UsageError(
            f"workers is {config.workers}, but must be left out: a program with threads cannot safely fork"
        )
