"""What a server answers at the addresses of `--metrics-bind` and `--control`: health, metrics, a page for the operator,
and orders such as to reload.

    with attended(config, service, supervised) as service:
        ...  # run the model

`overseer.Console` is for a server with a supervisor of generations (processes that each load and serve the application,
so that HUP can replace one by the next), `attended` for a server without. A supervisor answers between its other tasks:
it runs no application, so it is never busy. Otherwise a thread of the server answers.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from septet.apps.site import Site
from septet.date_and_server import date_and_server_fields
from septet.net.address import parse_address
from septet.net.listener import Listener, open_listeners
from septet.processes.orders import Stop
from septet.rules import Rules, Timeouts
from septet.service import Service
from septet.settings.config import Config

if TYPE_CHECKING:  # what answers is imported where an address is set: most servers have none
    from septet.console.endpoint import Endpoint
    from septet.console.outcomes import Outcomes
    from septet.metrics.reader import Reader

log = logging.getLogger("septet")

BACKLOG = 128

_TIMEOUTS = Timeouts(keep_alive=30.0, header=5.0, body=5.0, write=5.0)


@contextmanager
def attended(config: Config, service: Service, supervised: bool) -> Iterator[Service]:
    """Context manager: yield `service`, all that a process model needs to serve. If `config.metrics_bind` or
    `config.control` is set, an endpoint is added to it, which answers HTTP there until the end. `supervised`: True if
    the process has workers and, while it watches them, has the endpoint answer; otherwise a thread does. Raises Failed.
    """
    if service.monitor is None or not (config.metrics_bind or config.control):
        yield service
        return
    from septet.metrics.lanes import SERVER
    from septet.metrics.reader import Reader
    from septet.metrics.standstill import StandstillWatch

    stop = service.stop
    with ExitStack() as stack:
        public = _open(config.metrics_bind, "--metrics-bind", stack)
        private = _open(control_bind(config), "--control", stack)
        reader = Reader(service.monitor.table, lambda: state(stop.ordered, stop.started))
        reader.describe(service.listeners, config.tls_certificate, model=config.model, app=config.app)
        reader.events = service.monitor.events
        endpoint = endpoint_at(config, public, private, stop, reader)
        stack.callback(endpoint.close)
        if not supervised:
            watch = StandstillWatch(service.monitor.table, SERVER, service.monitor.note)
            reader.on_sample = lambda: watch.look((os.getpid(),), 0)
            stack.enter_context(endpoint.serving_in_thread())
        yield replace(service, endpoint=endpoint)


def endpoint_at(
    config: Config,
    public: tuple[Listener, ...],
    private: tuple[Listener, ...],
    stop: Stop,
    reader: "Reader",
    outcomes: "Outcomes | None" = None,
) -> "Endpoint":
    """Return an endpoint, a small HTTP server, which answers from the figures that `reader` reads: at the listeners
    `public` about metrics, health and status; at the listeners `private` about the same, and these take orders as well.
    `outcomes`: numbers the orders to reload and to upgrade; None: such orders are refused, because there is no
    supervisor to carry them out.
    """
    from septet.console.answers import Answers
    from septet.console.endpoint import Endpoint
    from septet.metrics.exposition import MISSING, is_available

    if public and not is_available():
        log.warning("SEP151 %s. The other pages at %s do not", MISSING, config.metrics_bind)
    for listener in public:
        print(f"septet: metrics at {listener}", file=sys.stderr, flush=True)
    own = Service(
        listeners=(*public, *private),
        site=Site(None),
        rules=Rules(timeouts=_TIMEOUTS, date_and_server=date_and_server_fields(config.server_header, True)),
        stop=stop,
        ready=lambda workers: None,
    )
    return Endpoint(own, Answers(reader, outcomes), private)


def control_bind(config: Config) -> str | None:
    return f"unix:{config.control}" if config.control else None


def _open(address: str | None, option: str, stack: ExitStack) -> tuple[Listener, ...]:
    """Return the listeners at an address, which are closed with the stack; () if `address` is None. `option`: the name
    of the option that gave the address, for error messages. Raises Failed.
    """
    if address is None:
        return ()
    umask = os.umask(0o177) if address.startswith("unix:") else None
    try:
        listeners = open_listeners([parse_address(address)], BACKLOG, options=(option,))
    finally:
        if umask is not None:
            os.umask(umask)
    for listener in listeners:
        stack.callback(listener.close)
    return listeners


def state(ordered: bool, started: bool) -> str:
    """Return what /readyz answers: "draining" if the order to stop was given (`ordered`), else "ready" if the server
    has started to serve (`started`), else "starting".
    """
    return "draining" if ordered else "ready" if started else "starting"
