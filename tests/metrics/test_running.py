"""Requests in flight, as their process describes them in its row of the table."""

import os
import time

from septet.metrics import running, slow
from septet.metrics.lanes import ANSWERS, ANSWERS_END, BEGUN, PID, RUNNING, WORKER
from septet.metrics.observer import SPARSE, RequestMetrics
from septet.metrics.table import Table
from septet.rules import Rules
from support.carrier import Watched, ok, write_all
from support.messages import render


class Unread(Watched):
    def unread_ms(self) -> None:
        return None


def begin(session: Unread, target: str) -> None:
    session.trail.clear()
    session.receive(render("GET", target))


def answer(session: Unread) -> None:
    session.respond(ok(), b"hello", True)
    write_all(session)


def busy() -> RequestMetrics:
    """Metrics of a process with so many requests that only one in SPARSE is measured."""
    metrics = RequestMetrics(Table.with_row())
    session = Unread(Rules(observer=metrics))
    while not metrics._sparse or metrics.began == metrics._begin_measured:
        begin(session, "/")
        answer(session)
    return metrics


def record_of(target: str, table: Table) -> slow.Record:
    """On a busy machine requests that `busy` has made may have taken longer."""
    (found,) = [each for each in table.slowest() if each["target"] == target]
    return found


def targets(table: Table) -> list[str]:
    return [each["target"] for each in table.running()]


def test_request_that_lasts_in_a_busy_process_is_seen() -> None:
    metrics = busy()
    table, session = metrics._table, Unread(Rules(observer=metrics))
    metrics._flush_at_ns = 1 << 62
    begin(session, "/lasts")
    assert not metrics._measured
    metrics.note_running()
    assert targets(table) == [], "it has only been seen now"
    time.sleep(running.LEAST_NS / 1e9)
    metrics.note_running()
    assert targets(table) == ["/lasts"]
    assert table.row[BEGUN] - sum(table.row[ANSWERS:ANSWERS_END]) == 1
    answer(session)
    metrics.note_running()
    assert targets(table) == []
    assert table.row[BEGUN] == sum(table.row[ANSWERS:ANSWERS_END])
    slowest = record_of("/lasts", table)
    assert (slowest["target"], slowest["status"], slowest["outcome"]) == ("/lasts", 200, "answered")


def test_client_that_leaves_a_busy_process() -> None:
    metrics = busy()
    session = Unread(Rules(observer=metrics))
    begin(session, "/lasts")
    metrics.note_running()
    time.sleep(running.LEAST_NS / 1e9)
    session.lose()
    session.close()
    slowest = record_of("/lasts", metrics._table)
    assert (slowest["target"], slowest["status"], slowest["outcome"]) == ("/lasts", None, "client left")


def test_quick_requests_are_not_described() -> None:
    metrics = busy()
    sessions = [Unread(Rules(observer=metrics)) for _ in range(2 * SPARSE)]
    for session in sessions:
        begin(session, "/quick")
    metrics.note_running()
    for session in sessions:
        answer(session)
    metrics.note_running()
    assert metrics._table.row[RUNNING] == 0
    assert not metrics._seen


def test_oldest_without_an_answer_come_first_and_there_is_an_end_to_the_room() -> None:
    """Streams that have begun leave room for requests that have no answer yet."""
    metrics = RequestMetrics(Table.with_row())
    rules = Rules(observer=metrics)
    streams = [Unread(rules) for _ in range(2 * running.MOST)]
    for stream in streams:
        begin(stream, "/stream")
        stream.respond(ok(), b"", False)
    waiting = [Unread(rules) for _ in range(3)]
    for session in waiting:
        begin(session, "/waits" + "x" * 200)
    time.sleep(running.LEAST_NS / 1e9)
    metrics.note_running()
    found = metrics._table.running()
    assert len(found) <= running.MOST
    assert [each["target"] for each in found[-3:]] == [("/waits" + "x" * 200)[: running.LONGEST_TARGET]] * 3
    assert [each["age_s"] for each in found] == sorted((each["age_s"] for each in found), reverse=True)


def test_text_that_is_being_changed_is_ignored() -> None:
    table = Table.with_row()
    began_ns = time.monotonic_ns() - running.LEAST_NS
    running.write(table.row, [[began_ns, "GET", "/", None, None, 0, False]])
    assert [(each["pid"], each["target"]) for each in table.running()] == [(os.getpid(), "/")]
    for length in (7, (1 << 32) - 1):
        table.row[RUNNING] = table.row[RUNNING] >> 32 << 32 | length
        assert table.running() == []


def test_row_of_the_next_process_describes_nothing() -> None:
    table = Table.with_row()
    number = table.allot()
    process = Table(os.dup(table.descriptor))
    process.occupy(number, WORKER)
    running.write(process.row, [[time.monotonic_ns() - running.LEAST_NS, "GET", "/", None, None, 0, False]])
    process.row[PID] = (1 << 22) + 1  # a process that has ended: no pid is that large
    table.retire(number)
    assert table.allot() == number
    assert table.running() == []
