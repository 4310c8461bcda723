"""What `septet top` shows in terminals of different sizes."""

import io
from typing import Any

import pytest
from rich.console import Console

from septet.console.top import Top
from support.status import ERROR, a_status


def drawn(status: dict[str, Any], columns: int, lines: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that a terminal of this size shows."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    screen = Console(width=columns, record=True, file=io.StringIO())
    screen.print(Top(status).picture(status))
    return screen.export_text().rstrip("\n").split("\n")


def test_long_failure_is_whole_in_a_small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(a_status(), 80, 24, monkeypatch)
    assert len(shown) <= 24
    assert max(map(len, shown)) <= 80
    words = " ".join(" ".join(line.strip() for line in shown).split())
    assert words.count(ERROR) == 2, "as the last failure, and as an event"
    assert "the last reload failed" in words


def test_more_events_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(a_status(), 120, 40, monkeypatch)
    assert len(shown) <= 40
    assert sum(" ended by signal " in line for line in shown) == 11
    assert sum(" ms  200  GET /" in line for line in shown) == 8


def test_requests_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come before events, and those before the slowest requests."""
    status = a_status()
    request = {
        "pid": 7,
        "thread": None,
        "client": None,
        "method": "GET",
        "target": "/\x1b[2J",
        "status": 200,
        "begun": True,
        "client_ended": False,
    }
    status["running"] = [request | {"age_s": float(age_s)} for age_s in (90, 30, 9, 8, 7, 6, 0.5)]
    small = drawn(status, 80, 24, monkeypatch)
    assert len(small) <= 24
    head = next(index for index, line in enumerate(small) if line.startswith("in flight for 1 s and longer"))
    assert small[head].endswith("(and 2 more)")
    assert small[head + 1] == "  1.5 min  GET /\ufffd[2J, in process 7: 200, its answer has begun"
    large = drawn(status, 120, 50, monkeypatch)
    assert sum("in process 7" in line for line in large) == 6
    assert sum(" ms  200  GET /" in line for line in large) == 8


def test_failure_that_is_longer_than_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beginning and its end are shown."""
    status = a_status()
    status["orders"]["last"]["text"] = f"begins {'x ' * 300}{ERROR}"
    shown = drawn(status, 80, 24, monkeypatch)
    assert shown[1].startswith("the last reload failed at ")
    assert shown[1].endswith("…")
    assert " ".join(line.strip() for line in shown[2:4]).endswith(ERROR)
    assert len(shown) <= 24
