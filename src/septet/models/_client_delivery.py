"""Takes the answers of a WSGI application in the models that block: what the application asks of the server for one
request, in the thread that serves the client.
"""

from contextlib import suppress
from socket import SHUT_RDWR
from threading import get_ident
from time import monotonic

from septet.apps._channel import HALF_CLOSED_S
from septet.exchange import ClientGone, Fields, Part, ResponseHead, Want
from septet.models._client_wait import ClientWait
from septet.models._drive import drive, expire, leaves_whole, lose_broken, receive_compactly, refuse_broken
from septet.pollers import ERROR, HANGUP, RDHUP, READABLE, WRITABLE, Poll
from septet.protocol import CLOSE, EITHER, READ, RUN, WRITE, ServerExchange


class ClientDelivery(ClientWait):
    """The `exchange.Delivery` of one client: a part of an answer has been sent when `deliver` returns."""

    half_closed_at: float | None = None
    """When `check_client` first saw that the client sends no more, on the clock of `monotonic`; None: it has not in
    the present request.
    """
    _interrupted = False
    """True if the answer was complete while another thread of the application waited for the request's body."""
    _broken = False
    """True if there was no memory or no frame left while an answer was being sent, for example because an application
    calls `write` deep in a recursion, or if an exception of another thread or of a signal handler has come meanwhile
    (`leaves_whole`): some of it may be lost or sent twice, so the connection is to be cut.
    """

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        if self._broken:
            refuse_broken(self._session)
        session, exchange = self._session, self._session.exchange
        with self.turn:  # not `acquire`, after which an exception could come before the block that releases it
            self._has_turn = True
            try:
                want = exchange.push(body, last) if head is None else exchange.respond(head, body, last)
                if last and session.closes:
                    self._acceptor.count_as_free()
                want = self._write(want)
                if last:
                    return
                while want is READ and exchange.blocked and not session.lost:  # the client has to open a window
                    want = self._write(drive(self._wait_and_receive(), session, self._sock, _already_dispatched))
                if exchange.lost:
                    raise ClientGone("the client went away")
            except BaseException as error:
                self._broken = True  # first and without a call, for which there may be no frame or no memory
                if leaves_whole(error):
                    self._broken = False
                raise
            finally:
                self._has_turn = False

    def inform(self, status: int, fields: Fields) -> None:
        if self._broken:
            refuse_broken(self._session)
        with self.turn:
            self._has_turn = True
            try:
                self._write(self._session.exchange.inform(status, fields))
            except BaseException as error:
                self._broken = True
                if leaves_whole(error):
                    self._broken = False
                raise
            finally:
                self._has_turn = False

    def check_client(self) -> None:
        poller = Poll()  # of its own, since another thread of the application may be waiting with the others
        poller.add(self._sock.fileno(), RDHUP)  # poll(2) reports errors and the end of both directions in any case
        for _, found in poller.wait(0):
            now = monotonic()
            if self.half_closed_at is None:
                self.half_closed_at = now
            if found & (ERROR | HANGUP) or now - self.half_closed_at >= HALF_CLOSED_S:
                self._session.lose()
                raise ClientGone("the client went away")

    def give_up(self) -> None:
        self._take_turn()
        try:
            self._write(lose_broken(self._session) if self._broken else self._session.exchange.fail())
        finally:
            self._end_turn()

    def abandon(self) -> None:
        """From now on refuse what the application gives for this client: its calls raise ClientGone. Called by another
        thread when the request has exceeded its time.
        """
        self.__class__ = _AbandonedDelivery

    def _write(self, want: Want) -> Want:
        """Send what waits for the client, and return what the session wants then. If the client cancels the request
        meanwhile (HTTP/2), the rest is of no request: it is left to `serve`, which can be told of the order to stop.
        """
        while want is WRITE or want is EITHER:
            want = drive(want, self._session, self._sock, _already_dispatched)
            if want is WRITE or want is EITHER:
                exchange = self._session.exchange
                if exchange is not None and exchange.lost:
                    return want
                want = self._wait_and_receive()
        return want

    def await_body(self) -> None:
        if self._broken:
            refuse_broken(self._session)
        if get_ident() != self._thread:
            self._await_body_beside()
            return
        sock, session = self._sock, self._session
        self._has_turn = True
        try:
            want = drive(session.phase.want, session, sock, _already_dispatched)
            while want is not RUN and want is not CLOSE:
                want = drive(self._wait_and_receive(), session, sock, _already_dispatched)
        except BaseException as error:
            self._broken = True
            if leaves_whole(error):
                self._broken = False
            raise
        finally:
            self._has_turn = False
        if want is CLOSE:
            raise ClientGone("the client went away")

    def interrupt_reading(self) -> None:
        self._interrupted = True

    def break_off(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)

    def _await_body_beside(self) -> None:
        """Do what `await_body` does, in a thread of the application's own. It may be interrupted, because the answer
        may be complete before the body is.
        """
        self._interrupted = False
        sock, session = self._sock, self._session
        want = drive(session.phase.want, session, sock, _already_dispatched)
        while want is not RUN and want is not CLOSE:
            left_s = self._time_left()
            ready = self._sleep_beside(WRITABLE if want is WRITE else READABLE, left_s)
            if self._interrupted:
                raise ClientGone("the answer is complete")
            want = session.phase.want  # the thread that gives the answer may have moved the session on
            if ready:
                want = receive_compactly(session, sock) if want is READ else want
            elif self._time_left() == 0.0:
                want = expire(session, sock)
            want = drive(want, session, sock, _already_dispatched)
        if want is CLOSE:
            raise ClientGone("the client went away")

    def _wait_and_receive(self) -> Want:
        want = self.wait()
        if self._only_looked:
            self._only_looked = False
            return want
        return receive_compactly(self._session, self._sock) if want is READ else want


class _AbandonedDelivery(ClientDelivery):
    """Takes the place of a client's `ClientDelivery` when its request has exceeded `--request-timeout`: whatever the
    application gives from then on is refused by raising ClientGone.
    """

    def deliver(self, head: ResponseHead | None, body: Part, last: bool) -> None:
        raise ClientGone("the request has exceeded its time")

    def inform(self, status: int, fields: Fields) -> None:
        raise ClientGone("the request has exceeded its time")

    def check_client(self) -> None:
        raise ClientGone("the request has exceeded its time")

    def await_body(self) -> None:
        raise ClientGone("the request has exceeded its time")

    def interrupt_reading(self) -> None:
        pass

    def break_off(self) -> None:
        pass

    def give_up(self) -> None:
        """End the connection, if the thread that watches for late requests has not had its turn to do so: else its
        request would be dispatched again.
        """
        self._take_turn()
        try:
            self._session.lose()
        finally:
            self._end_turn()


def _already_dispatched(exchange: ServerExchange) -> None:
    """A `dispatch` for `drive` that does nothing: the application runs for the request already, and must not be called
    a second time.
    """
