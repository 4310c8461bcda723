"""HTTP/2 in clear, by prior knowledge (RFC 9113 section 3.3): a client that begins with the preface of HTTP/2.

Which protocol a connection speaks is known when its first bytes have come. By then the model holds the session, and
should not have to check whether it is still the same object. So the session changes its class, as it does for a
WebSocket. It begins as a `PriorKnowledge`, which looks at the first bytes, and becomes

    an ordinary session of HTTP/1.1    after any other first bytes; HTTP/1.1 pays nothing further
    a `Forwarding`                     after the preface: every call goes to the `Http2Session` in `tunnel`
"""

from typing import Any

from septet.exchange import Want
from septet.protocol import ServerExchange
from septet.session.http1 import Session
from septet.session.observed import NotingSession, ObservedSession
from septet.session.phases import HEAD, IDLE, PROXY_HEADER

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of a client that speaks HTTP/2 (RFC 9113 section 3.4)."""


class PriorKnowledge(Session):
    """A session that waits for the first bytes of its client, which show whether the client speaks HTTP/1.1 or HTTP/2.
    It then changes its class: to an ordinary session of HTTP/1.1, or to a `Forwarding`.
    """

    __slots__ = ()

    def receive(self, data: bytes) -> Want:
        if self.phase is IDLE and data[:1] == PREFACE[:1]:
            self._enter(HEAD)  # the preface looks like a request, and in IDLE a head that is whole is taken at once
        want = super().receive(data)
        if type(self) in _PLAIN and self.phase not in (IDLE, HEAD, PROXY_HEADER):
            self.__class__ = _PLAIN[type(self)]  # type: ignore[assignment]
        return want

    def stop(self) -> Want:
        """Take no further request, and close the connection after the answer. If nothing has come yet, the client has
        STOPPING_S seconds to begin. Its first bytes show whether it speaks HTTP/2; if so, it is told by a GOAWAY that
        the connection ends.
        """
        if self.phase is IDLE and type(self) in _PLAIN:
            self._enter(HEAD)
        return super().stop()

    def _next_request(self) -> Want:
        inbox = self.http.inbox
        if inbox[: len(PREFACE)] == PREFACE[: len(inbox)]:
            if len(inbox) < len(PREFACE):
                return self._await_request()
            return self._become_http2()
        self.__class__ = _PLAIN[type(self)]  # type: ignore[assignment]
        return self._next_request()

    def _become_http2(self) -> Want:
        assert self._rules.http2 is not None, "prior knowledge is looked for where HTTP/2 is spoken"
        early = self.http.take_inbox()
        session = self._rules.http2(self)
        self.tunnel = session
        stops, drains = self.http.stopping and not self._draining, self._draining
        self.__class__ = _FORWARDING[type(self)]  # type: ignore[assignment]
        want = self.receive(early)
        return self.stop() if stops else self.drain() if drains else want


def _passed_on(name: str) -> Any:
    """Return a property that stands for the attribute `name` of the HTTP/2 session in `tunnel`: it reads and sets that
    attribute.
    """

    def read(self: Session) -> Any:
        return getattr(self.tunnel, name)

    def write(self: Session, value: Any) -> None:
        setattr(self.tunnel, name, value)

    return property(read, write)


class Forwarding(Session):
    """A session that has become HTTP/2. Implements `protocol.ServerProtocol` by passing each call to `tunnel`."""

    __slots__ = ()

    reads_files = True

    phase = _passed_on("phase")
    since = _passed_on("since")
    output = _passed_on("output")
    file = _passed_on("file")
    lost = _passed_on("lost")
    ended = _passed_on("ended")
    exchange = _passed_on("exchange")
    delivery = _passed_on("delivery")
    gone = _passed_on("gone")
    unread = _passed_on("unread")
    stopping = _passed_on("stopping")
    closes = _passed_on("closes")
    ends = _passed_on("ends")
    yields = _passed_on("yields")
    may_have_unread_input = _passed_on("may_have_unread_input")
    tls = _passed_on("tls")

    def take_turn(self) -> ServerExchange:  # type: ignore[override]
        return self.tunnel.take_turn()  # type: ignore[no-any-return]

    def receive(self, data: bytes) -> Want:
        return self.tunnel.receive(data)  # type: ignore[no-any-return]

    def wrote(self, count: int) -> Want:
        return self.tunnel.wrote(count)  # type: ignore[no-any-return]

    def read_file(self, data: bytes) -> Want:
        return self.tunnel.read_file(data)  # type: ignore[no-any-return]

    def deadline(self, now: float) -> float | None:
        return self.tunnel.deadline(now)  # type: ignore[no-any-return]

    def waited(self, now: float) -> None:
        self.tunnel.waited(now)

    def expire(self) -> Want:
        return self.tunnel.expire()  # type: ignore[no-any-return]

    def stop(self) -> Want:
        return self.tunnel.stop()  # type: ignore[no-any-return]

    def drain(self) -> Want:
        return self.tunnel.drain()  # type: ignore[no-any-return]

    def lose(self) -> Want:
        return self.tunnel.lose()  # type: ignore[no-any-return]

    def half_close(self) -> bool:
        return self.tunnel.half_close()  # type: ignore[no-any-return]

    def close(self) -> None:
        self.tunnel.close()


class PriorKnowledgeObserved(PriorKnowledge, ObservedSession):
    """A `PriorKnowledge` which, if its client speaks HTTP/1.1, becomes an `ObservedSession`."""

    __slots__ = ()


class PriorKnowledgeNoting(PriorKnowledge, NotingSession):
    """A `PriorKnowledge` which, if its client speaks HTTP/1.1, becomes a `NotingSession`."""

    __slots__ = ()


class ForwardingObserved(Forwarding, ObservedSession):
    """The class that an `ObservedSession` takes when its client speaks HTTP/2. It inherits from both, since an object
    may change its class only to one with the same slots.
    """

    __slots__ = ()


class ForwardingNoting(Forwarding, NotingSession):
    """The class that a `NotingSession` takes when its client speaks HTTP/2. It inherits from both, since an object may
    change its class only to one with the same slots.
    """

    __slots__ = ()


LOOKING: dict[type[Session], type[PriorKnowledge]] = {
    Session: PriorKnowledge,
    ObservedSession: PriorKnowledgeObserved,
    NotingSession: PriorKnowledgeNoting,
}
"""For each class of HTTP/1.1 session: the class with which a connection begins instead if its client may speak
HTTP/2.
"""

_PLAIN: dict[type[Session], type[Session]] = {looking: plain for plain, looking in LOOKING.items()}

_FORWARDING: dict[type[Session], type[Session]] = {
    PriorKnowledge: Forwarding,
    PriorKnowledgeObserved: ForwardingObserved,
    PriorKnowledgeNoting: ForwardingNoting,
}
