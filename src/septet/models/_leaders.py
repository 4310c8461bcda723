"""The threads in which a WSGI application runs under poll, epoll and io_uring: a leader and its followers.

One thread, the leader, runs the loop: it moves the bytes of all clients, and what requests are complete it puts into a
queue, `due`. Then it runs the application for them, one after the other, in its own thread: most answers are ready
in less time than it takes to wake another thread. But an application may wait, for a database or for another server,
and the clients must not wait with it:

      leader   poll ─ bytes ─ run ─ run ─ run ┄┄┄ waits for a database ┄┄┄┄┄ ─ send ─> followers
                                              2 ms │
      watcher  ──────────────────────────────────> │ wakes a follower, which takes the baton
                                                   v
      follower ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ poll ─ bytes ─ run ─ run ─   (leads from here on)

While the application runs, the leader's baton lies on the table. When the application comes back, the leader takes the
baton up again and goes on. If it does not come back for 2 ms, the watcher wakes a follower, which takes the baton and
goes on with the loop exactly where it stood: the rest of `due` is there for it. The thread that was left
finishes its answer (that is its own, and stays on its thread), sends it, and is a follower from then on. Go's runtime
does this with its processors when a system call blocks; as a pattern it is Leader/Followers (Schmidt et al., 2000).

A path whose answers were waited for is remembered. The next request for it goes to a follower at once, and no client
waits those 2 ms; when it has been quick for a while, it is run by the leader again. What computes rather than waits is
not remembered: beside Python's global lock a thread of its own would slow it and the loop down.

The main thread is the watcher. It runs no application, so it hears signals at once.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Thread, get_ident, get_native_id
from typing import Any, Protocol

from septet import forked
from septet.http.events import Request
from septet.loop import ReadinessLoop
from septet.models._answer import Called
from septet.models._service import Stop
from septet.models._shortage import Shortage, reason
from septet.pollers import READABLE, Poll

log = logging.getLogger("septet")

TICK_S = 0.002
"""How often the watcher looks while answers are made. A call that it sees twice has lasted 2 to 4 ms."""

CALM_TICKS = 5
"""When no answer was being made in so many looks, the watcher sleeps until the next one begins."""

REMEMBERED_PATHS = 1024
REMEMBERED_PATH_BYTES = 256

QUICK_ANSWERS = 32
"""After so many quick answers in a row a path that was slow is quick again."""

QUICK_S = 0.001

ALONE_S = 1.0
"""How long a leader waits for a follower that moves the bytes instead."""

END_S = 1.0
"""For the leader to come out of the loop at the end."""


class Answering(Protocol):
    """A connection whose request is complete."""

    def answer(self, application: Called, call: Callable[..., Any]) -> None:
        """Run the application, calling its functions by `call`."""

    def await_room(self, timeout_s: float | None) -> None:
        """Wait until the loop has sent something of what was given for the client."""

    def make_room(self, timeout_s: float | None) -> None:
        """Wait until something can be sent, and send it."""


class Member:
    """One of the threads, which alone writes here; but any may take its baton."""

    __slots__ = ("_clock", "_leaders", "_schedstat", "baton", "leads", "request", "serial")

    def __init__(self, leaders: "Leaders") -> None:
        self._leaders = leaders
        self.baton: list[None] = []
        """Not empty while this thread leads and is in a call of the application."""
        self.leads = False
        self.request: Request | None = None
        """Which is answered while leading. (The connection may have come to its next one before `close` returns.)"""
        self.serial = 0
        """Grows with every answer that is made while leading."""
        self._clock = time.pthread_getcpuclockid(get_ident())
        try:
            self._schedstat = os.open(f"/proc/self/task/{get_native_id()}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # the kernel keeps no such figures (CONFIG_SCHED_INFO), or no descriptor is left
            self._schedstat = -1

    def forsake(self) -> None:
        if self._schedstat >= 0:
            os.close(self._schedstat)

    def wanted_cpu_s(self) -> float:
        """Seconds that this thread has run or was ready to run, though others had the processor; for any thread.

        On a busy machine a thread that computes may get nothing for many milliseconds, and seems to wait.
        """
        if self._schedstat < 0:
            return time.clock_gettime(self._clock)
        ran_ns, ready_ns, _ = os.pread(self._schedstat, 100, 0).split()  # proc_pid_schedstat(5)
        return (int(ran_ns) + int(ready_ns)) / 1e9

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of the application. The lead may be lost meanwhile: `leads` tells afterwards."""
        if not self.leads:
            return function(*arguments)
        self.baton.append(None)
        try:
            if self._leaders.watcher_sleeps:
                self._leaders.wake_watcher()
            return function(*arguments)
        finally:
            try:
                self.baton.pop()
            except IndexError:  # one of two threads gets it, and it was not this one
                self.leads = False


Due = deque[tuple[Any, Called, Request]]
"""Each an `Answering`, the application for it, and its request."""

Job = Callable[[Member], None]


class Leaders:
    """Runs a loop, and a WSGI application for what is `due`, at most `limit` requests at a time.

    Made and run by the main thread. The loop's callbacks put requests into `due`, in whatever thread leads; where
    another thread does so, it wakes the loop.
    """

    def __init__(
        self, loop: ReadinessLoop, due: Due, limit: int, stop: Stop, shortage: Shortage, done: Callable[[], None]
    ) -> None:
        self.order = stop.order_fileno
        self._done = done
        """Called by the leader, when the order to stop has come, after answers: perhaps they were the last."""
        self._loop = loop
        self._limit = limit
        self._stop = stop
        self._shortage = shortage
        self._due = due
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        """For followers."""
        self._lock = Lock()
        """Of the three counts."""
        self._away = 0
        """Answers that are made by threads other than the leader."""
        self._idle = 0
        """Followers that wait for a job, less the jobs that wait for a follower."""
        self._threads = 0
        self._members: dict[int, Member] = {}
        """By the thread's identity."""
        self._leader: Member | None = None
        self._slow: dict[bytes, int] = {}
        """Paths whose answers are waited for, and how many quick ones more will make each quick again."""
        self._relieving = False
        """A follower has been told to take the leader's baton, and has not come to it yet."""
        self._over = False
        self._left = Event()
        self._failure: BaseException | None = None
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.watcher_sleeps = False
        forked.register(self)

    def forsake(self) -> None:
        if self._alarm >= 0:
            os.close(self._alarm)
        for member in self._members.values():
            member.forsake()

    # What connections call, from any of the threads

    def leads(self) -> bool:
        """Whether the loop belongs to the calling thread now."""
        member = self._members.get(get_ident())
        return member is not None and member.leads

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None:
        """Wait until the loop has sent something for this connection; a follower leads meanwhile."""
        member = self._members[get_ident()]
        longest_s = ALONE_S if timeout_s is None else min(timeout_s, ALONE_S)
        member.call(connection.await_room, longest_s)
        if member.leads and longest_s == ALONE_S:  # the system gives no thread for a follower
            connection.make_room(timeout_s)

    @property
    def busy(self) -> bool:
        """Requests are being answered, or wait for that."""
        leader = self._leader
        return self._away > 0 or bool(self._due) or (leader is not None and leader.request is not None)

    def end(self) -> None:
        """Have `run` return."""
        self._over = True
        self.wake_watcher()

    # The main thread

    def run(self) -> None:
        """Serve until `end`. Raises what the loop raised, and RuntimeError when the system gives no thread at all."""
        self._threads = 1
        self._start(self._lead)
        while not self._over:
            try:
                self._watch()
            except (MemoryError, OSError) as error:
                self._shortage.tell(f"cannot watch the application: {reason(error)}", "the server goes on")
                time.sleep(TICK_S)
        self._left.wait(END_S)
        os.close(self._alarm)
        self._alarm = -1
        if self._failure is not None:
            raise self._failure

    def _watch(self) -> None:
        poller = Poll()
        poller.add(self._stop.fileno(), READABLE)
        poller.add(self._alarm, READABLE)
        seen: tuple[Member | None, int] = None, 0
        seen_cpu_s, calm = 0.0, 0
        while not self._over:
            for descriptor, _ in poller.wait(None if self.watcher_sleeps else TICK_S):
                self._hear(poller, descriptor)
            member = self._leader
            if member is None or not member.baton:
                calm += 1
                self._sleep_if(calm >= CALM_TICKS)
                continue
            calm = 0
            cpu_s = member.wanted_cpu_s()
            if seen == (member, member.serial) and not self._relieving:
                waits = cpu_s - seen_cpu_s < TICK_S / 2
                self._relieving = True
                if not self._assign(partial(self._relieve, member, member.serial, waits)):
                    self._relieving = False
            seen, seen_cpu_s = (member, member.serial), cpu_s

    def _sleep_if(self, calm: bool) -> None:
        if calm:
            self.watcher_sleeps = True
            member = self._leader
            if member is not None and member.baton:  # which it put down before it could see that the watcher sleeps
                self.watcher_sleeps = False

    def _hear(self, poller: Poll, descriptor: int) -> None:
        if descriptor == self._alarm:
            os.eventfd_read(self._alarm)
            self.watcher_sleeps = False
        elif self._stop.heard():
            poller.remove(descriptor)

    def wake_watcher(self) -> None:
        self.watcher_sleeps = False
        os.eventfd_write(self._alarm, 1)

    # Jobs and threads

    def _assign(self, job: Job) -> bool:
        """Give a follower something to do; False if there is none, and the system gives no more threads."""
        with self._lock:
            fresh = self._idle <= 0 and self._threads <= self._limit
            if fresh:
                self._threads += 1
            else:
                self._idle -= 1
        if not fresh:
            self._jobs.put(job)
            return True
        try:
            self._start(job)
        except RuntimeError as error:
            with self._lock:
                self._threads -= 1
            self._shortage.tell(f"cannot start a thread: {error}")
            return False
        return True

    def _start(self, job: Job) -> None:
        Thread(target=self._work, args=(job,), name=f"septet-{self._threads}", daemon=True).start()

    def _work(self, job: Job) -> None:
        """The life of a thread."""
        member = self._members[get_ident()] = Member(self)
        while True:
            try:
                job(member)
            except BaseException as error:  # of the loop: what the application raises does not come here
                if not isinstance(error, MemoryError):
                    self._failure = error
                    self.end()
                    self._left.set()
                    return
                self._shortage.tell("a step between two answers failed: out of memory", "the server goes on")
                if member.leads:
                    job = self._lead
                    continue
            del job  # an idle thread keeps nothing of what it has answered
            with self._lock:
                self._idle += 1
            job = self._jobs.get()

    # What threads do

    def _relieve(self, leader: Member, serial: int, waits: bool, me: Member) -> None:
        """Take the baton of a leader that is still in the call in which it was seen, and lead instead."""
        self._relieving = False
        if leader.serial != serial:
            return
        try:
            leader.baton.pop()
        except IndexError:  # the call has come back
            return
        request = leader.request
        if waits and request is not None:
            self._remember(request.path)
        with self._lock:
            self._away += 1
        self._lead(me)

    def _lead(self, me: Member) -> None:
        """Run the loop, and the application for what is due; until the end, or until a follower leads."""
        self._leader = me
        me.leads = True
        due, loop = self._due, self._loop
        while not self._over:
            for _ in range(len(due)):  # a client that sends its requests in one piece may add to them
                if self._away >= self._limit:
                    break
                try:
                    connection, application, request = due.popleft()
                except IndexError:  # a follower was quicker
                    break
                if self._slow and request.path in self._slow and self._send_away(connection, application, request.path):
                    continue
                me.serial += 1
                me.request = request
                connection.answer(application, me.call)
                me.request = None
                if not me.leads:
                    self._go_on_away(me)
                    return
            if self._stop.ordered:
                self._done()
            if due and self._away < self._limit:
                loop.call_soon(_nothing)  # look who else has come, without waiting
            loop.turn()
        me.leads = False
        self._left.set()

    def _send_away(self, connection: Answering, application: Called, path: bytes) -> bool:
        with self._lock:
            self._away += 1
        try:
            if self._assign(partial(self._answer_away, connection, application, path)):
                return True
        except MemoryError:
            pass
        with self._lock:
            self._away -= 1
        return False

    def _answer_away(self, connection: Answering, application: Called, path: bytes, me: Member) -> None:
        """Answer a request whose path is known to be slow."""
        began = time.monotonic()
        try:
            connection.answer(application, me.call)
            if time.monotonic() - began >= QUICK_S:
                self._remember(path)
            elif (left := self._slow.get(path, 0)) > 1:
                self._slow[path] = left - 1
            else:
                self._slow.pop(path, None)
        finally:
            self._go_on_away(me)

    def _go_on_away(self, me: Member) -> None:
        """Give the place back that an answer had beside the leader's; if it was the last, to the next that is due."""
        while True:
            following = None
            with self._lock:
                if self._away >= self._limit and self._due:
                    try:
                        following = self._due.popleft()
                    except IndexError:  # the leader was quicker
                        pass
            if following is None:
                break
            connection, application, _ = following
            connection.answer(application, me.call)
        with self._lock:
            self._away -= 1
        if self._due or self._stop.ordered:
            self._wake_leader()

    def _wake_leader(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._done if self._stop.ordered else _nothing)
        except RuntimeError:
            pass  # the loop was closed over this answer: its time was up

    def _remember(self, path: bytes) -> None:
        slow = self._slow
        if len(path) <= REMEMBERED_PATH_BYTES:
            slow.pop(path, None)
            slow[path] = QUICK_ANSWERS
            if len(slow) > REMEMBERED_PATHS:
                slow.pop(next(iter(slow)), None)


def _nothing() -> None:
    """Wakes the loop, or keeps it from waiting."""
