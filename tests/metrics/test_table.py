"""The table of metrics: rows of processes that come, go and are killed, and sums that never fall."""

import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from septet import forked
from septet.metrics.lanes import ANSWERS, BEAT_NS, BEGUN, INTERPRETER, LOST, PID, SENT, WORKER
from septet.metrics.table import Snapshot, Table

CHILDREN = 40


OPENED: list[int] = []
"""Descriptors of tables, which only the end of a process closes; here that of a test does."""


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPENED:
        os.close(OPENED.pop())


def new_table() -> Table:
    table = Table.with_row()
    OPENED.append(table.descriptor)
    return table


def other(table: Table) -> Table:
    """The table as another process has it."""
    OPENED.append(os.dup(table.descriptor))
    return Table(OPENED[-1])


def ended_process(table: Table, sent: int) -> int:
    """The row of a process that has counted so much."""
    number = table.allot()
    process = other(table)
    process.occupy(number, WORKER)
    process.row[SENT] += sent
    return number


@pytest.fixture
def table() -> Table:
    return new_table()


def sent(snapshot: Snapshot) -> int:
    return int(snapshot.total[SENT])


def test_sum_of_all_rows(table: Table) -> None:
    ended_process(table, 3)
    table.row[SENT] += 4
    assert sent(table.snapshot()) == 7
    assert sent(other(table).snapshot()) == 7


def test_a_thousand_processes_come_and_go(table: Table) -> None:
    living = [ended_process(table, 1) for _ in range(5)]
    for count in range(1000):
        living.append(ended_process(table, 1))
        table.retire(living.pop(0))
        assert len(table.snapshot().rows) == 6
        assert sent(table.snapshot()) == 6 + count
    assert max(living) < 10, "rows are given out again"


def test_forked_processes_that_end_or_are_killed(table: Table) -> None:
    rows = {}
    for index in range(CHILDREN):
        number = table.allot()
        child = forked.fork()
        if not child:
            table.occupy(number, WORKER)
            table.row[SENT] += 1
            if index % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        rows[child] = number
    seen = 0
    for child, number in rows.items():
        os.waitpid(child, 0)
        assert sent(table.snapshot()) >= seen
        seen = sent(table.snapshot())
        table.retire(number)
    assert sent(table.snapshot()) == CHILDREN
    assert len(table.snapshot().rows) == 1


def test_requests_in_flight_of_an_ended_process_are_lost(table: Table) -> None:
    number = ended_process(table, 0)
    process = other(table)
    process.occupy(number, WORKER)
    process.row[BEGUN] += 5
    process.row[ANSWERS + 3] += 3
    table.retire(number)
    assert table.snapshot().total[LOST] == 2


def test_rows_of_a_killed_parent(table: Table) -> None:
    number = ended_process(table, 3)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    other(table)._lanes[number * (len(table.row)) + PID] = child
    table.retire_ended()
    assert [row.lanes[PID] for row in table.snapshot().rows] == [os.getpid()]
    assert sent(table.snapshot()) == 3


def test_row_stays_allotted_to_a_child_that_has_not_occupied_it_yet(table: Table) -> None:
    number = table.allot()
    table.retire_ended()
    assert table.allot() != number
    table.retire(number)
    assert table.allot() == number, "the child could not be forked"


class Killed(BaseException):
    """Stands for SIGKILL: the process makes no further step."""


def killed_at_step(step: int, table: Table, number: int) -> bool:
    """Retire the row, but go no further than so many lines of the table's code. False: it had fewer lines."""
    left = step

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith("metrics/table.py") or frame.f_code.co_name == "_exclusive":
            return None
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise Killed
        return trace

    sys.settrace(trace)
    try:
        table.retire(number)
    except Killed:
        return True
    finally:
        sys.settrace(None)
    return False


def test_killed_at_any_step_of_a_move() -> None:
    """Whatever the reader sees then, and after the next process has gone on, is the right sum."""
    step = 0
    while True:
        table = new_table()
        table.retire(ended_process(table, 5))
        number = ended_process(table, 3)
        table.row[SENT] += 1
        if not killed_at_step(step, table, number):
            break
        assert sent(other(table).snapshot()) == 9, f"killed at step {step}"
        successor = other(table)
        successor.retire(ended_process(successor, 2))
        assert sent(successor.snapshot()) == 11, f"killed at step {step}"
        step += 1
    assert step > 10


def interpreter(table: Table) -> Table:
    """The table as another interpreter of this process has it, with a row of its own."""
    number = table.allot_to_interpreter()
    own = other(table)
    own.occupy(number, INTERPRETER)
    return own


def test_a_process_and_its_interpreters_are_one_row(table: Table) -> None:
    first, second = interpreter(table), interpreter(table)
    table.row[SENT], first.row[SENT], second.row[SENT] = 1, 2, 4
    first.row[BEAT_NS], second.row[BEAT_NS], table.row[BEAT_NS] = 300, 200, 400
    found = table.snapshot()
    assert [row.number for row in found.rows] == [table.number]
    assert (sent(found), found.rows[0].lanes[SENT]) == (7, 7)
    assert found.rows[0].lanes[BEAT_NS] == 200, "the process stands still if one of them does"


def test_rows_of_interpreters_stay_while_their_process_runs_and_go_with_it(table: Table) -> None:
    first = interpreter(table)
    first.row[SENT] = 2
    table.retire_ended()
    assert sent(table.snapshot()) == 2
    assert len(table.snapshot().rows) == 1
    number = table.allot()
    reading, writing = os.pipe()
    child = forked.fork()
    if not child:
        table.occupy(number, WORKER)
        own = interpreter(table)
        own.row[SENT], own.row[BEGUN] = 5, 1
        os.write(writing, b"x")
        signal.pause()
        os._exit(0)
    assert os.read(reading, 1) == b"x"
    assert [row.lanes[SENT] for row in table.snapshot().rows] == [2, 5]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert table.in_flight_of_process(number) == 1, "what the interpreter had begun is lost"
    table.retire(number)
    found = table.snapshot()
    assert [row.lanes[SENT] for row in found.rows] == [2]
    assert (sent(found), found.total[LOST]) == (7, 1)
    for descriptor in (reading, writing):
        os.close(descriptor)
