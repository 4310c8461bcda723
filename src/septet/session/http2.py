"""One client that speaks HTTP/2 (RFC 9113): a `ServerProtocol` with several exchanges.

Who owns what:

    http2.connection    frames, windows, the states of streams (over the library `h2`)
    Http2Exchange       one stream: the request, its body as it comes, the answer as it is queued (`_http2_exchange`)
    Http2Session        the connection (this file): which application runs, what is sent next, deadlines, the end

Which application runs. When a request's head has come (and its body, if that is collected), its exchange joins a queue,
by urgency (RFC 9218) and then in order. A model that can run several exchanges of a connection at the same time (on a
loop, whose applications are tasks or threads; `rules.concurrent`) is told TURN and takes one after the other by
`take_turn`. For a new exchange it calls the application; for one that runs already it wakes the application, because
something has changed: content has come, there is room for more output, or the client is gone. Any other model is told
RUN for one exchange, as with HTTP/1.1, and for the next when the application has given the answer: `exchange` stays the
same in between, and READ and EITHER concern that exchange as well: they end with RUN when it can go on.

What is sent next. Frames of content are made only when the output is empty, SEND_BYTES at a time, by urgency and then
in turn; so no stream waits behind another one's megabytes, and nothing is copied that the client may cancel. A stream
without room in its window is left out (`_stalled`) until a WINDOW_UPDATE for it comes. A piece of a file is read by the
model, as under TLS (`reads_files`).

What waits, and its bounds:

    bodies that are not read    the stream's window (64 KiB), and no more than STREAMS streams
    answers not sent            the application is held back (`blocked`), stream by stream
    frames of control           Allowance: a client that sends too many of no use is told so, and the connection ends
    resets                      the same; and a stream that was reset counts among STREAMS until its application ends

What ends a stream leaves the others alone; only what breaks the connection's state (HPACK, frames, the library's
judgement) ends all. GOAWAY on `stop` names the last stream that is answered, so that a client knows what to send again.
`drain` says first that the end is near (RFC 9113 section 6.8), with a PING; when its answer shows that the client
knows, or after DRAINING_S, the last GOAWAY follows.
"""

from typing import Any

from septet.exchange import ProtocolError, Want
from septet.http2.connection import LAST_STREAM
from septet.protocol import Phase
from septet.rules import DRAINING_S, STOPPING_S
from septet.session._http2_exchange import Http2Exchange
from septet.session._http2_input import DRAIN_PING, Http2Input
from septet.session._http2_output import SEND_BYTES, Http2Output
from septet.session._http2_state import (
    DUE,
    HEAD,
    IDLE,
    LAST_OPEN,
    LAST_OUTPUT,
    LAST_REST,
    OPEN,
    OUTPUT,
    PREFACE,
    REST,
    RUNNING,
    WRITING,
)
from septet.session.http1 import Session
from septet.session.observed import ObservedSession
from septet.session.phases import LINGER, OVER, Pace

EARNED_PER_S = 50
"""For each second that passes: the number by which the client's allowance of useless frames (PING, SETTINGS,
WINDOW_UPDATE and others) is raised.
"""
RESETS_PER_S = 5
"""For each second that passes: the number by which the client's allowance of resets of streams is raised. Clients
cancel requests whose answer their user does not wait for.
"""

SERVED_BEFORE_OTHERS = 1000
"""Number of requests after which a connection is ended if other clients wait for its thread, in models with a thread
for each client. nginx ends a connection after as many requests in any case (keepalive_requests).
"""


def _unknown() -> None:
    """Stands for `unread_ms`, the function that tells how many milliseconds ago the client's last bytes came, where the
    model does not ask the kernel for that. Returns None: not known.
    """


class Http2Session(Http2Input, Http2Output):
    """One client connection that speaks HTTP/2, and its streams. Implements `protocol.ServerProtocol`, and
    `_http2_body.Connection` for its exchanges. Not thread-safe: only the thread that moves the connection's bytes may
    use it, or threads that share a lock.
    """

    __slots__ = ()

    reads_files = True
    may_have_unread_input = False
    unread = 0

    @classmethod
    def instead_of(cls, session: Session) -> "Http2Session":
        """Return the HTTP/2 session that takes the place of `session`, which speaks HTTP/1.1 and has had no request.
        Where HTTP/2 is offered, this method is the value of `rules.Rules.http2`.
        """
        unread_ms = session.unread_ms if isinstance(session, ObservedSession) else _unknown
        own = cls(session.rules, session.client, session.server, session.peer, session.http.scheme, unread_ms)
        own.delivery = session.delivery
        if (traffic := own.rules.traffic) is not None:
            traffic.http2_opened()
        return own

    # What the carrier reads

    @property
    def gone(self) -> bool:
        return self.lost or self.ended

    @property
    def closes(self) -> bool:
        return self._refusing and len(self._exchanges) <= 1

    @property
    def yields(self) -> bool:
        """True after SERVED_BEFORE_OTHERS requests: from then on the model may end this connection when other clients
        wait for its thread. Not earlier, because some clients of HTTP/2 report an error, where those of HTTP/1.1
        connect again.
        """
        return self._served >= SERVED_BEFORE_OTHERS

    def ends(self) -> bool:
        return self._closing and not (self._senders or self.file)

    # What exchanges say

    def has_turn(self, exchange: Http2Exchange) -> None:
        """Called when the application of `exchange` must be called or, if it runs, woken, because content, room for
        output or the end has come: queue the exchange, so that the model does so.
        """
        if exchange.turn_due or (exchange.begun and not self._concurrent):
            return
        exchange.turn_due = True
        self._turns.add(exchange.urgency, exchange)

    def finished(self, exchange: Http2Exchange) -> None:
        """Called when an exchange's stream and application have both ended: the exchange leaves the connection.

        It leaves last: if a call here raises, for want of memory, `close` finds the exchange and does the rest.
        """
        if exchange.admitted:
            self._release(exchange)
        if exchange.lost or not exchange.status:
            self._abort(exchange)
        else:
            self._resets.earn(1)
            self._served += 1
            self._to_report.append(exchange)
        self.codec.forget(exchange.stream)
        self._stalled.pop(exchange.stream, None)
        exchange.drop_body()
        self._exchanges.pop(exchange.stream, None)

    def _release(self, exchange: Http2Exchange) -> None:
        """Report to `rules.admission` that the request is no longer in flight."""
        assert self.rules.admission is not None
        self.rules.admission.leave()
        exchange.admitted = False

    def _abort(self, exchange: Http2Exchange) -> None:
        """Report to the observer that the answer to a request was not sent to its end."""
        if self.rules.observer:
            self.rules.observer.closed(exchange)

    # What the carrier has to do next

    def go_on(self) -> Want:
        """Enter the next phase, and return what the connection wants in it. If the model runs several exchanges at the
        same time, applications to be called or woken come first; then output that waits to be sent; then waiting for
        the client or for the application. Called after every change.
        """
        current = self._current
        if current is not None and current.answered:
            self._current = self.exchange = current = None  # an idle connection holds nothing of its last request
        if self.lost:
            return self._enter(OVER)
        if self._concurrent and not self._closing and len(self.output) < SEND_BYTES and self._has_turn():
            return self._enter(DUE)
        if self._has_output():
            if self._exchanges or self._to_report:
                return self._enter(LAST_OUTPUT if self.ended else OUTPUT)
            return self._enter(LAST_REST if self.ended else REST)
        return self._enter(OVER if self.lost else self._waiting(current))

    def _waiting(self, current: Http2Exchange | None) -> Phase:
        """Return the phase of a connection that has nothing to send. `current`: the exchange that runs, in a model that
        runs one at a time.
        """
        if self._closing:
            return OVER
        if current is None and not self._concurrent and self._has_turn():
            current = self._current = self.exchange = self._next_turn()
        if current is not None:
            if not current.waits:
                return RUNNING
            return LAST_OPEN if self.ended else OPEN
        if self.codec.expects_preface:
            return OVER if self.ended or self._refusing else PREFACE
        if self._exchanges:
            if self.ended and all(each.answered for each in self._exchanges.values()):  # no window opens any more
                return OVER
            return LAST_OPEN if self.ended else OPEN
        if self._refusing or self._leaving:
            return OVER
        return HEAD if self.codec.in_head else OPEN if self._unfinished else IDLE

    def _has_turn(self) -> bool:
        """True if there is an exchange whose application must be called or woken. Removes those from the front of the
        queue that were answered or cancelled meanwhile.
        """
        turns = self._turns
        while len(turns):
            first = turns.first
            if not first.answered and (first.begun or not first.over):
                return True
            turns.pop().turn_due = False
        return False

    def take_turn(self) -> Http2Exchange:
        exchange = self._next_turn()
        self.go_on()
        return exchange

    def _next_turn(self) -> Http2Exchange:
        """Remove the most urgent exchange from the queue of those whose application must be called or woken, mark it as
        begun, and return it.
        """
        exchange = self._turns.pop()
        exchange.turn_due = False
        if not exchange.begun:
            exchange.begun = True
            exchange.delivery = self.delivery
        return exchange

    def _enter(self, phase: Phase) -> Want:
        """Enter a phase, and return what the connection wants in it. The time of the phase begins, unless the session
        is in it already.
        """
        if phase is not self.phase:
            self.phase = phase
            self.since = None
            self._pace = None
        return phase.want

    # Deadlines

    def deadline(self, now: float) -> float | None:
        self._earn(now)
        if self.stops_now and self.refused_until is None:
            self.refused_until = now + STOPPING_S
        phase, timeouts = self.phase, self.rules.timeouts
        self._late_until = None
        if self.since is None:
            self.since = now
        due = None
        if phase in WRITING:
            if self._pace is None:
                self._pace = Pace(timeouts.write, timeouts.rate)
            due = self._pace.deadline(now, self._sent)
            if self.stopping and (phase is REST or phase is LAST_REST):
                due = min(due, self.since + STOPPING_S)
        elif phase is not OPEN and phase is not LAST_OPEN and phase.timeout is not None:
            timeout = phase.timeout(timeouts)
            if self._draining:
                timeout = min(timeout, DRAINING_S)
            elif self.stopping:
                timeout = min(timeout, STOPPING_S)
            due = self.since + timeout
        if phase is OPEN or phase is LAST_OPEN or phase in WRITING:
            due = self._deadline_of_exchanges(now, due)
        return self._deadline_of_unfinished(now, due) if self._unfinished else due

    def _deadline_of_exchanges(self, now: float, due: float | None) -> float | None:
        """Return the earliest of these deadlines, in seconds on the clock of `now`: `due`, those of the exchanges, and
        after `drain` the end of the time in which the client may still open streams. None if there is none.
        """
        self._announcement_ends = False
        for exchange in self._exchanges.values():
            at = exchange.deadline(now)
            if at is not None and (due is None or at < due):
                due, self._late_until = at, max(at, now)
        if self._draining:
            if self._announced_at is None:
                self._announced_at = now
            at = self._announced_at + DRAINING_S
            if due is None or at < due:
                due, self._late_until, self._announcement_ends = at, None, True
        return due

    def _earn(self, now: float) -> None:
        """Raise the client's allowances of useless frames and of resets for the time that has passed, about once a
        second.
        """
        if self._earned_at is None:
            self._earned_at = now
        elif now - self._earned_at >= 1:
            seconds = now - self._earned_at
            self._earned_at = now
            self._control.earn(int(seconds * EARNED_PER_S))
            self._resets.earn(int(seconds * RESETS_PER_S))

    def waited(self, now: float) -> None:
        if self._pace is not None:
            self._pace.waited(now, self._sent)
        for exchange in self._exchanges.values():
            exchange.waited(now)

    def expire(self) -> Want:
        if self._announcement_ends:
            self._announcement_ends = False
            self._refuse_from_now_on()
            return self.go_on()
        until, self._late_until = self._late_until, None
        if until is not None:
            self._expire_streams(until)
            return self.go_on()
        if self.phase is IDLE:
            return self.stop()
        return self._enter(OVER) if self.phase is LINGER else self.lose()

    # The end

    def stop(self) -> Want:
        # First: a connection that lingers already, perhaps in the TLS around this session, has less time from now on,
        # and its thread must not wait for the order again, which stays readable.
        self.stopping = True
        self.stops_now = True
        if self.phase is LINGER or self.lost:
            self.since = None
            return self.phase.want
        self._refuse_from_now_on()
        return self.go_on()

    def _refuse_from_now_on(self) -> None:
        """Send the last GOAWAY, which names the last stream that is answered; streams that are opened later are
        refused.
        """
        self._draining = False
        if not self._refusing:
            self._refusing = True
            self._lingers = bool(self._exchanges or self._unfinished or self.codec.expects_preface)
            self.codec.go_away(self.codec.highest_stream)
            for exchange in list(self._exchanges.values()):
                exchange.server_stops()

    def drain(self) -> Want:
        self.stopping = True
        if self.phase is LINGER or self.lost:
            self.since = None
            return self.phase.want
        if not (self._refusing or self._draining):
            self._draining = True
            self.codec.go_away(LAST_STREAM)
            self.codec.ping(DRAIN_PING)
            self.since = None
        return self.go_on()

    def lose(self) -> Want:
        self.lost = True
        self.output = b""
        self.file = self._file_of = None
        self.codec.over = True
        for exchange in list(self._exchanges.values()):
            exchange.was_reset()
        for exchange in self._to_report:
            self._abort(exchange)
        self._to_report.clear()
        return self._enter(OVER)

    def half_close(self) -> bool:
        if self.lost or self.ended or not self._lingers:
            return False
        self._lingers = False
        self.ended = True
        self._unfinished.clear()
        self._enter(LINGER)
        return True

    def refuse(self, fault: ProtocolError) -> Want:
        """Close the connection at once. This method exists only because `_around.Inner`, the interface that TLS expects
        of the protocol inside it, has it. TLS does not call it, because a client that speaks HTTP/2 has completed the
        handshake.
        """
        return self.lose()

    def introduce(self, header: Any) -> None:
        raise AssertionError("a PROXY header comes before HTTP/2")

    def close(self) -> None:
        self.lost = True
        self.file = self._file_of = None
        for exchange in list(self._exchanges.values()):
            exchange.was_reset()
            if exchange.begun and not exchange.answered:  # its application ends later
                self._abort(exchange)
                if exchange.admitted:
                    self._release(exchange)
            elif exchange.stream in self._exchanges:  # an exception has interrupted `finished`
                self.finished(exchange)
        for exchange in self._to_report:
            self._abort(exchange)
        self._to_report.clear()
        self._turns.clear()
        self._senders.clear()
        self.delivery = None
        self.exchange = self._current = None
