"""What a server tells at the address of `--metrics-bind`: health, metrics, and a page for the operator.

    with attended(config, service, supervised) as service:
        ...  # run the model

The supervisor answers there, between its own tasks, if there is one: it runs no application, so it is never busy. That
above the generations (`Console`) goes on to answer while they come and go. A server without a supervisor answers from a
thread of its own.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from septet.apps.site import Site
from septet.console.answers import Answers
from septet.console.endpoint import Endpoint
from septet.date_and_server import date_and_server_fields
from septet.metrics.exposition import MISSING, is_available
from septet.metrics.monitor import Monitor
from septet.metrics.reader import Reader
from septet.net.address import parse_address
from septet.net.handover import ListenerSet
from septet.net.listener import Listener, open_listeners
from septet.processes.orders import Stop
from septet.rules import Rules, Timeouts
from septet.service import Service
from septet.settings.config import Config

log = logging.getLogger("septet")

BACKLOG = 128

_TIMEOUTS = Timeouts(keep_alive=30.0, header=5.0, body=5.0, write=5.0)


@contextmanager
def attended(config: Config, service: Service, supervised: bool) -> Iterator[Service]:
    """The service with an endpoint at `config.metrics_bind` and `config.control`, if there is one. Raises Failed."""
    if service.monitor is None or not (config.metrics_bind or config.control):
        yield service
        return
    _warn(config)
    with ExitStack() as stack:
        public = _open(config.metrics_bind, stack)
        private = _open(f"unix:{config.control}" if config.control else None, stack)
        reader = _reader(service.monitor, service.stop)
        reader.show(service.listeners, model=config.model, app=config.app)
        endpoint = Endpoint(_own(config, service.stop, (*public, *private)), Answers(reader), private)
        stack.callback(endpoint.close)
        _announce(public)
        if not supervised:
            stack.enter_context(endpoint.serving_in_thread())
        yield replace(service, endpoint=endpoint)


def _open(address: str | None, stack: ExitStack) -> tuple[Listener, ...]:
    """The listener at an address, until the end of the stack; none if there is no address. Raises Failed."""
    if address is None:
        return ()
    with _private_files():
        listeners = open_listeners([parse_address(address)], BACKLOG)
    for listener in listeners:
        stack.callback(listener.close)
    return listeners


def state(stop: Stop) -> str:
    """What /readyz says of a server whose order to stop this is."""
    return "draining" if stop.ordered else "ready" if stop.started else "starting"


@contextmanager
def _private_files() -> Iterator[None]:
    """Files of unix sockets that are made meanwhile are for our own user alone."""
    umask = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(umask)


def _reader(monitor: Monitor, stop: Stop) -> Reader:
    reader = Reader(monitor.table, (), lambda: state(stop))
    reader.events = monitor.events
    return reader


def _own(config: Config | None, stop: Stop, listeners: tuple[Listener, ...]) -> Service:
    """The service that the endpoint itself is."""
    server = config.server_header if config is not None else ""
    return Service(
        listeners=listeners,
        site=Site(None),
        rules=Rules(timeouts=_TIMEOUTS, date_and_server=date_and_server_fields(server, True)),
        stop=stop,
        ready=lambda workers: None,
    )


def _warn(config: Config) -> None:
    if config.metrics_bind and not is_available():
        log.warning("SEP151 %s. The other pages at %s do not", MISSING, config.metrics_bind)


def _announce(public: tuple[Listener, ...]) -> None:
    for listener in public:
        print(f"septet: metrics at {listener}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, eq=False)
class Desk:
    """What a configuration says of the endpoint, with its open listeners."""

    config: Config
    public: tuple[Listener, ...]
    private: tuple[Listener, ...]

    def __bool__(self) -> bool:
        return bool(self.public or self.private)


class Console:
    """The endpoint of a supervisor above generations. Its listeners stay open while generations come and go, and are
    handed to another program at USR2. Implements `processes.generation.Attending`.

    monitor: with the table of all processes, and the row of this one.
    """

    def __init__(self, monitor: Monitor, stop: Stop) -> None:
        self._stop = stop
        self._listeners = ListenerSet()
        self._reader = _reader(monitor, stop)
        self._endpoint = Endpoint(_own(None, stop, ()), Answers(self._reader))
        self._announced: tuple[Listener, ...] = ()
        self.shown = False
        """`show` was called."""

    def open(self, config: Config) -> Desk:
        """Open the addresses that this configuration names and that are not open yet. Raises Failed."""
        public = (config.metrics_bind,) if config.metrics_bind else ()
        private = (f"unix:{config.control}",) if config.control else ()
        with _private_files():
            listeners = self._listeners.open((*public, *private), BACKLOG)
        return Desk(config, listeners[: len(public)], listeners[len(public) :])

    def show(self, desk: Desk, served: tuple[Listener, ...]) -> None:
        """Answer as this desk says from now on, and close other listeners. served: those of the server itself."""
        self.shown = True
        config, listeners = desk.config, (*desk.public, *desk.private)
        self._reader.show(served, model=config.model, app=config.app)
        self._endpoint.attend(_own(config, self._stop, listeners), desk.private)
        self._listeners.close_others(listeners)
        new = tuple(listener for listener in desk.public if listener not in self._announced)
        self._announced = desk.public
        if new:
            _warn(config)
            _announce(new)

    def fileno(self) -> int:
        return self._endpoint.fileno()

    def turn(self) -> None:
        self._endpoint.turn()

    def close_in_child(self) -> None:
        self._endpoint.close_in_child()
        self._listeners.close_in_child()

    def close(self) -> None:
        """End all connections, and remove the files of unix sockets."""
        self._endpoint.close()
        self._listeners.close_others(())

    def hand_over(self) -> list[dict[str, Any]]:
        return self._listeners.hand_over()

    def keep(self) -> None:
        self._listeners.keep()

    def adopt(self, handed: list[dict[str, Any]]) -> None:
        """Go on with the listeners of the program that this one has replaced."""
        self._announced = self._listeners.adopt(handed)
