"""A WebSocket that two threads share: the application runs on the event loop's thread, and the client's thread moves
the bytes.

`_shared_exchange` does this for ordinary requests. Here one rule differs. A message is small, and waking the other
thread costs more than sending it. So the loop's thread itself sends what the application gives, as far as the socket
takes it. It wakes the client's thread only to wait for room, to read on, or to close.
"""

import logging
from typing import Any, cast

from septet.exchange import Fields, Want
from septet.models._drive import drive
from septet.models._shared_exchange import SharedExchange
from septet.pollers import READABLE
from septet.protocol import READ, RUN, ServerExchange

log = logging.getLogger("septet")


class SharedWebSocket(SharedExchange):
    """A session whose request asks for a WebSocket, used by two threads. To the object that calls the application
    it is the `exchange.WebSocketExchange` and the `apps._channel.Carrier`.
    """

    __slots__ = ("_changes_deadline", "_detached", "_is_open", "_told", "_watched")

    def __init__(self, *shared: Any) -> None:
        super().__init__(*shared)
        self._is_open = False
        """True once the application has accepted the WebSocket."""
        self._told = False
        """True if the application is still to be told that messages have come, or that the WebSocket has ended."""
        self._detached = False
        """True once the application has ended."""
        self._changes_deadline = False
        """True if the application has opened or closed the WebSocket, which changes the session's deadline: the
        client's thread must end its wait and ask for the new one.
        """
        self._watched = 0
        """The events for which the client's thread waits at its socket."""

    @property
    def _socket(self) -> Any:
        """The session's exchange, which has the methods of a WebSocket once the application has accepted it."""
        return self._exchange

    # What the application calls, in the loop's thread

    def upgrade(self, subprotocol: str | None, fields: Fields) -> Want:
        with self._waker.lock:
            want = cast(Want, self._socket.upgrade(subprotocol, fields))
            self._is_open = self._changes_deadline = True
            return self._session.stop() if self._stop.ordered else want

    def refused_websocket(self) -> None:
        self._socket.refused_websocket()

    @property
    def closed(self) -> tuple[int, str] | None:
        return cast("tuple[int, str] | None", self._socket.closed)

    def noticed(self) -> None:
        """Does nothing. By this call other exchanges learn that the application was woken for new messages; the
        session of this one has been told so by `_dispatch` already.
        """

    @property
    def behind(self) -> bool:
        return cast(bool, self._socket.behind)

    def catch_up(self) -> Want:
        with self._waker.lock:
            return cast(Want, self._socket.catch_up())

    def next_message(self) -> str | bytes | None:
        with self._waker.lock:
            return cast("str | bytes | None", self._socket.next_message())

    @property
    def held(self) -> bool:
        return cast(bool, self._socket.held)

    def resume(self) -> Want:
        with self._waker.lock:
            return cast(Want, self._socket.resume())

    def send_message(self, message: str | bytes) -> Want:
        with self._waker.lock:
            return cast(Want, self._socket.send_message(message))

    def awaits_room(self) -> bool:
        with self._waker.lock:
            return cast(bool, self._socket.awaits_room())

    def close_websocket(self, code: int, reason: str) -> Want:
        with self._waker.lock:
            self._changes_deadline = True
            return cast(Want, self._socket.close_websocket(code, reason))

    @property
    def answered(self) -> bool:
        return self._complete or self._detached

    def detach(self) -> Want:
        with self._waker.lock:
            self._detached = True
            want = cast(Want, self._socket.detach())
            self._complete = self._socket.answered  # a connection that has other exchanges goes on
            return want

    def drive(self, want: Want) -> None:
        if self._is_open:
            with self._waker.lock:
                if self._released:
                    return
                try:
                    want = drive(self._session.phase.want, self._session, self._sock, self._dispatch)
                except BaseException:  # not the application's fault, which has called this
                    log.exception("a connection failed, and is cut")
                    self._session.lose()
                    self._changes_deadline = True
                if want is READ and self._watched == READABLE and not (self._told or self._changes_deadline):
                    return
                self._changes_deadline = False
        self._waker.wake()

    @property
    def has_work_for_client_thread(self) -> bool:
        return self._is_open or super().has_work_for_client_thread

    def stop(self) -> None:
        with self._waker.lock:
            if not self._is_open or self._released:
                return
            self._session.stop()
        self._waker.wake()

    # For the client's thread

    def _dispatch(self, exchange: ServerExchange) -> Want | None:
        """Called by `drive`, with the lock held, when messages have come or the WebSocket has ended: note that the
        application has to be told, and return what the session wants next. None: it wants nothing but the application,
        which runs already.
        """
        if not self._is_open:
            return None
        self._told = True
        self._socket.noticed()
        want = self._session.phase.want
        return None if want is RUN else want

    def _advance(self, ready: int, timed_out: bool, overdue: bool = False) -> bool:
        changed = super()._advance(ready, timed_out, overdue)
        told, self._told = self._told, False
        return changed or told

    def _mask(self) -> int:
        with self._waker.lock:
            self._watched = super()._mask()
            return self._watched
