"""Makes a service in an interpreter beside the main one of its process, from data that the main interpreter hands over.

Two interpreters of a process share no object. What one tells the other must be plain data, and what both use must be an
object of the kernel (a descriptor) or raw memory. So the main interpreter hands over

    bytes            the configuration, and the numbers of descriptors: copies of the listening sockets, one end of a
                     pair of sockets, the table of metrics
    two memoryviews  the shared memory of two arrays, in which requests in flight and waiting threads are counted

and the other one loads the application anew and makes listeners, rules and logs of its own. Through the pair of sockets
it receives orders, one byte each, and sends reports, which are lines of JSON like those of a generation
(`processes.report`).

Some things belong to the process, and not to an interpreter: signals, which only the main interpreter handles; fork(2),
which is not allowed in any other; the working directory and the environment, which all interpreters share.
"""

import atexit
import logging
import math
import os
import pickle
import re
import sys
import sysconfig
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from septet import streams
from septet.errors import Failed, SeptetError
from septet.logs import configure
from septet.metrics.lanes import INTERPRETER
from septet.metrics.monitor import Monitor
from septet.metrics.table import Table
from septet.net.certificates import Certificates
from septet.net.listener import Listener
from septet.processes.children import THREADS_S
from septet.processes.in_flight import InFlight, Shared
from septet.processes.orders import Stop
from septet.processes.other_signals import reopen
from septet.processes.report import Report
from septet.service import Service, tls_options
from septet.settings.config import Config
from septet.sites import load_site
from septet.thread import ServerThread

log = logging.getLogger("septet")

STOP, DRAIN, REOPEN = b"S", b"D", b"R"
"""Orders to an interpreter: to stop, to drain (see `processes.orders`), and to open its log files anew."""

_REFUSED = re.compile(r"module (\S+) does not support loading in subinterpreters")
"""The pattern of the ImportError for an extension module that may only be loaded in the main interpreter (PEP 684); its
group is the name of the module.
"""

_FRAME = re.compile(r'^  File "(.+)", line (\d+)', re.MULTILINE)
"""A line of a traceback that names a file and a line in it."""

_LIBRARIES = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handover:
    """What the main interpreter hands over to another one, as data that can be pickled. The shared memory in which
    requests and threads are counted is handed over beside it.
    """

    config: Config
    listeners: tuple[tuple[int, bool], ...]
    """For each listening socket, its descriptor, which from now on belongs to the interpreter, and whether TLS is
    spoken there.
    """
    channel: int
    """Descriptor of the interpreter's end of the pair of sockets for orders and reports."""
    slot: int
    """The interpreter's index in the arrays of shared memory in which requests in flight and waiting threads are
    counted.
    """
    lock: int
    token: int
    """Descriptor of the eventfd(2) that only one interpreter of the process can hold at a time, as a lock; see
    `in_flight.Shared.token`.
    """
    table: int
    """Descriptor of the table of metrics; -1 if there is none."""
    row: int
    counts: bool
    """True if requests and connections are counted in the table of metrics, too; False if each process only records
    there, regularly, that it is not stuck.
    """
    can_retire: bool
    """True if a supervisor can replace this process, so that the interpreter may ask to have it replaced."""
    arguments: tuple[str, ...]
    """`sys.argv`, which some applications read when they are imported."""


def handover(service: Service, config: Config, number: int, channel: int) -> tuple[bytes, Shared]:
    """Return what an interpreter is given so that it can serve what `service` describes: data as bytes, and the memory
    that it shares with the main interpreter. Raises OSError.

    `config`: as `config_of_one` returns it. `number`: the interpreter's number, from 0. `channel`: the descriptor of
    its end of the pair of sockets for orders and reports, which belongs to that interpreter from now on.
    """
    shared = service.in_flight.lend()
    monitor = service.monitor
    given = _Handover(
        config=config,
        listeners=tuple((os.dup(each.fileno()), each.certificates is not None) for each in service.listeners),
        channel=channel,
        slot=service.in_flight.slot + number,
        lock=shared.lock,
        token=shared.token,
        table=-1 if monitor is None else monitor.table.descriptor,
        row=0 if monitor is None else monitor.table.allot_to_interpreter(),
        counts=monitor is not None and monitor.requests is not None,
        can_retire=service.retire is not None,
        arguments=tuple(sys.argv),
    )
    return pickle.dumps(given), shared


def config_of_one(config: Config, count: int) -> Config:
    """Return the configuration of one of `count` interpreters: with absolute paths, because an application may change
    the working directory, which is the process's; and with its share of `--max-requests`, the number of requests after
    which the process is replaced. To be called before any of the interpreters is made.
    """
    places = (text.partition("=") for text in config.static)
    return replace(
        config,
        app_dir=os.path.abspath(config.app_dir),
        static=tuple(f"{route}={os.path.abspath(directory)}" for route, _, directory in places),
        max_requests=math.ceil(config.max_requests / count),
        max_requests_jitter=math.ceil(config.max_requests_jitter / count),
    )


class Channel:
    """The interpreter's end of the pair of sockets to the main interpreter. Reports are written to it; orders that come
    from it are carried out in a thread.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.report = Report(descriptor)

    def obey(self, stop: "IsolatedStop") -> None:
        """Start a thread that receives the orders from the main interpreter and carries them out: it calls
        `stop.order`, or opens the log files anew.
        """
        ServerThread(self._obey, "septet-orders", (stop,)).start()

    def _obey(self, stop: "IsolatedStop") -> None:
        while orders := os.read(self._descriptor, 64):
            if REOPEN in orders:
                reopen(None)
            if STOP in orders or DRAIN in orders:
                stop.order(drain=STOP not in orders)


class IsolatedStop(Stop):
    """The order to stop in an interpreter that handles no signals. If the time for stopping is up while requests are in
    flight, these are broken off, and this object reports that to the main interpreter, which logs it.
    """

    def __init__(self, report: Report) -> None:
        super().__init__(signals=False)
        self._report = report

    def log_time_is_up(self) -> None:
        self._report.cut()


def serve(data: bytes, in_flight: memoryview, waiting: memoryview, run: Callable[[Service], None]) -> None:
    """Serve in this interpreter until the order to stop: make a service from `data` and from the two arrays in shared
    memory, all of which `handover` has prepared, and call `run` with the service. If the service cannot start, report
    the reason to the main interpreter.
    """
    given: _Handover = pickle.loads(data)
    channel = Channel(given.channel)
    stop = IsolatedStop(channel.report)
    try:
        run(_service(given, Shared(in_flight, waiting, given.lock, given.token), channel, stop))
    except SeptetError as error:
        channel.report.failed(explained(error))
    except OSError as error:
        if stop.started:
            raise
        channel.report.failed(Failed(f"cannot start: {error.strerror or error}"))
    _end_application()


def _service(given: _Handover, shared: Shared, channel: Channel, stop: IsolatedStop) -> Service:
    config = given.config
    sys.argv[:] = given.arguments
    streams.secure()
    configure(config.log_level, config.log_format, config.log_config)
    channel.obey(stop)
    monitor = None
    if given.table >= 0:
        monitor = Monitor(Table(given.table), given.counts)
        monitor.table.occupy(given.row, INTERPRETER)
    in_flight = InFlight(config.limit_concurrency, config.limit_spool)
    in_flight.borrow(shared, given.slot)
    certificates = Certificates(tls_options(config), warns=False) if config.tls_certificate else None
    listeners = tuple(Listener.of_copy(number, certificates if tls else None) for number, tls in given.listeners)

    def ready(_: int) -> None:
        stop.started = True
        channel.report.ready(1)

    service = Service.from_config(
        config,
        site=load_site(config),
        listeners=listeners,
        stop=stop,
        ready=ready,
        monitor=monitor,
        retire=channel.report.retire if given.can_retire else None,
        in_flight=in_flight,
    )
    if service.counted is not None and service.retire is not None:
        service.counted.begin(service.retire_when_answered)
    return service


def explained(error: SeptetError) -> SeptetError:
    """Return the error to report in place of `error`: if an extension module has refused to be loaded in this
    interpreter, one that says what the user can do; else `error` itself.
    """
    refused = _REFUSED.search(str(error)) or _REFUSED.search(getattr(error, "traceback", ""))
    if refused is None:
        return error
    return Failed(
        f"SEP162 the extension module {refused[1]} cannot be loaded in an interpreter beside the main one, as the "
        f"model interpreters does{_import_line(getattr(error, 'traceback', ''))}; choose another model, such as "
        "preforked, or do without the module"
    )


def _import_line(traceback: str) -> str:
    """Return the file and line of the application at which an import has failed, as text that begins with "(imported
    at"; "" if that is not known. `traceback`: the text of its traceback, without the server's own lines.
    """
    frames = _FRAME.findall(traceback.rpartition("Traceback (most recent call last):")[2])
    own = list(takewhile(lambda frame: not frame[0].startswith(_LIBRARIES), frames)) or frames[:1]
    return " (imported at {}, line {})".format(*own[-1]) if own else ""


def _end_application() -> None:
    """Do what Python does at the end of a program, in an interpreter that has served: wait for the application's
    threads, for at most THREADS_S seconds, and call the functions that the application has registered with `atexit`.
    Does not raise.
    """
    shutdown: Any = threading._shutdown  # type: ignore[attr-defined]
    with suppress(RuntimeError):
        threads = ServerThread(shutdown)
        threads.start()
        threads.join(THREADS_S)
    try:
        atexit._run_exitfuncs()
    except BaseException:
        log.exception("the application raised at the end of its interpreter")
    streams.flush()
