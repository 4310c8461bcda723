"""The count of threads that wait for clients, which processes share."""

import os
import threading

from septet.models._acceptors import Acceptors
from septet.models._in_flight import InFlight


def always() -> bool:
    return True


def test_one_volunteers_when_no_thread_is_free() -> None:
    acceptors = Acceptors(4)
    acceptors.wait()
    assert not acceptors.volunteer(always)
    acceptors.accept()
    assert not acceptors.volunteer(lambda: False)
    assert [acceptors.volunteer(always), acceptors.volunteer(always)] == [True, False]
    assert acceptors.waiting == 1


def test_threads_that_stand_still_are_not_free() -> None:
    acceptors = Acceptors(4)
    acceptors.wait()
    stalled_at = acceptors.accepted
    assert acceptors.volunteer(always, stalled_at)
    assert not acceptors.volunteer(always, stalled_at)


def test_processes_share_the_count_and_it_does_not_outlive_them() -> None:
    in_flight = InFlight()
    in_flight.occupy(in_flight.allot())
    slot = in_flight.allot()
    child = os.fork()
    if not child:
        in_flight.occupy(slot)
        in_flight.acceptors.wait()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not in_flight.acceptors.volunteer(always)
    in_flight.vacate(slot)
    assert in_flight.acceptors.volunteer(always)


def test_nobody_waits_for_one_who_decides() -> None:
    """A process may be stopped while it has the lock."""
    acceptors = Acceptors(4)
    inside, leave = threading.Event(), threading.Event()

    def decide() -> bool:
        inside.set()
        return leave.wait(20)

    decides = threading.Thread(target=acceptors.volunteer, args=(decide,))
    decides.start()
    assert inside.wait(20)
    child = os.fork()
    if not child:
        acceptors._volunteering = threading.Lock()
        os._exit(1 if acceptors.volunteer(always) else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert not acceptors.volunteer(always)
    leave.set()
    decides.join()
    assert acceptors.waiting == 1
