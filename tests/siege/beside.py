"""The well-behaved clients beside an attack: one keeps its connection, one connects anew for each request.

Each request differs from all others, and its answer has to be its own. An answer that is wrong is always a failure; how
many may be lost (none, as a rule) is for the attack to say.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle
from threading import Event, Thread
from time import monotonic

from support.client import Address, Connection, Malformed, Response
from support.messages import pattern

PAUSE_S = 0.01
"""Between two requests of one client."""

SIZE = 100_000


class Regular(Thread):
    """One such client, from `start` to `leave`."""

    def __init__(self, address: Address, anew: bool, patience_s: float) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._anew = anew
        self._patience_s = patience_s
        self._over = Event()
        self._connection: Connection | None = None
        self.answered = 0
        self.lost: list[str] = []
        """Requests without a whole answer."""
        self.wrong: list[str] = []
        self.longest_s = 0.0
        self.first_answer = Event()
        self.excused = False
        """The server has been told to stop: what is lost from now on is not counted."""

    def leave(self) -> None:
        """Let the request that is under way be answered."""
        self._over.set()
        self.join()

    def run(self) -> None:
        asks = cycle((echo, echo_body, part_of_pattern, only_head))
        with ExitStack() as stack:
            stack.callback(self._disconnect)
            number = 0
            while not self._over.is_set():
                number += 1
                self._ask(next(asks), f"{'anew' if self._anew else 'kept'}-{number}")
                self._over.wait(PAUSE_S)

    def _ask(self, ask: Callable[[Connection, str], Response], token: str) -> None:
        began = monotonic()
        try:
            if self._connection is None:
                self._connection = Connection(self._address, self._patience_s)
            answer = ask(self._connection, token)
        except WrongAnswer as error:
            self.wrong.append(f"{token}: {error}")
            self._disconnect()
        except Malformed as error:
            self.wrong.append(f"{token}: not HTTP: {error}")
            self._disconnect()
        except (OSError, AssertionError) as error:
            self._disconnect()
            if not self.excused:
                self.lost.append(f"{token} after {monotonic() - began:.1f} s: {error!r}")
        else:
            self.answered += 1
            self.first_answer.set()
            self.longest_s = max(self.longest_s, monotonic() - began)
            if self._anew or answer.closes:
                self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class WrongAnswer(Exception):
    """A whole answer, but not the one to this request."""


def echo(connection: Connection, token: str) -> Response:
    answer = _whole(connection.request("GET", f"/echo?{token}"))
    _same(json.loads(answer.body)["query"], token)
    return answer


def echo_body(connection: Connection, token: str) -> Response:
    answer = _whole(connection.request("POST", "/echo", body=token.encode() * 100))
    _same(json.loads(answer.body)["body"], token * 100)
    return answer


def part_of_pattern(connection: Connection, token: str) -> Response:
    size = SIZE + len(token)
    answer = _whole(connection.request("GET", f"/send?size={size}&parts=3"))
    _same(answer.body, pattern(size))
    return answer


def only_head(connection: Connection, token: str) -> Response:
    return _whole(connection.request("HEAD", f"/send?size={len(token)}&length=auto"))


def _whole(answer: Response) -> Response:
    if answer.status != 200:
        raise WrongAnswer(f"status {answer.status}, {answer.body[:200]!r}")
    return answer


def _same(found: object, expected: object) -> None:
    if found != expected:
        raise WrongAnswer(f"{str(found)[:100]} instead of {str(expected)[:100]}")


def ask_all(address: Address, token: str) -> None:
    """One request of each kind, on one connection if the server keeps it. Raises as these do."""
    asks = [echo, echo_body, part_of_pattern, only_head]
    while asks:
        with Connection(address) as connection:
            while asks and not asks.pop()(connection, token).closes:
                pass
