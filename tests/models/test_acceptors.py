"""The count of threads that wait for clients, which processes share."""

import os
import threading

from septet.processes.acceptors import WaitingThreads
from septet.processes.in_flight import InFlight


def always() -> bool:
    return True


class Thread:
    waits = False


def test_one_volunteers_when_no_thread_is_free() -> None:
    acceptors = WaitingThreads(4)
    first, second = Thread(), Thread()
    acceptors.wait(first)
    assert not acceptors.volunteer(second, always)
    acceptors.accept(first)
    assert not acceptors.volunteer(first, lambda: False)
    assert [acceptors.volunteer(first, always), acceptors.volunteer(second, always)] == [True, False]
    assert acceptors.waiting == 1


def test_threads_that_stand_still_are_not_free() -> None:
    acceptors = WaitingThreads(4)
    acceptors.wait(Thread())
    stalled_at = acceptors.accepted
    assert acceptors.volunteer(Thread(), always, stalled_at)
    assert not acceptors.volunteer(Thread(), always, stalled_at)


def test_processes_share_the_count_and_it_does_not_outlive_them() -> None:
    in_flight = InFlight()
    in_flight.occupy(in_flight.allot())
    slot = in_flight.allot()
    child = os.fork()
    if not child:
        in_flight.occupy(slot)
        in_flight.waiting_threads.wait(Thread())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not in_flight.waiting_threads.volunteer(Thread(), always)
    in_flight.vacate(slot)
    assert in_flight.waiting_threads.volunteer(Thread(), always)


def test_nobody_waits_for_one_who_decides() -> None:
    """A process may be stopped while it has the lock."""
    acceptors = WaitingThreads(4)
    inside, leave = threading.Event(), threading.Event()

    def decide() -> bool:
        inside.set()
        return leave.wait(20)

    decides = threading.Thread(target=acceptors.volunteer, args=(Thread(), decide))
    decides.start()
    assert inside.wait(20)
    child = os.fork()
    if not child:
        acceptors._volunteer = None
        os._exit(1 if acceptors.volunteer(Thread(), always) else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert not acceptors.volunteer(Thread(), always)
    leave.set()
    decides.join()
    assert acceptors.waiting == 1


def test_a_thread_is_counted_once() -> None:
    """Also one that an exception of another thread has kept from noticing that it is."""
    acceptors, thread = WaitingThreads(4), Thread()
    for change, count in ((acceptors.wait, 1), (acceptors.wait, 1), (acceptors.leave, 0), (acceptors.leave, 0)):
        change(thread)
        assert acceptors.waiting == count
    acceptors.accept(thread)
    assert acceptors.waiting == 0
