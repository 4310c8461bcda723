"""Several observers of requests as one."""

from time import monotonic_ns

from septet.protocol import ServerExchange
from septet.rules import Observer


class Observers:
    """Passes each call on to several observers, as if they were one. When a request has ended, each observer is shown
    the value of `exchange.observer_state` that was set at its beginning, though the observers before it have cleared
    that.
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

    def closed(self, exchange: ServerExchange) -> None:
        began = exchange.observer_state
        for observer in self._observers:
            exchange.observer_state = began
            observer.closed(exchange)


class Beginnings:
    """An `Observer` that only notes in `exchange.observer_state` when a request began; for servers in which no other
    observer does.
    """

    def began(self, exchange: ServerExchange) -> None:
        exchange.observer_state = monotonic_ns()

    def ended(self, exchange: ServerExchange) -> None:
        exchange.observer_state = None

    def closed(self, exchange: ServerExchange) -> None:
        exchange.observer_state = None
