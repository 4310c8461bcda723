"""Makes several observers of requests, such as the access log and the metrics, one observer."""

from time import monotonic_ns

from septet.protocol import ServerExchange
from septet.rules import Observer


class Observers:
    """Passes each call on to several observers, as if they were one. An observer may keep a value in
    `exchange.observer_state` when a request begins, and clear it when the request ends: when it ends, the value is
    restored before each observer is called.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def began(self, exchange: ServerExchange) -> None:
        for observer in self._observers:
            observer.began(exchange)

    def ended(self, exchange: ServerExchange) -> None:
        began = exchange.observer_state
        for observer in self._observers:
            exchange.observer_state = began
            observer.ended(exchange)
        exchange.observer_state = None

    def closed(self, exchange: ServerExchange) -> None:
        began = exchange.observer_state
        for observer in self._observers:
            exchange.observer_state = began
            observer.closed(exchange)
        exchange.observer_state = None


class Beginnings:
    """An `Observer` that only keeps in `exchange.observer_state` when a request began, in nanoseconds. It is used
    where no other observer keeps that time.
    """

    def began(self, exchange: ServerExchange) -> None:
        exchange.observer_state = monotonic_ns()

    def ended(self, exchange: ServerExchange) -> None:
        exchange.observer_state = None

    def closed(self, exchange: ServerExchange) -> None:
        exchange.observer_state = None
