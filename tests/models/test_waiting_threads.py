"""The count of threads that wait for clients, which processes share."""

import os
import threading

from septet.processes.in_flight import InFlight, WaitingThreads


def always() -> bool:
    return True


class Thread:
    is_free = False


def test_one_volunteers_when_no_thread_is_free() -> None:
    counts = WaitingThreads(4)
    first, second = Thread(), Thread()
    counts.wait(first)
    assert not counts.volunteer(second, always)
    counts.accept(first)
    assert not counts.volunteer(first, lambda: False)
    assert [counts.volunteer(first, always), counts.volunteer(second, always)] == [True, False]
    assert counts.waiting == 1


def test_threads_that_stand_still_are_not_free() -> None:
    counts = WaitingThreads(4)
    counts.wait(Thread())
    stalled_at = counts.accepted
    assert counts.volunteer(Thread(), always, stalled_at)
    assert not counts.volunteer(Thread(), always, stalled_at)


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
    counts = WaitingThreads(4)
    inside, leave = threading.Event(), threading.Event()

    def decide() -> bool:
        inside.set()
        return leave.wait(20)

    decides = threading.Thread(target=counts.volunteer, args=(Thread(), decide))
    decides.start()
    assert inside.wait(20)
    child = os.fork()
    if not child:
        counts._volunteer = None
        os._exit(1 if counts.volunteer(Thread(), always) else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert not counts.volunteer(Thread(), always)
    leave.set()
    decides.join()
    assert counts.waiting == 1


def test_a_thread_is_counted_once() -> None:
    """Also one that an exception of another thread has kept from noticing that it is."""
    counts, thread = WaitingThreads(4), Thread()
    for change, count in ((counts.wait, 1), (counts.wait, 1), (counts.leave, 0), (counts.leave, 0)):
        change(thread)
        assert counts.waiting == count
    counts.accept(thread)
    assert counts.waiting == 0
