"""Slow clients beside the load: each sends its request, and reads the answer, at a few bytes a second.

They show what such clients cost the others: a server that gives each of them a thread, or a worker, has fewer left.
Their answers and errors are counted apart from the load. The load generator's loop serves a quarter of them 20 times a
second, each with one system call.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import Counter
from itertools import cycle
from typing import Any

from .answer import Answer, Malformed
from .limits import Route
from .plan import Plan, split
from .requests import Encoder, target_order
from .state import TargetState, kind_of
from .tls import AwaitsServer, Dialer

SLICES = 4
"""Slow clients are divided into this many equal parts. Each call of `SlowClients.turn` serves one part."""
OPENED_MAX = 16
"""Most connections that one call of `SlowClients.turn` opens. With more at once, slow clients might fill the server's
listen queue.
"""
REST_NS = 1_000_000_000
"""Nanoseconds that a slow client waits after an error, before it connects again."""
BUFFER_BYTES = 2048
"""Size of the receive buffer (SO_RCVBUF), small so that the kernel does not read far ahead of a slow client; the kernel
doubles it (socket(7)).
"""
clock = time.monotonic_ns


class SlowClient:
    """One slow client and its present request."""

    __slots__ = ("answer", "begun_ns", "last_ns", "number", "socket", "target", "unsent")

    def __init__(self, number: int) -> None:
        self.number = number
        self.socket: Any = None
        self.target: TargetState
        self.unsent = b""
        self.answer: Any = None
        self.begun_ns = 0
        """When the request began, in ns of the monotonic clock."""
        self.last_ns = 0
        """The instant of the last transfer, in ns of the monotonic clock: the time since then gives the bytes that the
        client may move now. While the client rests after an error, the end of its rest.
        """


class SlowClients:
    """All slow clients of a process. The load generator's loop calls `turn` 20 times a second, which sends and receives
    for a part of the clients.
    """

    def __init__(self, plan: Plan, route: Route) -> None:
        self._plan, self._route = plan, route
        self._encoder = Encoder(plan)
        self._dialer = Dialer(plan) if split(plan.url)[0].scheme == "https" else None
        targets = [TargetState(place, target, plan.closes(target)) for place, target in enumerate(plan.all_targets())]
        order = target_order([target.definition.weight for target in targets])
        self._next_target = cycle(targets[place] for place in order).__next__
        self._clients = [SlowClient(plan.first_user + plan.users + number) for number in range(plan.slow)]
        self._slice = 0
        self.reset()

    def reset(self) -> None:
        """Forget what was counted, because the measured window begins."""
        self._answers = self._longest_us = 0
        self._errors: Counter[str] = Counter()

    def raw(self) -> dict[str, Any]:
        """Return what was counted as values for JSON: the number of right answers, errors by kind, and the longest time
        of an answer in µs.
        """
        return {"answers": self._answers, "errors": dict(self._errors), "longest_us": self._longest_us}

    def close(self) -> None:
        for client in self._clients:
            self._leave(client)

    def turn(self) -> None:
        """Serve the next part of the clients: each sends or receives as many bytes as its rate allows for the time
        since its last transfer.
        """
        opened = 0
        for client in self._clients[self._slice :: SLICES]:
            now = clock()
            if client.socket is None:
                if now < client.last_ns or opened == OPENED_MAX:
                    continue
                opened += 1
            try:
                self._move(client, now)
            except (BlockingIOError, AwaitsServer):
                client.last_ns = now
            except Malformed:
                self._fail(client, "malformed", now)
            except OSError as error:
                self._fail(client, kind_of(error.errno), now)
        self._slice = (self._slice + 1) % SLICES

    def _move(self, client: SlowClient, now: int) -> None:
        if client.socket is None:
            self._connect(client)
            self._begin(client, now)
        room = self._plan.slow_rate * (now - client.last_ns) // 1_000_000_000
        if not room:
            return
        if client.unsent:
            client.unsent = client.unsent[client.socket.send(client.unsent[:room]) :]
        else:
            self._read(client, client.socket.recv(room), now)
        client.last_ns = now

    def _begin(self, client: SlowClient, now: int) -> None:
        target = client.target = self._next_target()
        requests = self._encoder.requests_of(client.number)
        keeps = self._plan.limit_per_connection != 1
        client.unsent = (requests.keep if keeps else requests.last)[target.index]
        client.answer, client.begun_ns, client.last_ns = target.new_answer(), now, now

    def _read(self, client: SlowClient, data: bytes, now: int) -> None:
        answer: Answer = client.answer
        if not data and answer.framing is None:
            self._fail(client, "closed early", now)
            return
        answer.feed(data)
        if not answer.complete:
            if not data:
                self._fail(client, "short body", now)
            return
        kind = client.target.objection(answer)
        if kind is not None:
            self._fail(client, kind, now)
            return
        assert answer.framing is not None, "a complete answer has a head"
        self._answers += 1
        self._longest_us = max(self._longest_us, (now - client.begun_ns) // 1000)
        if not (answer.framing.keep and data) or client.target.closes or self._plan.limit_per_connection == 1:
            self._leave(client)
        else:
            self._begin(client, now)

    def _connect(self, client: SlowClient) -> None:
        """Begin to connect, without waiting: until the connection is established, sending raises BlockingIOError.
        Raises OSError where connecting fails at once.
        """
        new = socket.socket(self._route.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        client.socket = new if self._dialer is None else self._dialer.over(new)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        code = new.connect_ex(self._route.address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")

    def _fail(self, client: SlowClient, kind: str, now: int) -> None:
        self._errors[kind] += 1
        self._leave(client)
        client.last_ns = now + REST_NS

    def _leave(self, client: SlowClient) -> None:
        if client.socket is not None:
            client.socket.close()
            client.socket = None
