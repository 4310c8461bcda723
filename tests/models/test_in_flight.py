"""The count of requests in flight that processes share."""

import errno
import os
import signal
import threading
from itertools import count, pairwise

import pytest

from septet import forked
from septet.processes import other_signals
from septet.processes.children import ChildProcesses
from septet.processes.in_flight import SLOTS, InFlight
from septet.processes.metrics import ProcessMetrics
from septet.processes.orders import Stop
from septet.processes.spool import Spool
from septet.rules import Admission
from support.struck import struck_at


def test_limit_and_room_again() -> None:
    in_flight = InFlight(2)
    assert [in_flight.enter() for _ in range(3)] == [True, True, False]
    in_flight.leave()
    assert [in_flight.enter(), in_flight.enter()] == [True, False]


def test_processes_share_the_limit_and_not_their_slots() -> None:
    in_flight = InFlight(2)
    first, second = in_flight.allot(), in_flight.allot()
    assert first != second
    in_flight.occupy(first)
    assert in_flight.enter()
    child = forked.fork()  # by os.fork it would count in memory of its own
    if not child:
        in_flight.occupy(second)
        os._exit(0 if in_flight.enter() and not in_flight.enter() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not in_flight.enter()
    in_flight.vacate(second)
    assert in_flight.enter()


def room_of(admission: Admission) -> int:
    """How many requests more are admitted."""
    room = 0
    while admission.enter():
        room += 1
    for _ in range(room):
        admission.leave()
    return room


@pytest.mark.parametrize("logged", [False, True], ids=["alone", "with metrics"])
def test_requests_whose_thread_is_struck(logged: bool) -> None:
    """Wherever in `enter` or `leave` an exception of another thread comes, that call has changed nothing."""
    admission = ProcessMetrics(60.0, InFlight(2)) if logged else InFlight(2)
    for number in count():
        if not struck_at(number, admission.enter, real=True):
            break
        assert room_of(admission) == 2, number
    assert number > 1
    assert room_of(admission) == 1
    for number in count():
        if not struck_at(number, admission.leave, real=True):
            break
        assert room_of(admission) == 1, number
    assert number > 1
    assert room_of(admission) == 2


def test_bytes_in_files_whose_thread_is_struck() -> None:
    spool = Spool(8, 100)
    for number in count():
        if not struck_at(number, lambda: spool.take(60), real=True):
            break
        assert spool.used == 0, number
    assert number > 1
    for number in count():
        if not struck_at(number, lambda: spool.give(60), real=True):
            break
        assert spool.used == 60, number
    assert spool.used == 0


def test_slots_are_given_out_again_the_lowest_first() -> None:
    in_flight = InFlight(1)
    slots = [in_flight.allot() for _ in range(3)]
    for slot in reversed(slots):
        in_flight.vacate(slot)
    assert [in_flight.allot() for _ in range(3)] == slots


def test_more_processes_than_slots() -> None:
    in_flight = InFlight(1)
    for _ in range(SLOTS - 1):
        slot = in_flight.allot()
    with pytest.raises(OSError, match="too many processes"):
        in_flight.allot()
    in_flight.vacate(slot)
    assert in_flight.allot() == slot


@pytest.mark.parametrize("error", [OSError(errno.EAGAIN, "no process"), MemoryError()], ids=["process", "memory"])
def test_slot_of_a_child_that_could_not_be_forked(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is free again, for whatever reason: else a lack of memory that passes would leave no slots."""

    def lacking() -> int:
        raise error

    in_flight, stop = InFlight(1), Stop(signals=False)
    monkeypatch.setattr(other_signals, "pass_on_reopening", other_signals.pass_on_reopening)
    before = signal.getsignal(signal.SIGCHLD)
    children = ChildProcesses(in_flight, stop)
    monkeypatch.setattr(os, "fork", lacking)
    try:
        with pytest.raises(type(error)):
            children.fork(lambda: 0)
    finally:
        signal.signal(signal.SIGCHLD, before)
        stop.close()
    first = in_flight.allot()
    in_flight.vacate(first)
    assert first == InFlight(1).allot()


def test_threads_share_a_slot() -> None:
    in_flight = InFlight(3)
    over: list[int] = []

    def work() -> None:
        for _ in range(2000):
            if in_flight.enter():
                in_flight.leave()
            else:
                over.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not over
    assert [in_flight.enter() for _ in range(4)] == [True, True, True, False]


def interpreter_of(main: InFlight, number: int, limit: int) -> InFlight:
    """The counts as another interpreter of the process has them: it knows the memory, and numbers."""
    other = InFlight(limit)
    other.borrow(main.lend(), main.slot + number)
    return other


def test_interpreters_of_a_process_count_in_slots_side_by_side() -> None:
    main = InFlight(2, width=3)
    first, second = interpreter_of(main, 0, 2), interpreter_of(main, 2, 2)
    assert [first.enter(), second.enter(), first.enter()] == [True, True, False]
    first.leave()
    assert [second.enter(), first.enter()] == [True, False]


def test_slots_of_processes_with_interpreters_do_not_overlap() -> None:
    forking = InFlight(10, width=3)
    slots = [forking.allot() for _ in range(3)]
    assert all(other - slot >= 3 for slot, other in pairwise(slots))
    counted = interpreter_of(forking, slots[2] - forking.slot + 2, 10)  # the last interpreter of the last process
    assert all(counted.enter() for _ in range(10))
    assert not interpreter_of(forking, 0, 10).enter()
    forking.vacate(slots[2])
    assert forking.enter()


class Thread:
    """A thread that accepts clients."""

    is_free = False


def test_one_of_several_interpreters_volunteers() -> None:
    """A lock between processes would let all of them in."""
    main = InFlight(width=2)
    first, second = (interpreter_of(main, number, 0).waiting_threads for number in range(2))
    one, other = Thread(), Thread()
    inside: list[bool] = []

    def needed() -> bool:
        inside.append(second.volunteer(other, lambda: True))
        return True

    assert first.volunteer(one, needed)
    assert inside == [False], "while the first was inside"
    assert first.waiting == second.waiting == 1
    first.accept(one)
    assert second.volunteer(other, lambda: True)
