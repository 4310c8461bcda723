"""The threads in which a WSGI application runs under poll, epoll and io_uring: a leader and its followers.

One thread, the leader, runs the loop: it moves the bytes of all clients, and puts requests that are complete into a
queue, `due`. Then it runs the application for them, one after the other, in its own thread: most answers are ready
in less time than it takes to wake another thread. But an application may wait, for a database or for another server,
and the clients must not wait with it:

      leader   poll ─ bytes ─ run ─ run ─ run ┄┄┄ waits for a database ┄┄┄┄┄ ─ send ─> followers
                                              2 ms │
      watcher  ──────────────────────────────────> │ promotes a follower
                                                   v
      follower ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ poll ─ bytes ─ run ─ run ─   (leads from here on)

While a call of the application lasts, the leader offers the lead (`Member.lead_offer`). When the call returns, the
leader withdraws the offer and goes on. If the call does not return for 2 ms, the watcher promotes a follower: that
accepts the offer and goes on with the loop exactly where it stood; the rest of `due` is there for it. The former leader
finishes its answer (each answer stays on one thread), sends it, and is a follower from then on. Go's runtime does this
with its processors when a system call blocks; as a pattern it is Leader/Followers (Schmidt et al., 2000).

A path whose answers made the leader wait is remembered. The next request for it goes to a follower at once, so that no
client waits those 2 ms; after some quick answers in a row the leader runs it again (`_slow_paths`). A call that
computes rather than waits is not remembered: because of Python's global lock, a thread of its own would slow it and the
loop.

The main thread is the watcher (`_watcher`). It runs no application, so it handles signals at once.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Lock, current_thread, get_ident

from septet import forked
from septet.errors import Failed
from septet.loop import ReadinessLoop
from septet.models._member import Answering, Due, Job, Member, Promotion, ThreadStart
from septet.models._slow_paths import SlowPaths
from septet.models._watcher import TICK_S, Watcher
from septet.processes.orders import Stop
from septet.processes.resource_exhaustion import ResourceExhaustion, reason
from septet.thread import ServerThread

log = logging.getLogger("septet")

LOOP_THREADS = "septet-loop-"
"""Prefix of the names of the threads that run the event loops of a process that has several (`_loops`)."""

MAX_FAILURES = 8
"""The server ends after this many exceptions in a row in the thread that runs the loop (the leader): then the loop
itself is broken, and not just interrupted by an exception of another thread.
"""

FOLLOWER_WAIT_S = 1.0
"""Seconds that the leader, the thread that runs the loop, waits for another thread to take over the loop when
the client of its answer is slow. If none has by then, the leader waits for the client's socket and sends the
output itself.
"""

END_S = 1.0
"""Seconds that the main thread waits, at the end of the server, for the leader, the thread that runs the loop,
to leave the loop; after that it ends anyway.
"""


class Leaders:
    """Runs a loop, and a WSGI application for the requests in the queue `due`, at most `limit` of them at a time.

    It is made and run by the main thread, or by the thread of one of several loops (`_loops`). The loop's callbacks
    put requests into `due`, in the leader, the thread that runs the loop; another thread that does so must wake the
    loop.
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
        """Called by the leader, the thread that runs the loop, when an exception may have interrupted a callback of the
        loop.
        """
        self._done = done
        """Called after answers by the leader, the thread that runs the loop, once the order to stop has come: to check
        whether they were the last.
        """
        self._loop = loop
        self._limit = self.capacity = limit
        self._stop = stop
        self._exhaustion = exhaustion
        self._due = due
        self._jobs: deque[Job] = deque()
        """Jobs (`Job`) that no follower, a thread that does not run the loop, has taken yet, oldest first: orders to
        run the loop, and requests to answer.
        """
        self._job_signal: SimpleQueue[None] = SimpleQueue()
        """Wakes followers, threads that wait for a job: each takes one element, so each element that is put wakes one
        of them.
        """
        self._lock = Lock()
        """Guards `_jobs`, `_busy_followers`, `_idle_followers` and `_threads`, the change of the leader, and taking
        from `due`, which a leader and a follower may do at the same time. Adding to `due`, and looking whether it is
        empty, needs no lock.
        """
        self._busy_followers = 0
        """Number of requests that threads other than the leader, which runs the loop, have been given and have not
        finished: those that are being answered, and those that no thread has taken yet.
        """
        self._idle_followers = 0
        """Number of followers, threads that do not run the loop, that wait for a job."""
        self._threads = 0
        """Number of threads that were started: the leader, which runs the loop, and its followers."""
        self._members: dict[int, Member] = {}
        """The state of each thread that runs the application, by its `get_ident()`."""
        self.leader: Member | None = None
        """The thread that runs the loop; None before the first has begun."""
        self._slow = SlowPaths()
        self.on_full: Callable[[bool], None] | None = None
        """A function that the thread that runs the loop calls: with True when as many requests are being answered as
        `limit` allows, with False when another one may begin. None: nothing is called.
        """
        self._told_full = False
        """The last value that `on_full` was called with."""
        self.promoting = False
        """True if a follower has been told to run the loop from now on, and has not begun yet."""
        self.ended = False
        """True once `end` was called."""
        self._loop_ended = Event()
        self._failures = 0
        """Exceptions in a row in the thread that runs the loop, since the loop last completed an iteration."""
        self._failure: BaseException | None = None
        self._watcher = Watcher(self, stop)
        name = current_thread().name
        self._name = name if name.startswith(LOOP_THREADS) else "septet"
        """The beginning of the names of the threads."""
        forked.register(self)

    def close_in_child(self) -> None:
        self._watcher.close()
        for member in self._members.values():
            member.close()

    # What connections call, from any thread

    def leads(self) -> bool:
        """True if the calling thread is the leader, which runs the loop, and cannot lose that role now. False also for
        the leader while it is in a call of the application, for then another thread may take over the loop at any
        moment.
        """
        member = self._members.get(get_ident())
        if member is None or not member.leads:
            return False
        with self._lock:  # a follower takes the offer and the lead while it holds the lock
            return member.leads and not member.lead_offer

    def wait_for_room(self, connection: Answering, timeout_s: float | None) -> None:
        """Block until the loop has sent some of this connection's output, or until the shorter of `timeout_s` (None:
        no time-out) and FOLLOWER_WAIT_S seconds have passed. The caller checks whether there is room, and calls again
        if not.

        Called by the thread that runs the application. If that is the leader, the thread that runs the loop, another
        thread takes over the loop meanwhile; if none can, the leader waits for the socket and sends the output itself.
        A thread of the application's own, which never runs the loop, may call this, too.
        """
        member = self._members.get(get_ident())
        longest_s = FOLLOWER_WAIT_S if timeout_s is None else min(timeout_s, FOLLOWER_WAIT_S)
        if member is None:
            connection.await_room(longest_s)
            return
        member.call(connection.await_room, longest_s)
        with self._lock:
            leads = member.leads
        if leads and longest_s == FOLLOWER_WAIT_S:  # there is no follower: the system gives no thread
            connection.make_room(timeout_s)

    @property
    def busy(self) -> bool:
        """True if requests are being answered, or wait to be."""
        leader = self.leader
        return self._busy_followers > 0 or bool(self._due) or (leader is not None and leader.request is not None)

    def end(self) -> None:
        """Have `run` return soon. May be called by any thread."""
        self.ended = True
        self._watcher.wake()

    # The main thread

    def run(self) -> None:
        """Serve until `end` is called. Called in the main thread, or in the thread of one of several loops. Raises the
        exception that has ended the loop, if one has, and Failed if the system gives no thread at all.
        """
        self._threads = 1
        first = ThreadStart()
        while not self.ended:
            try:
                self._watch(first)
            except BaseException:  # raised at the one place where `_watch` does not catch it
                if not first.began:
                    raise
        self._loop_ended.wait(END_S)
        if not self._stop.has_signals:  # the program goes on. In a process that ends now, threads rather keep waiting
            for _ in range(self._threads):
                self._job_signal.put(None)
        self._watcher.close()
        if self._failure is not None:
            raise self._failure

    def _watch(self, first: ThreadStart) -> None:
        """Start the first thread, and run the watcher (`_watcher`) until `end` is called. If a signal handler of the
        application raises, that is reported and the watcher is run again. Raises Failed if the system gives no first
        thread.
        """
        failure: BaseException | None = None
        while not self.ended:
            try:
                if failure is not None:
                    self._exhaustion.report(f"cannot watch the application: {reason(failure)}", "the server goes on")
                    time.sleep(TICK_S)
                    failure = None
                if not first.began:
                    self._start(first)
                self._watcher.run()
            except BaseException as error:  # a signal handler of the application's may have raised it
                if forked.by_application:
                    forked.exit_child(error)
                if isinstance(error, RuntimeError) and not first.began:
                    raise Failed(f"cannot start a thread: {error}") from None
                failure = error  # no call here, for the next signal could interrupt it: the next round handles it

    # Jobs and threads

    def _assign(self, promotion: Promotion | None, giver: Member | None = None) -> bool:
        """Give a job to a thread that does not run the loop: the order `promotion` to take over the loop, or else the
        request that the thread `giver` holds (`giver.item`). A new thread is started if no idle one is left. Returns
        False, with nothing changed, if the system gives no thread.
        """
        start = ThreadStart()
        job: Job = promotion, giver.item if giver is not None else None
        try:
            with self._lock:
                # Is there a job for every idle follower already?
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

    def assign_promotion(self, promotion: Promotion) -> bool:
        """Give `promotion`, the order to run the loop from now on, to a thread that does not run it. Returns False if
        there is no such thread, and the system gives no new one. Called when a call of the application keeps the thread
        that runs the loop for too long.
        """
        return self._assign(promotion)

    def _withdraw(self, start: ThreadStart, job: Job, giver: Member | None) -> bool:
        """Take `job` back after the thread that was to do it could not be started. Returns False when it was taken
        back, and `giver` has its request again; True if the job will be done after all, because the thread has begun or
        another one has taken the job.
        """
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
        ServerThread(self._run_thread, f"{self._name}-{self._threads}", (start,)).start()

    def _run_thread(self, start: ThreadStart) -> None:
        while True:
            try:
                self._work(start)
                return
            except BaseException:  # raised at the one place where `_work` does not catch it
                pass

    def _work(self, start: ThreadStart) -> None:
        """What a thread does from its start to its end: as the leader it runs the loop; as a follower it answers
        requests and waits for jobs. Its `Member` says which of the two it is.

        Exceptions of the application are handled elsewhere. Those that another thread raises in this one
        (PyThreadState_SetAsyncExc), at any call, come here, and so do those of the loop. Each costs the request that
        was being answered, but the thread can go on, because its `Member` is never left half changed: it is changed
        only between calls.
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
                while not (self.ended and me.has_no_work()):
                    self._do_next(me)
                me.close()
                return
            except BaseException as error:
                failure = error  # no call here, for another exception could interrupt it: the next round handles it

    def _member(self, start: ThreadStart) -> Member | None:
        """Return the state (`Member`) of the calling thread, which is made at its first call. Returns None if the job
        for which the thread was started was taken back (`_withdraw`): then the thread must end.
        """
        with self._lock:
            if start.void:
                return None
            start.began = True
        identity = get_ident()
        me = self._members.get(identity)
        if me is None:
            me = Member(self._watcher)
            me.leads = self.leader is None  # the first thread begins as the leader
            self._members[identity] = me
        return me

    def _do_next(self, me: Member) -> None:
        """Do the next piece of work that the state of this thread, `me`, asks for; if there is none, wait for a job."""
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
        """Take a job (`Job`) if there is one; else block until another thread announces one, and return, so that the
        caller tries again. Called in a thread that does not run the loop.
        """
        with self._lock:
            if me.counted_busy:  # a follower has just taken the lead from this thread
                return
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
        """Repair what the exception `failure` may have interrupted in this thread: its request is given up and its
        client's connection closed, and the loop checks all connections. Ends the server after MAX_FAILURES in a row in
        the thread that runs the loop.
        """
        if forked.by_application:
            forked.exit_child(failure)
        me = self._members.get(get_ident())
        if me is None:
            return
        if me.item is not None:
            me.item[0].abandon()
            me.item = None
        me.request = None
        for _ in range(len(self._jobs)):
            self._job_signal.put(None)
        if not me.leads:
            self._wake_leader()  # the exception may have come before this thread could do so
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._repair)
            log.error("a thread failed, and goes on", exc_info=failure)
            return
        if isinstance(failure, MemoryError):
            time.sleep(TICK_S)  # others may give some back; it is no reason to end
        else:
            self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._failure = failure
            self.end()
            self._loop_ended.set()
            return
        self._repair()
        log.error("a thread failed, and goes on", exc_info=failure)

    # What threads do

    def _promote(self, me: Member) -> None:
        """Take over the loop from the leader, the thread that runs it, as the order `me.promotion` says. Does nothing
        but drop the order if the leader makes another answer by now, or is in no call of the application. Called by a
        follower, a thread that does not run the loop.
        """
        assert me.promotion is not None
        leader, serial, waits = me.promotion
        with self._lock:
            self.promoting = False
            me.promotion = None
            if leader is not self.leader or leader.serial != serial:
                return
            try:
                del leader.lead_offer[0]
            except IndexError:  # the call has returned, and the offer is withdrawn
                return
            leader.leads = False
            leader.counted_busy = True
            self._busy_followers += 1
            me.leads = True
            self.leader = me
        request = leader.request
        if waits and request is not None:
            self._slow.remember(request.path)

    def _lead(self, me: Member) -> None:
        """Run the loop, and the application for the requests in `due`, until the server ends or another thread has
        taken over the loop.
        """
        self.leader = me
        due, loop = self._due, self._loop
        while not self.ended:
            if due and not self._answer_due(me):
                return
            if self._stop.ordered:
                self._done()
            full = self._busy_followers >= self._limit
            if full is not self._told_full and self.on_full is not None:
                with self._lock:  # a follower that ends an answer sees the flag, or is seen here
                    full = self._told_full = self._busy_followers >= self._limit
                self.on_full(full)
            if due and not full:
                loop.call_soon(_wake_loop)  # the loop looks for events, and does not wait
            loop.turn()
            self._failures = 0
        me.leads = False
        self._loop_ended.set()

    def _answer_due(self, me: Member) -> bool:
        """Run the application for the requests in `due`. Returns False if another thread has taken over the loop
        meanwhile, else True. (This is not part of `_lead`, because a local variable there would keep the last request
        alive while the loop waits.)
        """
        due = self._due
        for _ in range(len(due)):  # answers may add to them, where a client pipelines
            if self._busy_followers >= self._limit:
                break
            try:
                with self._lock:
                    # Without a call, so that no exception of another thread can lose the item between the two.
                    me.item = connection, application, request = due[0]
                    del due[0]
            except IndexError:  # a follower has taken it
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
        """Answer the request that this thread, `me`, was given, because the request's path is remembered as slow and
        another thread runs the loop. Note how long the answer took.
        """
        assert me.item is not None
        connection, application, request = me.item
        began = time.monotonic()
        connection.answer(application, me.call)
        me.item = None
        self._slow.answered(request.path, time.monotonic() - began)

    def _finish_as_follower(self, me: Member) -> None:
        """Called when this thread, `me`, has made an answer while another thread runs the loop. If as many requests
        are being answered as `limit` allows, and another one waits in `due`, this thread answers that request; else it
        is no longer counted as busy.
        """
        with self._lock:
            if self._busy_followers >= self._limit and self._due:  # else the leader has taken what was due
                me.item = self._due[0]
                del self._due[0]
            else:
                me.counted_busy = False
                self._busy_followers -= 1
            told_full = self._told_full
        if me.item is None:
            if self._due or self._stop.ordered or told_full:
                self._wake_leader()
            return
        connection, application, _ = me.item
        connection.answer(application, me.call)
        me.item = None

    def _wake_leader(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._done if self._stop.ordered else _wake_loop)
        except RuntimeError:
            pass  # the loop was closed while this answer was made: the time for a graceful stop was up


def _wake_loop() -> None:
    """A callback that does nothing; scheduling it makes the loop return from its wait."""
