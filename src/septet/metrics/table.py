"""A table of counters in shared memory: a row for each process of the server, and a row for all that have ended.

Each process writes to its own row, without a lock and without a system call. When a process has ended, its parent adds
its row to the row of the ended ones, and frees it for another process. So a sum over all rows never falls, however many
processes come and go, and however they end: a process that is killed loses nothing that it has counted.

Adding a row to another is not one step, and the process that does it may be killed in between. So the ended processes
have two rows, of which one is current, and one word of the table says which it is and which row is just being moved:

    1. the row that is not current is set to the current one plus the row that is moved
    2. the word changes: the other one is current, and the moved row is not counted any more
    3. the moved row is cleared
    4. the word changes: no row is being moved

If the process that moves a row is killed before step 2, nothing has happened; if it is killed after step 2, the next
move begins with step 3. The word is 64 bits and aligned, so it changes at once. A reader that finds another word after
it has read the rows reads them again.

Rows are summed as one large integer each, since its columns (lanes) of 64 bits do not overflow into each other: counts
do not reach 2**63. That adds a thousand rows in a millisecond.

A process with several interpreters has a row for each of them besides its own, because each has a lock of its own, so
that two of them cannot add to one lane. These rows are retired with the row of the process.

The memory is a memfd, so that the program that replaces this one at an upgrade (signal USR2) can be given its
descriptor. The kernel gives pages only to rows that are written to.
"""

import errno
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_UN, lockf
from mmap import mmap
from threading import Lock
from time import monotonic_ns

from septet import forked
from septet.metrics import running, slow
from septet.metrics.lanes import (
    ABORTED,
    ANSWERS,
    ANSWERS_END,
    BEAT_NS,
    BEGUN,
    CHILD,
    COUNTERS,
    COUNTERS_END,
    FIRST_PAGE_LANES,
    INTERPRETER,
    KIND,
    LOST,
    PID,
    ROW_BYTES,
    ROW_LANES,
    SERVER,
    SLOW,
    STARTED_NS,
)

ROWS = 1 << 14
"""Number of rows in the table: two for the processes that have ended, one for the control words below, and the rest for
living processes.
"""

READ_ATTEMPTS = 100
"""How often a reader starts again because rows were moved while it read. After that, its result may contain one row
twice or not at all.
"""

_WORD = 0
"""Column of the row with control words: (a count of changes << 32) | (the row that is being moved << 1) | which of the
two rows of ended processes is current.
"""
_HIGHEST = 1
"""Column of the row with control words: the number of the highest row that was ever given out."""
_ENDED = (1, 2)
_FIRST = 3

_COUNTERS = slice(COUNTERS * 8, COUNTERS_END * 8)
_FIRST_PAGE_BYTES = FIRST_PAGE_LANES * 8
_MOVING = (1 << 31) - 1


@dataclass(slots=True, frozen=True)
class Row:
    """A copy of the row of one living process."""

    number: int
    lanes: memoryview
    """The 64-bit integers in the row's first page; `metrics.lanes` says what each means."""


@dataclass(slots=True, frozen=True)
class Snapshot:
    """A copy of the whole table at one time."""

    total: memoryview
    """The sum of all rows, column by column. The columns from COUNTERS to COUNTERS_END are sums over all processes that
    ever had a row.
    """
    rows: tuple[Row, ...]


class Table:
    """The table, and the row of this process (`row`). `allot` and `retire` are for the main thread of a process that
    forks; a signal handler that interrupts one of them may call `retire`.
    """

    def __init__(self, descriptor: int = -1) -> None:
        """Open the table of another process by its `descriptor`, or make a new one. Raises OSError."""
        is_new = descriptor < 0
        self.descriptor = os.memfd_create("septet-metrics", os.MFD_CLOEXEC) if is_new else descriptor
        if is_new:
            os.ftruncate(self.descriptor, ROWS * ROW_BYTES)
        self._mapped = -1
        """The descriptor that `mmap` has of its own; -1 if it has none."""
        if sys.version_info >= (3, 13):
            memory = mmap(self.descriptor, ROWS * ROW_BYTES, trackfd=False)
        else:
            memory = mmap(self.descriptor, ROWS * ROW_BYTES)
            self._mapped = _duplicate_of(self.descriptor)
        self._bytes = memoryview(memory)
        self._lanes = self._bytes.cast("Q")
        self._free: list[int] = []
        """Numbers of rows that this process has given out and freed again."""
        self._lock = Lock()
        """Held while this process changes the table or copies it. A file lock (lockf(3)) excludes changes by other
        processes.
        """
        self._busy = False
        """True while this process is changing the table, in `allot` or `retire`. If a signal handler interrupts such a
        call and calls `retire`, the handler's call only notes the row, and the interrupted call retires it.
        """
        self._to_move: deque[int] = deque()
        if is_new:
            self._lanes[_HIGHEST] = _FIRST - 1
        self.number = 0
        self.row = memoryview(bytearray(ROW_BYTES)).cast("Q")
        """The row of this process: 64-bit integers, by the indices in `metrics.lanes`. No other process writes to
        it.
        """
        forked.register(self)

    @classmethod
    def with_row(cls) -> "Table":
        """Return a new table in which this process has a row. Raises OSError."""
        table = cls()
        table.occupy(table.allot(), SERVER)
        return table

    def close_in_child(self) -> None:
        """Called in a child that the application has forked: count in private memory from now on."""
        self.number = 0
        self.row = memoryview(bytearray(ROW_BYTES)).cast("Q")
        with suppress(OSError):
            os.close(self.descriptor)
        if self._mapped >= 0:
            # Not closed, because `mmap` will close this number, which may be that of a file of the child's by then.
            with open(os.devnull, "rb") as null:
                os.dup2(null.fileno(), self._mapped, inheritable=False)

    def allot(self) -> int:
        """Return the number of a free row for a process that is about to be forked. Raises OSError (EAGAIN) if there is
        none.
        """
        with self._exclusive():
            number = self._find_free()
            if number > self._lanes[_HIGHEST]:
                self._lanes[_HIGHEST] = number
            self._lanes[number * ROW_LANES + PID] = os.getpid()
            return number

    def _find_free(self) -> int:
        lanes = self._lanes
        while self._free:
            number = self._free.pop()
            if not lanes[number * ROW_LANES + PID]:
                return number
        highest = lanes[_HIGHEST]
        for number in range(_FIRST, highest + 1):
            if not lanes[number * ROW_LANES + PID]:
                return number
        if highest + 1 == ROWS:
            raise OSError(errno.EAGAIN, "there are too many processes")
        return highest + 1

    def occupy(self, number: int, kind: int) -> None:
        """Count in this row from now on. kind: what the process is, an index in `metrics.lanes.KINDS`. Called in the
        process for which the row was allotted.
        """
        self._lock = Lock()  # another thread of the parent may have held the old one during the fork
        self._busy = False
        self._free.clear()
        self.number = number
        row = self._lanes[number * ROW_LANES : (number + 1) * ROW_LANES]
        row[KIND] = kind
        row[STARTED_NS] = monotonic_ns()
        row[PID] = os.getpid()
        self.row = row

    def take_over(self, number: int) -> None:
        """Continue to count in the row of this process, which the previous program occupied before execve(2)."""
        self.number = number
        self.row = self._lanes[number * ROW_LANES : (number + 1) * ROW_LANES]

    def allot_to_interpreter(self) -> int:
        """Return the number of a free row for an interpreter of this process. Raises OSError (EAGAIN) if there is
        none.
        """
        number = self.allot()
        self._lanes[number * ROW_LANES + KIND] = INTERPRETER
        return number

    def _rows_of(self, number: int) -> list[int]:
        """Return the numbers of all rows of a row's process: its own, and those of its interpreters."""
        pid = self._lanes[number * ROW_LANES + PID]
        if self.kind(number) == CHILD or not pid:
            return [number]
        kinds = self._lanes[KIND::ROW_LANES]
        pids = self._lanes[PID::ROW_LANES]
        others = [each for each in range(_FIRST, self._lanes[_HIGHEST] + 1) if kinds[each] == INTERPRETER]
        return [number, *(each for each in others if each != number and pids[each] == pid)]

    def retire(self, number: int) -> None:
        """Add a row to the sums of ended processes and free it: its process has ended, or could not be forked."""
        self._to_move += self._rows_of(number)
        if self._busy:  # a signal handler has interrupted this class: what it has interrupted goes on with the row
            return
        with self._exclusive():
            self._move_all()

    def retire_ended(self) -> None:
        """Add the rows of certain processes to the sums of ended processes, and free the rows: of those that have ended
        and were not reaped by their parent, because the parent has ended, too.
        """
        pids, own = self._lanes[PID::ROW_LANES], os.getpid()
        with self._exclusive():
            # Of these, those that live are left alone: see `_has_ended`. A row of this process's pid may be one that a
            # child is about to occupy.
            self._to_move += [number for number in self._living() if pids[number] != own]

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._busy = True
        try:
            with self._lock:
                lockf(self.descriptor, LOCK_EX)
                try:
                    self._complete_move()
                    yield
                    self._move_all()
                finally:
                    lockf(self.descriptor, LOCK_UN)
        finally:
            self._busy = False

    def _move_all(self) -> None:
        while self._to_move:
            number = self._to_move.popleft()
            if self._has_ended(number):
                self._move(number)
                self._free.append(number)

    def _has_ended(self, number: int) -> bool:
        """True if the row's process has ended, or if this process allotted the row to a child and could not fork it.
        False if another process has already retired the row.
        """
        pid = self._lanes[number * ROW_LANES + PID]
        if pid == os.getpid():
            return number != self.number and self.kind(number) != INTERPRETER
        return pid != 0 and not os.path.exists(f"/proc/{pid}")

    def _move(self, number: int) -> None:
        """Add a row to the sums of ended processes, in the steps that the module's docstring describes."""
        current = self._lanes[_WORD] & 1
        row = self._lanes[number * ROW_LANES : (number + 1) * ROW_LANES]
        if in_flight := self.in_flight(number):
            row[LOST] += in_flight
            row[ABORTED] += in_flight
        total = self._sum(_ENDED[current]) + self._sum(number)
        ended = self._bytes[_ENDED[1 - current] * ROW_BYTES :][_COUNTERS]
        ended[:] = total.to_bytes(len(ended), "little")
        self._keep_slow(row, in_flight)
        self._set_word(number, 1 - current)
        self._clear(number)
        self._set_word(0, 1 - current)

    def in_flight(self, number: int) -> int:
        """Return how many requests the process of a row has in flight, or had when it ended."""
        row = self._lanes[number * ROW_LANES : (number + 1) * ROW_LANES]
        return max(0, row[BEGUN] - row[ABORTED] - sum(row[ANSWERS:ANSWERS_END]))

    def in_flight_of_process(self, number: int) -> int:
        """Return the sum of `in_flight` over a row and those of the interpreters of its process."""
        return sum(map(self.in_flight, self._rows_of(number)))

    def kind(self, number: int) -> int:
        """Return what the process of a row is, one of the indices of `metrics.lanes.KINDS`."""
        return self._lanes[number * ROW_LANES + KIND]

    def aborted(self) -> int:
        """Return how many requests of all processes, past and present, were not answered. Rows of processes that have
        ended are added to the sums of ended processes first, so that their requests in flight are included.
        """
        self.retire_ended()
        return self.snapshot().total[ABORTED]

    def _keep_slow(self, row: memoryview, in_flight: int) -> None:
        """Copy the slowest requests in the row of a process that has ended to the row of ended processes, and with them
        those that the process had in flight (`in_flight`: how many), as requests that its end has cut.
        """
        cut = [slow.cut_by_end(request) for request in running.read(row)[:in_flight]] if in_flight else []
        if row[SLOW] or cut:
            ended = self._lanes[_ENDED[0] * ROW_LANES : (_ENDED[0] + 1) * ROW_LANES]
            slow.write(ended, slow.slowest([*slow.read(ended), *slow.read(row), *cut]))

    def running(self) -> list[running.Request]:
        """Return the requests that the processes have in flight, as `metrics.running` describes, the oldest first; some
        of each process only, if it has many.
        """
        rows = [self._lanes[number * ROW_LANES : (number + 1) * ROW_LANES] for number in self._living()]
        return sorted((each for row in rows for each in running.read(row)), key=lambda each: -each["age_s"])

    def slowest(self) -> list[slow.Record]:
        """Return the slowest requests of the last minutes, of all processes."""
        numbers = [_ENDED[0], *self._living()]
        rows = [self._lanes[number * ROW_LANES : (number + 1) * ROW_LANES] for number in numbers]
        return slow.slowest([record for row in rows for record in slow.read(row)])

    def _complete_move(self) -> None:
        """If a process was killed while it moved a row, complete that move. Called before any other change of the
        table.
        """
        word = self._lanes[_WORD]
        if moving := word >> 1 & _MOVING:
            self._clear(moving)
            self._set_word(0, word & 1)

    def _set_word(self, moving: int, current: int) -> None:
        count = (self._lanes[_WORD] >> 32) + 1 & 0xFFFFFFFF
        self._lanes[_WORD] = count << 32 | moving << 1 | current

    def _clear(self, number: int) -> None:
        start = number * ROW_BYTES
        self._bytes[start + 8 : start + _FIRST_PAGE_BYTES] = bytes(_FIRST_PAGE_BYTES - 8)  # the other has only text
        self._lanes[number * ROW_LANES + PID] = 0  # last: from now on the row is free

    def _sum(self, number: int) -> int:
        return int.from_bytes(self._bytes[number * ROW_BYTES :][_COUNTERS], "little")

    def snapshot(self) -> Snapshot:
        """Return a copy of the whole table. Any thread may call it."""
        with self._lock:
            for _ in range(READ_ATTEMPTS):
                word = self._lanes[_WORD]
                moving = word >> 1 & _MOVING
                rows = [self._copy(number) for number in self._living() if number != moving]
                ended = self._sum(_ENDED[word & 1])
                if self._lanes[_WORD] == word:
                    break
        total = ended + sum(int.from_bytes(row.lanes.cast("B")[_COUNTERS], "little") for row in rows)
        lanes = bytearray(ROW_BYTES)
        lanes[_COUNTERS] = total.to_bytes(_COUNTERS.stop - _COUNTERS.start, "little")
        return Snapshot(memoryview(lanes).cast("Q"), tuple(_of_processes(rows)))

    def _living(self) -> list[int]:
        pids = self._lanes[PID::ROW_LANES]
        return [number for number in range(_FIRST, self._lanes[_HIGHEST] + 1) if pids[number]]

    def _copy(self, number: int) -> Row:
        start = number * ROW_BYTES
        return Row(number, memoryview(bytearray(self._bytes[start : start + _FIRST_PAGE_BYTES])).cast("Q"))


def _duplicate_of(descriptor: int) -> int:
    """Return another descriptor of this process for the file that has this one; -1 if none is found."""
    file = os.fstat(descriptor)
    with suppress(OSError):  # there may be no /proc
        for number in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError):  # the descriptor by which the directory was read
                if number != descriptor and os.path.samestat(os.fstat(number), file):
                    return number
    return -1


def _of_processes(rows: list[Row]) -> list[Row]:
    """Return a row for each process: its own, with the counts of its interpreters added. The time when it last showed
    that it is not stuck is the earliest of its interpreters' times, because a process stands still if one of its
    interpreters does.
    """
    interpreters = [row.lanes for row in rows if row.lanes[KIND] == INTERPRETER]
    if not interpreters:
        return rows
    processes = [row for row in rows if row.lanes[KIND] != INTERPRETER]
    for lanes in (row.lanes for row in processes):
        own = [each for each in interpreters if each[PID] == lanes[PID]]
        if not own:
            continue
        counters = lanes.cast("B")[_COUNTERS]
        whole = sum(int.from_bytes(each.cast("B")[_COUNTERS], "little") for each in (lanes, *own))
        counters[:] = whole.to_bytes(len(counters), "little")
        lanes[BEAT_NS] = min((each[BEAT_NS] for each in own if each[BEAT_NS]), default=0)
    return processes
