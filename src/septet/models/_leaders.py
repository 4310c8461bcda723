"""The threads in which a WSGI application runs under poll, epoll and io_uring: a leader and its followers.

One thread, the leader, runs the loop: it moves the bytes of all clients, and what requests are complete it puts into a
queue, `due`. Then it runs the application for them, one after the other, in its own thread: most answers are ready
in less time than it takes to wake another thread. But an application may wait, for a database or for another server,
and the clients must not wait with it:

      leader   poll ─ bytes ─ run ─ run ─ run ┄┄┄ waits for a database ┄┄┄┄┄ ─ send ─> followers
                                              2 ms │
      watcher  ──────────────────────────────────> │ wakes a follower, which takes the lead_offer
                                                   v
      follower ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ poll ─ bytes ─ run ─ run ─   (leads from here on)

While the application runs, the leader's lead_offer lies on the table. When the application comes back, the leader takes the
lead_offer up again and goes on. If it does not come back for 2 ms, the watcher wakes a follower, which takes the lead_offer and
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
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Lock, Thread, get_ident
from typing import Any

from septet import forked
from septet.loop import ReadinessLoop
from septet.models._member import Answering, Due, Job, Member, Promotion, ThreadStart
from septet.pollers import READABLE, Poll
from septet.processes.orders import Stop
from septet.processes.resource_exhaustion import ResourceExhaustion, reason

log = logging.getLogger("septet")

TICK_S = 0.002
"""How often the watcher looks while answers are made. A call that it sees twice has lasted 2 to 4 ms."""

IDLE_TICKS = 5
"""When no answer was being made in so many looks, the watcher sleeps until the next one begins."""

REMEMBERED_PATHS = 1024
REMEMBERED_PATH_BYTES = 256

QUICK_ANSWERS = 32
"""After so many quick answers in a row a path that was slow is quick again."""

QUICK_S = 0.001

MAX_FAILURES = 8
"""In a row: then the loop is broken, and not only its thread struck by an exception of another one."""

REPAIR_DELAY_S = 0.1

FOLLOWER_WAIT_S = 1.0
"""How long a leader waits for a follower that moves the bytes instead."""

END_S = 1.0
"""For the leader to come out of the loop at the end."""


class Leaders:
    """Runs a loop, and a WSGI application for what is `due`, at most `limit` requests at a time.

    Made and run by the main thread. The loop's callbacks put requests into `due`, in whatever thread leads; where
    another thread does so, it wakes the loop.
    """

    def __init__(
        self,
        loop: ReadinessLoop,
        due: Due,
        limit: int,
        stop: Stop,
        exhaustion: ResourceExhaustion,
        done: Callable[[], None],
        repair: Callable[[], None],
    ) -> None:
        self.order = stop.order_fileno
        self._repair = repair
        """Called by the leader, when an exception may have kept the loop from something."""
        loop.set_exception_handler(self._loop_failed)
        self._done = done
        """Called by the leader, when the order to stop has come, after answers: perhaps they were the last."""
        self._loop = loop
        self._limit = limit
        self._stop = stop
        self._exhaustion = exhaustion
        self._due = due
        self._jobs: deque[Job] = deque()
        """For followers."""
        self._job_signal: SimpleQueue[None] = SimpleQueue()
        """That there are jobs."""
        self._lock = Lock()
        """Of the three counts."""
        self._busy_followers = 0
        """Answers that are made by threads other than the leader, or wait for one."""
        self._idle_followers = 0
        """Followers that wait for a job."""
        self._threads = 0
        self._members: dict[int, Member] = {}
        """By the thread's identity."""
        self._leader: Member | None = None
        self._slow: dict[bytes, int] = {}
        """Paths whose answers are waited for, and how many quick ones more will make each quick again."""
        self._promoting = False
        """A follower has been told to take the leader's lead_offer, and has not come to it yet."""
        self._ended = False
        self._loop_ended = Event()
        self._failures = 0
        """Of the leader, in a row, since the loop has last come through a turn."""
        self._failure: BaseException | None = None
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.watcher_sleeps = False
        forked.register(self)

    def close_in_child(self) -> None:
        if self._alarm >= 0:
            os.close(self._alarm)
        for member in self._members.values():
            member.close()

    # What connections call, from any of the threads

    def leads(self) -> bool:
        """Whether the loop belongs to the calling thread now."""
        member = self._members.get(get_ident())
        return member is not None and member.leads

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None:
        """Wait until the loop has sent something for this connection; a follower leads meanwhile."""
        member = self._members[get_ident()]
        longest_s = FOLLOWER_WAIT_S if timeout_s is None else min(timeout_s, FOLLOWER_WAIT_S)
        member.call(connection.await_room, longest_s)
        if member.leads and longest_s == FOLLOWER_WAIT_S:  # the system gives no thread for a follower
            connection.make_room(timeout_s)

    @property
    def busy(self) -> bool:
        """Requests are being answered, or wait for that."""
        leader = self._leader
        return self._busy_followers > 0 or bool(self._due) or (leader is not None and leader.request is not None)

    def end(self) -> None:
        """Have `run` return."""
        self._ended = True
        self.wake_watcher()

    # The main thread

    def run(self) -> None:
        """Serve until `end`. Raises what the loop raised, and RuntimeError when the system gives no thread at all."""
        self._threads = 1
        self._start(ThreadStart())
        while not self._ended:
            try:
                self._watch()
            except (MemoryError, OSError) as error:
                self._exhaustion.report(f"cannot watch the application: {reason(error)}", "the server goes on")
                time.sleep(TICK_S)
        for _ in range(self._threads):  # which end, if they are idle
            self._job_signal.put(None)
        self._loop_ended.wait(END_S)
        os.close(self._alarm)
        self._alarm = -1
        if self._failure is not None:
            raise self._failure

    def _watch(self) -> None:
        poller = Poll()
        poller.add(self._stop.fileno(), READABLE)
        poller.add(self._alarm, READABLE)
        seen: tuple[Member | None, int] = None, 0
        seen_cpu_s, idle_ticks = 0.0, 0
        while not self._ended:
            for descriptor, _ in poller.wait(None if self.watcher_sleeps else TICK_S):
                self._handle_event(poller, descriptor)
            member = self._leader
            if member is None or not member.lead_offer:
                idle_ticks += 1
                self._sleep_if(idle_ticks >= IDLE_TICKS)
                continue
            idle_ticks = 0
            cpu_s = member.wanted_cpu_s()
            if seen == (member, member.serial) and not self._promoting:
                waits = cpu_s - seen_cpu_s < TICK_S / 2
                self._promoting = True
                if not self._assign(Promotion(member, member.serial, waits)):
                    self._promoting = False
            seen, seen_cpu_s = (member, member.serial), cpu_s

    def _sleep_if(self, idle: bool) -> None:
        if idle:
            self.watcher_sleeps = True
            member = self._leader
            if member is not None and member.lead_offer:  # offered before it could see that the watcher sleeps
                self.watcher_sleeps = False

    def _handle_event(self, poller: Poll, descriptor: int) -> None:
        if descriptor == self._alarm:
            os.eventfd_read(self._alarm)
            self.watcher_sleeps = False
        elif self._stop.drain_and_check():
            poller.remove(descriptor)

    def wake_watcher(self) -> None:
        self.watcher_sleeps = False
        os.eventfd_write(self._alarm, 1)

    # Jobs and threads

    def _assign(self, promotion: Promotion | None, giver: Member | None = None) -> bool:
        """Have a follower relieve the leader, or answer what its `giver` has, and count that as away. False if there is
        no follower, and the system gives no more threads."""
        start = ThreadStart()
        job: Job = promotion, giver.item if giver is not None else None
        try:
            with self._lock:
                # As many jobs as followers that will take them?
                if len(self._jobs) >= self._idle_followers and self._threads <= self._limit:
                    start.counted = True
                    self._threads += 1
                self._jobs += (job,)
                if giver is not None:
                    giver.item = None
                    self._busy_followers += 1
            if start.counted:
                self._start(start)
            else:
                self._job_signal.put(None)
        except BaseException as error:
            given = self._withdraw(start, job, giver)
            if not isinstance(error, RuntimeError):
                raise
            self._exhaustion.report(f"cannot start a thread: {error}")
            return given
        return True

    def _withdraw(self, start: ThreadStart, job: Job, giver: Member | None) -> bool:
        """Whether there is nothing to be taken back: a thread has begun, or another one has taken the job."""
        with self._lock:
            if start.began:
                return True
            if start.counted and not start.void:
                start.void = True
                self._threads -= 1
            if job not in self._jobs:
                return True
            self._jobs.remove(job)
            if giver is not None:
                giver.item = job[1]
                self._busy_followers -= 1
        return False

    def _start(self, start: ThreadStart) -> None:
        Thread(target=self._run_thread, args=(start,), name=f"septet-{self._threads}", daemon=True).start()

    def _run_thread(self, start: ThreadStart) -> None:
        while True:
            try:
                self._work(start)
                return
            except BaseException:  # at the one place where `_work` does not expect it
                pass

    def _work(self, start: ThreadStart) -> None:
        """The life of a thread. What the application raises does not come here, but what other threads raise in this
        one does (PyThreadState_SetAsyncExc), at any call; and what the loop raises.

        It has cost the request that was answered. What a thread is to do and what it counts for stands in its `Member`
        and changes in stretches without a call, so the thread can go on from there.
        """
        failure: BaseException | None = None
        while not self._failure:
            try:
                if failure is not None:
                    self._recover(failure)
                    failure = None
                me = self._member(start)
                if me is None:
                    return
                while not (self._ended and me.has_no_work()):
                    self._do_next(me)
                me.close()
                return
            except BaseException as error:
                failure = error  # and nothing else: there is the next round for that, in which another one may come

    def _member(self, start: ThreadStart) -> Member | None:
        """What the thread is; None if it has begun too late."""
        with self._lock:
            if start.void:
                return None
            start.began = True
        identity = get_ident()
        me = self._members.get(identity)
        if me is None:
            me = Member(self)
            me.leads = self._leader is None  # the first one
            self._members[identity] = me
        return me

    def _do_next(self, me: Member) -> None:
        if me.leads:
            self._lead(me)
        elif me.item is not None:
            self._answer_as_follower(me)
        elif me.counted_busy:
            self._finish_as_follower(me)
        elif me.promotion is not None:
            self._promote(me)
        else:
            self._await_job(me)

    def _await_job(self, me: Member) -> None:
        """Take a job, or wait until there may be one."""
        with self._lock:
            if self._jobs:
                me.promotion, me.item = self._jobs[0]
                me.counted_busy = me.item is not None
                del self._jobs[0]
                if me.counted_idle:
                    me.counted_idle = False
                    self._idle_followers -= 1
                return
            if not me.counted_idle:
                me.counted_idle = True
                self._idle_followers += 1
        self._job_signal.get()

    def _recover(self, failure: BaseException) -> None:
        """Set right what the exception may have left undone. Ends the server if the loop cannot go on."""
        if forked.by_application:
            forked.exit_child(failure)
        me = self._members.get(get_ident())
        if me is None:
            return
        if me.item is not None:
            me.item[0].abandon()
            me.item = None
        me.request = None
        for _ in self._jobs:
            self._job_signal.put(None)
        if not me.leads:
            self._wake_leader()  # which may wait for this, and for what this was about to tell it
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._repair)
            log.error("a thread failed, and goes on", exc_info=failure)
            return
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._failure = failure
            self.end()
            self._loop_ended.set()
            return
        self._repair()
        log.error("a thread failed, and goes on", exc_info=failure)

    def _loop_failed(self, loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback of ours raised, and may have left something undone."""
        loop.call_later(REPAIR_DELAY_S, self._repair)
        loop.default_exception_handler(context)

    # What threads do

    def _promote(self, me: Member) -> None:
        assert me.promotion is not None
        leader, serial, waits = me.promotion
        with self._lock:
            self._promoting = False
            me.promotion = None
            if leader.serial != serial:
                return
            try:
                del leader.lead_offer[0]
            except IndexError:  # the call has come back
                return
            leader.leads = False
            leader.counted_busy = True
            self._busy_followers += 1
            me.leads = True
            self._leader = me
        request = leader.request
        if waits and request is not None:
            self._remember_slow(request.path)

    def _lead(self, me: Member) -> None:
        """Run the loop, and the application for what is due; until the end, or until a follower leads."""
        self._leader = me
        due, loop = self._due, self._loop
        while not self._ended:
            if due and not self._answer_due(me):
                return
            if self._stop.ordered:
                self._done()
            if due and self._busy_followers < self._limit:
                loop.call_soon(_wake_loop)  # look who else has come, without waiting
            loop.turn()
            self._failures = 0
        me.leads = False
        self._loop_ended.set()

    def _answer_due(self, me: Member) -> bool:
        """Whether this thread still leads. (Here, and not in `_lead`, for while that waits nothing is to be kept.)"""
        due = self._due
        for _ in range(len(due)):  # a client that sends its requests in one piece may add to them
            if self._busy_followers >= self._limit:
                break
            try:
                # Without a call, so that what is taken is never lost; for other threads it is one step, too.
                me.item = connection, application, request = due[0]
                del due[0]
            except IndexError:  # a follower was quicker
                break
            if self._slow and request.path in self._slow and self._hand_to_follower(me):
                continue
            me.serial += 1
            me.request = request
            connection.answer(application, me.call)
            me.item = me.request = None
            if not me.leads:
                return False
        return True

    def _hand_to_follower(self, me: Member) -> bool:
        return self._assign(None, me)

    def _answer_as_follower(self, me: Member) -> None:
        """Answer a request whose path is known to be slow."""
        assert me.item is not None
        connection, application, request = me.item
        began = time.monotonic()
        connection.answer(application, me.call)
        me.item = None
        path = request.path
        if time.monotonic() - began >= QUICK_S:
            self._remember_slow(path)
        elif (left := self._slow.get(path, 0)) > 1:
            self._slow[path] = left - 1
        else:
            self._slow.pop(path, None)

    def _finish_as_follower(self, me: Member) -> None:
        """Give the place back that an answer had beside the leader's; if it was the last, to the next that is due."""
        with self._lock:
            if self._busy_followers >= self._limit and self._due:  # the leader may be quicker
                me.item = self._due[0]
                del self._due[0]
            else:
                me.counted_busy = False
                self._busy_followers -= 1
        if me.item is None:
            if self._due or self._stop.ordered:
                self._wake_leader()
            return
        connection, application, _ = me.item
        connection.answer(application, me.call)
        me.item = None

    def _wake_leader(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._done if self._stop.ordered else _wake_loop)
        except RuntimeError:
            pass  # the loop was closed over this answer: its time was up

    def _remember_slow(self, path: bytes) -> None:
        slow = self._slow
        if len(path) <= REMEMBERED_PATH_BYTES:
            slow.pop(path, None)
            slow[path] = QUICK_ANSWERS
            if len(slow) > REMEMBERED_PATHS:
                slow.pop(next(iter(slow)), None)


def _wake_loop() -> None:
    """Wakes the loop, or keeps it from waiting."""
