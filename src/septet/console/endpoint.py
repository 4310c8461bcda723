"""Serves HTTP at the addresses of `--metrics-bind` and `--control`, in steps that never wait (`Endpoint.turn`).

It moves the bytes of HTTP sessions (`septet.protocol`) over one epoll(7), whose descriptor the supervisor watches
beside its workers. A process model could not be used for this: each of them needs a whole thread. Requests are few, and
answering one takes milliseconds.
"""

import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from signal import SIG_BLOCK, pthread_sigmask, valid_signals
from socket import SO_PEERCRED, SOL_SOCKET, socket
from time import monotonic, sleep
from typing import Protocol

from septet import forked
from septet.console.answers import Answer, Peer
from septet.exchange import Request, Want
from septet.http.head import reason_phrase, response_head
from septet.models._drive import drive, expire, receive
from septet.net.listener import Listener
from septet.pollers import READABLE, WRITABLE, Epoll
from septet.processes.resource_exhaustion import reason
from septet.protocol import CLOSE, READ, RUN, WRITE, ServerExchange, ServerProtocol
from septet.service import Service
from septet.thread import ServerThread

log = logging.getLogger("septet")

TICK_S = 1.0
"""Seconds after which the endpoint, the HTTP server at `--metrics-bind` and `--control`, checks the deadlines of its
clients, takes a sample of the metrics, and sends the next part of each stream.
"""

MOST_CLIENTS = 64
"""Most clients that are connected at the same time; further ones are closed at once, because each costs a descriptor of
the supervisor.
"""

UNREAD_LIMIT = 65536
"""Most bytes that are kept of what a client sends while an answer is streamed to it. When there are more, no further
ones are received, and they stay in the kernel.
"""


class Answering(Protocol):
    def answer(self, request: Request, peer: Peer | None) -> Answer:
        """Answer a request. peer: the process that asks, if it may give orders, else None."""

    def tick(self, now_s: float) -> None: ...


class _Client:
    """A client's connection to the endpoint, which is the HTTP server at `--metrics-bind` and `--control`."""

    def __init__(self, endpoint: "Endpoint", sock: socket, session: ServerProtocol, peer: Peer | None) -> None:
        self._peer = peer
        self.sock = sock
        self.session = session
        self.mask = READABLE
        self.answer: Answer | None = None
        """The answer that is being streamed to this client: a part of it is sent every TICK_S seconds. None: no answer
        is being streamed.
        """
        self._endpoint = endpoint
        self._answered = False
        """True if a request of this client was answered since its socket was last ready."""

    def dispatch(self, exchange: ServerExchange) -> Want | None:
        if self.answer is not None:
            return None
        if self._answered:  # a client that pipelines could hold the supervisor, which has no other thread, for ever
            self.session.stop()
        self._answered = True
        try:
            answer = self._endpoint.answering.answer(exchange.request, self._peer)
        except Exception:
            log.exception("the endpoint of metrics failed to answer")
            return exchange.fail()
        fields = ((b"Content-Type", answer.kind.encode()), *answer.fields)
        head = response_head(answer.status, reason_phrase(answer.status).encode(), fields)
        if answer.more is not None and exchange.request.method != "HEAD":
            self.answer = answer
        return exchange.respond(head, answer.content, self.answer is None)

    def ready(self) -> Want:
        self._answered = False
        want = self.session.phase.want
        if want is READ or want is RUN:
            want = receive(self.session, self.sock)
        if self.answer is not None and self.session.gone:
            want = self.session.lose()
        return drive(want, self.session, self.sock, self.dispatch)

    def tick(self, now: float) -> Want:
        session = self.session
        if self.answer is not None and self.answer.more is not None and session.phase.want is RUN:
            want = session.exchange.push(self.answer.more(), False)
            return drive(want, session, self.sock, self.dispatch)
        deadline = session.deadline(now)
        if deadline is not None and now >= deadline:
            return drive(expire(session, self.sock), session, self.sock, self.dispatch)
        return session.phase.want


def _trusted_peer(sock: socket) -> Peer | None:
    """Return the client of a unix socket if it is a process of our user or of root (SO_PEERCRED in unix(7)), else
    None."""
    try:
        pid, user, _ = struct.unpack("3i", sock.getsockopt(SOL_SOCKET, SO_PEERCRED, struct.calcsize("3i")))
    except OSError:
        return None
    return Peer(pid, user) if user in (0, os.geteuid()) else None


class Endpoint:
    """Answers HTTP requests at the listeners of `service`. All methods are for one thread, except `close`, which any
    thread may call.
    """

    def __init__(self, service: Service, answering: Answering, private: Iterable[Listener] = ()) -> None:
        """`private`: the listeners on which orders are accepted; only clients of our own user and root are served
        there.
        """
        self.answering = answering
        self._private = frozenset(private)
        self._service = service
        self._listeners = {listener.fileno(): listener for listener in service.listeners}
        self._clients: dict[int, _Client] = {}
        self._paused: set[Listener] = set()
        """Listeners at which no client is accepted before the next tick, because accepting has failed."""
        self._poller = Epoll()
        self._ticked_at = monotonic()
        self._closed = False
        self._wakeup = -1
        """An eventfd that wakes the thread of `serving_in_thread`; -1: there is none."""
        for descriptor in self._listeners:
            self._poller.add(descriptor, READABLE)
        answering.tick(self._ticked_at)
        forked.register(self)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `turn` has something to do. `turn` must also be called every
        TICK_S.
        """
        return self._poller.fileno()

    def turn(self) -> None:
        """Accept clients, and move the bytes of those that are ready; once in TICK_S also check deadlines and continue
        streams. Never waits, and does not raise.
        """
        try:
            for descriptor, _ in self._poller.wait(0):
                listener = self._listeners.get(descriptor)
                if listener is not None:
                    self._accept(listener)
                elif client := self._clients.get(descriptor):
                    self._attend(client, client.ready)
            now = monotonic()
            if now - self._ticked_at >= TICK_S:
                self._ticked_at = now
                self._tick(now)
        except Exception:
            log.exception("the endpoint of metrics failed, and goes on")

    def _tick(self, now: float) -> None:
        self.answering.tick(now)
        for listener in [each for each in self._paused if each.fileno() >= 0]:
            self._poller.add(listener.fileno(), READABLE)
            self._paused.discard(listener)
        for client in list(self._clients.values()):
            self._attend(client, lambda client=client: client.tick(now))  # type: ignore[misc]

    def _accept(self, listener: Listener) -> None:
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionError):  # no client waits any more
            return
        except (OSError, MemoryError) as error:
            self._pause(listener, error)
            return
        private = listener in self._private
        peer = _trusted_peer(sock) if private else None
        if len(self._clients) >= MOST_CLIENTS or (private and peer is None):
            sock.close()
            return
        client = _Client(self, sock, self._service.accepted(listener, sock, address), peer)
        self._poller.add(sock.fileno(), READABLE)
        self._clients[sock.fileno()] = client

    def _pause(self, listener: Listener, error: BaseException) -> None:
        """Accept nothing at a listener until the next tick: accepting has failed with `error`, because descriptors or
        memory are exhausted. While a client waits there, the listener would wake the process without end.
        """
        self._service.exhaustion.report(f"cannot accept clients at {listener}: {reason(error)}")
        self._paused.add(listener)
        self._poller.remove(listener.fileno())

    def _attend(self, client: _Client, step: Callable[[], Want]) -> None:
        """Call `step`, which moves the bytes of a client, and watch its socket for what its session wants next. If
        `step` raises, the connection is closed.
        """
        descriptor = client.sock.fileno()
        try:
            want = step()
        except Exception:
            log.exception("a connection of the endpoint of metrics failed, and is cut")
            want = CLOSE
        if want is CLOSE:
            self._poller.remove(descriptor)
            self._clients.pop(descriptor, None)
            client.session.close()
            client.sock.close()
            return
        mask = WRITABLE if want is WRITE else READABLE
        if want is RUN and client.session.unread > UNREAD_LIMIT:
            mask = 0  # an error is reported all the same
        if mask != client.mask:
            client.mask = mask
            self._poller.modify(descriptor, mask)

    @contextmanager
    def serving_in_thread(self) -> Iterator[None]:
        """Context manager: while it is entered, a thread of its own serves the clients."""
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poller.add(self._wakeup, READABLE)
        thread = ServerThread(self._serve, "septet-metrics-endpoint")
        thread.start()
        try:
            yield
        finally:
            self._closed = True
            os.eventfd_write(self._wakeup, 1)
            thread.join(TICK_S + 1)
            self._close_wakeup()

    def _serve(self) -> None:
        pthread_sigmask(SIG_BLOCK, valid_signals())  # they are for the main thread
        while not self._closed:
            try:
                self._poller.wait(TICK_S)
                self.turn()
            except MemoryError:  # others may give some back
                sleep(TICK_S)

    def close(self) -> None:
        """Close the connections of all clients, and the poller."""
        self._closed = True
        for client in list(self._clients.values()):  # the thread may still be at work
            client.session.close()
            client.sock.close()
        self._clients.clear()
        self._poller.close()

    def _close_wakeup(self) -> None:
        wakeup, self._wakeup = self._wakeup, -1
        if wakeup >= 0:
            os.close(wakeup)

    def close_in_child(self) -> None:
        """Called in a forked child: close the child's copies of the clients' and listeners' descriptors."""
        self._close_wakeup()
        for client in self._clients.values():
            client.sock.close()
        self._clients.clear()
        for listener in self._listeners.values():
            listener.close_in_child()
        self._poller.close()
