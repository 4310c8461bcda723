"""What lacks memory once goes on afterwards; and a child that the application forks meets no lock of its parent's."""

from threading import Lock
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from septet.metrics.monitor import Monitor
from septet.models._acceptor import Acceptor
from septet.models._answer import answer_without_waiting
from septet.models._locked_exchange import LockedExchange
from septet.models._waker import Waker


def lacks_memory(*arguments: object) -> NoReturn:
    raise MemoryError("deliberate")


def test_beats_go_on() -> None:
    """Without them the supervisor would take the process for dead."""
    due: list[float] = []
    loop: Any = SimpleNamespace(time=lambda: 5.0, call_at=lambda at, *call: due.append(at))
    monitor: Any = SimpleNamespace(_note_beat=lacks_memory, _beat=None)
    with pytest.raises(MemoryError):
        Monitor._beat(monitor, loop, 4.0)
    assert len(due) == 1
    assert due[0] > 5.0


def test_client_for_whom_there_is_no_memory_is_not_kept_waiting() -> None:
    closed: list[bool] = []
    sock = SimpleNamespace(close=lambda: closed.append(True))
    acceptor: Any = SimpleNamespace(
        _listeners={3: SimpleNamespace(accept=lambda: (sock, None))},
        client_of=lacks_memory,
        stop=SimpleNamespace(ordered=False),
        pause=lambda why: None,
    )
    assert list(Acceptor._accept(acceptor, 3)) == []
    assert closed == [True]


def test_answer_that_was_interrupted_is_no_answer_500() -> None:
    """Over HTTP/2 what was lost of it has changed the tables of the connection."""
    exchange: Any = SimpleNamespace(
        request=SimpleNamespace(target=b"/file"), respond=lacks_memory, lose=lambda: "lost", fail=lambda: "500"
    )
    head: Any = None
    assert cast(Any, answer_without_waiting(lambda exchange: (head, b"", None), exchange)) == "lost"


def test_lock_of_a_thread_that_a_child_does_not_have() -> None:
    waker = Waker()
    waker.lock.acquire()
    waker.close_in_child()
    assert waker.lock.acquire(blocking=False)


def test_lock_of_a_connection_that_a_child_has_replaced() -> None:
    connection = SimpleNamespace(lock=Lock())
    exchange = LockedExchange(cast(Any, SimpleNamespace(poll=lambda: b"part")), connection)
    connection.lock.acquire()
    connection.lock = Lock()
    assert exchange.poll() == b"part"
