"""From traces to rows, shares, words and files; the traces are made up."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import pytest

from septet.lab.threads.states import Interval, State
from septet.lab.trace import captions, perfetto, report, share_table
from septet.lab.trace.colours import LOOKS
from septet.lab.trace.recorder import Recording
from septet.lab.trace.requests import Request, Turn
from septet.lab.trace.rows import busiest, cut, names, pack, rows
from septet.lab.trace.share_table import columns, shares
from septet.lab.trace.timeline import Lane
from septet.lab.trace.tracing import Trace, TracePlan

MS = 1_000_000
START, END = 1000 * MS, 1100 * MS
LEADER = 7


def lane(pid: int, tid: int, *intervals: tuple[int, int, State]) -> Lane:
    return Lane(pid, tid, [Interval(START + start * MS, START + end * MS, state) for start, end, state in intervals])


def trace(*lanes: Lane, requests: tuple[Request, ...] = (), way: str = "switches", lost: int = 0) -> Trace:
    recording = Recording(way, START, END, lanes, lost, 1234, {LEADER: 5 * MS})
    return Trace("threaded", ["septet", "serve"], LEADER, recording, list(requests))


def request(user: int, asked: int, answered: int, *turns: tuple[int, int], tid: int = LEADER) -> Request:
    own = tuple(Turn(LEADER, tid, START + start * MS, START + end * MS) for start, end in turns)
    return Request(user, START + asked * MS, START + answered * MS, 200, START + asked * MS, None, own)


MAIN = lane(LEADER, LEADER, (0, 20, State.ACCEPT), (20, 30, State.RUNNING), (30, 100, State.ACCEPT))
POOL = lane(LEADER, 8, (0, 50, State.GIL), (50, 100, State.RUNNING))
UNUSED = lane(LEADER, 9, (0, 100, State.LOCK))
SHORT = lane(LEADER, 20, (20, 40, State.RUNNING))
LATER = lane(LEADER, 21, (40, 60, State.RUNNING))
BESIDE = lane(LEADER, 22, (30, 50, State.RUNNING))


def test_a_row_for_each_thread_that_ran_and_each_user() -> None:
    found, notes = rows(trace(UNUSED, POOL, MAIN, requests=(request(2, 10, 20), request(1, 10, 20))))
    assert [(row.name, row.user) for row in found] == [
        ("main thread", False),
        ("thread 1", False),
        ("user 1", True),
        ("user 2", True),
    ]
    assert notes == ["1 more thread never ran"]


def test_threads_that_pass_share_rows() -> None:
    found, _ = rows(trace(MAIN, LATER, BESIDE, SHORT))
    assert [row.name for row in found] == ["main thread", "threads, row 1", "threads, row 2"]
    assert [each.start for each in found[1].intervals] == [SHORT.intervals[0].start, LATER.intervals[0].start]
    assert pack([]) == []


def test_processes_that_pass() -> None:
    child = lane(50, 50, (20, 40, State.RUNNING))
    assert [row.name for row in rows(trace(MAIN, child))[0]] == ["main thread", "processes, row 1"]


def test_names_of_several_processes() -> None:
    lanes = [MAIN, lane(30, 30), lane(30, 31), lane(40, 40)]
    assert names(lanes, LEADER) == ["parent", "process 1, main thread", "process 1, thread 1", "process 2"]
    assert names(lanes[1:], LEADER)[-1] == "process 2"


def test_no_more_rows_than_can_be_read() -> None:
    many = [lane(LEADER, 100 + number, (0, 100, State.RUNNING)) for number in range(40)]
    users = tuple(request(user, 10, 20) for user in range(1, 21))
    found, notes = rows(trace(MAIN, *many, requests=users))
    assert len(found) == 24 + 12
    assert notes == ["17 more threads are not drawn", "8 more users are not drawn"]


def test_where_nobody_watched_threads_are_known_by_their_turns() -> None:
    found, _ = rows(trace(requests=(request(1, 5, 20, (8, 15), (90, 95)),), way="spans"))
    assert [row.name for row in found] == ["main thread", "user 1"]
    assert {each.state for each in found[0].intervals} == {State.APPLICATION}


def test_rows_that_are_empty_in_a_stretch_are_left_out() -> None:
    found = cut(rows(trace(MAIN, SHORT))[0], START + 70 * MS, START + 80 * MS)
    assert [row.name for row in found] == ["main thread"]
    assert found[0].intervals == (Interval(START + 70 * MS, START + 80 * MS, State.ACCEPT),)


def test_busiest_stretch() -> None:
    requests = [request(1, 5, 15), request(2, 50, 55), request(3, 53, 59), request(1, 54, 95)]
    start, end = busiest(requests, START, END, 10 * MS)
    assert (start, end) == (START + 50 * MS - MS // 5, START + 60 * MS - MS // 5)
    assert busiest(requests, START, END, 500 * MS) == (START, END)
    assert busiest([], START, END, 10 * MS) == (START, START + 10 * MS)


def test_the_margin_of_the_busiest_stretch_costs_it_no_request() -> None:
    requests = [request(1, 10, 20), request(2, 20, 109), request(3, 60, 108)]
    end = START + 300 * MS
    assert busiest(requests, START, end, 100 * MS) == (START + 9 * MS, START + 109 * MS)  # a margin of 2 ms loses one


def test_shares() -> None:
    assert shares(MAIN.intervals, START + 10 * MS, START + 30 * MS) == {State.ACCEPT: 0.5, State.RUNNING: 0.5}
    parts = list(columns(MAIN.intervals, START, END, 5))
    assert [part for _, _, part in parts] == [
        {State.ACCEPT: 1.0},
        {State.RUNNING: 0.5, State.ACCEPT: 0.5},
        {State.ACCEPT: 1.0},  # three that are equal
    ]
    assert [(start - START) // MS for start, _, _ in parts] == [0, 20, 40]
    assert parts[-1][1] == END


def test_table() -> None:
    lines = share_table.table([trace(MAIN, POOL)])
    assert lines == [
        ["model", "thread", "running", "GIL", "idle"],
        ["threaded", "main thread", "10.0 %", "", "90.0 %"],
        ["threaded", "thread 1", "50.0 %", "50.0 %", ""],
    ]
    assert share_table.text(lines).splitlines()[1] == "threaded  main thread   10.0 %          90.0 %"


def test_words() -> None:
    one = trace(MAIN, POOL, requests=(request(1, 10, 12), request(2, 10, 16), request(1, 20, 24)))
    crew, said = captions.model(one).split("; ")
    assert crew == "2 threads, running 60% of the time together"
    assert said == "3 requests in 0.1 s, 4.0 ms each (median)"
    assert captions.method([one.recording]).endswith("1,234 records, none lost")
    assert captions.method([trace(MAIN, lost=5).recording]).endswith("5 MORE WERE LOST")
    assert "/proc" in captions.method([trace(MAIN, way="samples").recording])
    assert "server alone" in captions.method([trace(way="spans").recording])
    assert "different ways" in captions.method([one.recording, trace(way="spans").recording])
    assert captions.title(TracePlan(users=3)) == "Who runs, who waits: 3 users of the guestbook"


def test_every_state_has_a_look_and_a_label() -> None:
    assert set(LOOKS) == set(State)
    assert len({state.label for state in State}) == len(State)


@pytest.fixture
def busy() -> Trace:
    asked = [(user, 10 * number + user) for user in (1, 2) for number in range(9)]
    requests = [request(user, since, since + 5, (since + 1, since + 4), tid=8) for user, since in asked]
    return trace(MAIN, POOL, SHORT, LATER, requests=tuple(requests))


def test_files(busy: Trace, tmp_path: Path) -> None:
    written = report.save([busy], TracePlan(), 30.0, ["septet", "trace", "<odd>"], tmp_path)
    assert [path.name for path in written] == [
        "trace.html",
        "zoom.svg",
        "zoom.png",
        "overview.svg",
        "overview.png",
        "threaded.perfetto.json",
        "trace.json",
    ]
    for name in ("zoom", "overview"):
        svg = (tmp_path / f"{name}.svg").read_text()
        drawn = "".join(ElementTree.fromstring(svg).itertext())
        for word in ("main thread", "threads, row 1", "user 2", "runs on a CPU", "waits for the GIL", "none lost"):
            assert word in drawn
        assert LOOKS[State.RUNNING].colour in svg
        assert "prefers-color-scheme: dark" in svg
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    recorded = json.loads((tmp_path / "trace.json").read_text())
    assert recorded["models"][0]["shares"][1]["GIL"] == "50.0 %"
    assert recorded["machine"]["cpu"]


def test_page_asks_nobody_for_anything(busy: Trace, tmp_path: Path) -> None:
    report.save([busy], TracePlan(), 30.0, ["septet", "trace", "<odd>"], tmp_path)
    html = (tmp_path / "trace.html").read_text()
    assert html.count("<svg") == 2
    assert "&lt;odd&gt;" in html
    assert "<odd>" not in html
    assert "default-src 'none'" in html
    without_names = html.replace("http://www.w3.org/", "")  # the namespaces of SVG, which nobody fetches
    assert not re.search(r"https?://|@import|url\((?!#)|<script|<link", without_names)


def test_perfetto_file(busy: Trace, tmp_path: Path) -> None:
    """What the Trace Event Format asks of complete events, as Perfetto's importer takes it."""
    perfetto.save(busy, tmp_path / "file.json", {"septet": "1"})
    document = json.loads((tmp_path / "file.json").read_text())
    assert document["displayTimeUnit"] in ("ms", "ns")
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    named: dict[tuple[int, int], str] = {}
    for event in document["traceEvents"]:
        assert type(event["pid"]) is type(event["tid"]) is int
        assert isinstance(event["name"], str)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            named[event["pid"], event["tid"]] = event["args"]["name"]
        else:
            assert event["ph"] == "X"
            assert isinstance(event["cat"], str)
            assert event["dur"] >= 0
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert tracks.keys() <= named.keys()
    assert sorted(named.values()) == ["main thread", "thread 1", "thread 2", "thread 3", "user 1", "user 2", "users"]
    for spans in tracks.values():
        assert_nested(spans)
    assert sum(end - start for start, end in tracks[LEADER, LEADER]) == pytest.approx(100_000)


def assert_nested(spans: list[tuple[float, float]]) -> None:
    """On a track any two events follow one another, or one lies within the other; outer ones come first."""
    open_ends: list[float] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        while open_ends and open_ends[-1] <= start + 1e-6:
            open_ends.pop()
        assert not open_ends or end <= open_ends[-1] + 1e-6
        open_ends.append(end)
