"""Recording real processes: why they wait, and exactly when they ran. Needs what the recorder needs, and says so."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from septet.errors import Failed
from septet.interpreter import is_free_threaded
from septet.lab.threads.reasons import Reasons
from septet.lab.threads.states import State
from septet.lab.threads.tasks import Tasks
from septet.lab.trace import perf
from septet.lab.trace.recorder import Recorder
from septet.lab.trace.timeline import Born, Died, SwitchedIn, SwitchedOut
from support.waiting import wait_until

WAITS = Path(__file__).parent.parent / "support" / "waits.py"


def paranoia() -> int:
    """What kernel.perf_event_paranoid amounts to for us."""
    try:
        return -1 if os.geteuid() == 0 else int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    except OSError:
        return 4


needs_switches = pytest.mark.skipif(paranoia() > 2, reason="kernel.perf_event_paranoid is above 2, and we are not root")


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own, killed at the end with all that is in it."""
    with subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, 9)


@pytest.fixture
def backend() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    said: dict[str, Any] = json.loads(process.stdout.readline())
    return said


def test_what_each_way_of_waiting_is_called(backend: str) -> None:
    with running(str(WAITS), backend) as process:
        about = told(process)
        tasks = Tasks(process.pid, Reasons(frozenset([about["port"]])))
        expected = {tid: State(name.partition(":")[0]) for name, tid in about["threads"].items()}
        seen: dict[int, State] = {}

        def all_wait() -> bool:
            seen.update({sample.tid: sample.state for sample in tasks.look()})
            return all(seen.get(tid) is state for tid, state in expected.items())

        try:
            wait_until(all_wait, "each thread waits as its name says")
        except AssertionError:
            assert {name: seen.get(tid) for name, tid in about["threads"].items()} == expected
        tasks.close()


SWITCHING = """
import sys, threading, time
def work():
    while True:
        until = time.thread_time() + 0.002
        while time.thread_time() < until: pass
        time.sleep(0.01)
input()
threading.Thread(target=work, daemon=True).start()
time.sleep(60)
"""


@needs_switches
@pytest.mark.parametrize("registers", [True, False])
def test_switches_are_exact(registers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the records add up to is what the scheduler itself counts; and sleep(10 ms) sleeps no less."""
    monkeypatch.setattr("septet.lab.trace.recorder.Switches", lambda pid: perf.Switches(pid, registers))
    with running("-c", SWITCHING) as process, Recorder(process.pid, frozenset()) as recorder:
        assert recorder.way == "switches"
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) == 2, "the thread has begun")
        (tid,) = set(map(int, os.listdir(f"/proc/{process.pid}/task"))) - {process.pid}
        for _ in range(10):  # on a very busy machine it hardly comes to sleep
            before, since = ran_ns(tid), time.monotonic_ns()
            recording = recorder.record(1.0)
            after, until = ran_ns(tid), time.monotonic_ns()
            (lane,) = (lane for lane in recording.lanes if lane.tid == tid)
            sleeps = [each for each in lane.intervals[1:-1] if each.state is State.SLEEP]
            if len(sleeps) >= 3:
                break
    assert len(sleeps) >= 3
    assert recording.lost == 0
    around = (until - since) - (recording.end - recording.start)  # between our readings and the recording
    running_ns = lane.total(State.RUNNING)  # the two are written down a moment apart at each switch
    assert 0.9 * (after - before - around) <= running_ns <= 1.1 * (after - before) + 1_000_000
    # Not all of them: time.sleep waits for an instant, so whoever is preempted on the way there sleeps less.
    assert median(each.end - each.start for each in sleeps) >= 9_900_000
    assert lane.total(State.UNKNOWN, State.GIL, State.BACKEND) == 0


def ran_ns(tid: int) -> int:
    return int(Path(f"/proc/{tid}/schedstat").read_text().split()[0])


@needs_switches
@pytest.mark.skipif(is_free_threaded(), reason="without a GIL no thread waits for it")
def test_gil(backend: str) -> None:
    """Of three threads that compute one has the GIL, and the others wait for it; of those that wait nobody does."""
    with running(str(WAITS), backend, "--spin") as process, Recorder(process.pid, frozenset()) as recorder:
        threads = told(process)["threads"]
        recording = recorder.record(1.0)
    lanes = {lane.tid: lane for lane in recording.lanes}
    for number in (1, 2, 3):
        lane = lanes[threads[f"spin {number}"]]
        assert lane.total(State.GIL) > 0
        assert lane.total(State.RUNNING, State.RUNNABLE, State.GIL, State.OTHER) == recording.end - recording.start
        assert lane.total(State.OTHER) < lane.total(State.GIL) / 2
    assert lanes[threads["lock: queue"]].total(State.LOCK) == recording.end - recording.start


FORKING = """
import os, threading
input()
for _ in range(3):
    child = os.fork()
    if not child:
        thread = threading.Thread(target=sum, args=([1],))
        thread.start()
        thread.join()
        os._exit(0)
    os.waitpid(child, 0)
print("done", flush=True)
input()
"""


@needs_switches
def test_what_a_process_starts_is_followed() -> None:
    with running("-c", FORKING) as process:
        switches = perf.Switches(process.pid)
        switches.begin()
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        assert process.stdout.readline() == "done\n"  # type: ignore[union-attr]
        switches.end()
        records = switches.drain()
        switches.close()
    born = [record for record in records if isinstance(record, Born)]
    assert [sum(record.tid == record.pid for record in born), len(born)] == [3, 6]
    assert {record.tid for record in born} <= {record.tid for record in records if isinstance(record, SwitchedIn)}
    assert {record.tid for record in born} <= {record.tid for record in records if isinstance(record, Died)}


PING_PONG = """
import os
a, b = os.pipe(), os.pipe()
if os.fork():
    while True: os.write(a[1], b"x"); os.read(b[0], 1)
while True: os.write(b[1], b"x"); os.read(a[0], 1)
"""


@needs_switches
def test_lost_records_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf, "_PAGES", (1,))
    with running("-c", PING_PONG) as process:
        switches = perf.Switches(process.pid)
        switches.begin()
        # A lost record is told of with the next one for which there is room.
        wait_until(lambda: switches.drain() is not None and switches.lost > 0, "the ring has overflown")
        switches.close()


@needs_switches
def test_what_the_kernel_says_of_a_call(backend: str) -> None:
    """The switch-out of a thread in sleep(3) carries the address and arguments that /proc shows for it."""
    with running("-c", SWITCHING) as process:
        switches = perf.Switches(process.pid)
        if not switches.registers:
            pytest.skip("the registers may not be read: kernel.perf_event_paranoid is above 1, or this is no x86-64")
        switches.begin()
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        calls = []

        def asleep() -> bool:
            calls.extend(record.call for record in switches.drain() if isinstance(record, SwitchedOut))
            words = Path(f"/proc/{process.pid}/syscall").read_text().split()
            return len(words) > 2 and (int(words[-1], 16), int(words[1], 16)) in {each[:2] for each in calls if each}

        wait_until(asleep, "the main thread's sleep is recorded")
        switches.close()


def test_samples_alone(backend: str) -> None:
    with (
        running(str(WAITS), backend) as process,
        Recorder(process.pid, frozenset([1]), "samples") as recorder,
    ):
        threads = told(process)["threads"]
        recording = recorder.record(0.3)
    assert (recording.way, recording.records) == ("samples", 0)
    lanes = {lane.tid: lane for lane in recording.lanes}
    length = recording.end - recording.start
    assert lanes[threads["sleep"]].total(State.SLEEP) == length
    assert all(sum(each.end - each.start for each in lane.intervals) == length for lane in recording.lanes)


def test_a_way_that_is_not_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("septet.lab.trace.recorder.Switches", refused)
    with Recorder(os.getsid(0), frozenset()) as recorder:
        assert recorder.way == "samples"
        assert "perf_event_paranoid" in recorder.record(0.01).obstacle
    with pytest.raises(Failed, match="perf_event_open: Permission denied"):
        Recorder(os.getsid(0), frozenset(), "switches")


def test_nobody_to_be_seen() -> None:
    with Recorder(2**30, frozenset(), "samples") as recorder, pytest.raises(Failed, match="no thread of the server"):
        recorder.record(0.01)
