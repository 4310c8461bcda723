"""Limits in time."""

import signal
import threading
import time

import pytest

from septet.errors import Failed
from septet.lab.interrupts import time_limit


def test_what_does_not_end_is_ended() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(Failed, match="too long"), time_limit(0.05, "too long"):
        threading.Event().wait()
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_what_ends_in_time_is_left_alone() -> None:
    with time_limit(60, "too long"):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_other_threads_have_no_limit() -> None:
    done = []

    def body() -> None:
        with time_limit(0.001, "too long"):
            time.sleep(0.01)
            done.append(True)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done == [True]
