"""The Date and Server lines of answers."""

import re
from email.utils import parsedate_to_datetime
from time import time

import pytest

from septet import date_and_server as subject
from septet.date_and_server import date_and_server_fields


def test_date_is_now_in_the_preferred_form() -> None:
    """RFC 9110 sections 5.6.7 and 6.6.1: IMF-fixdate."""
    line = date_and_server_fields("")(True, False).decode()
    assert re.fullmatch(r"Date: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n", line)
    assert abs(parsedate_to_datetime(line[6:]).timestamp() - time()) < 3


@pytest.mark.parametrize(
    ("server", "date", "named", "lines"),
    [
        ("septet", True, True, ["Date", "Server: septet"]),
        ("septet", False, True, ["Server: septet"]),
        ("septet", True, False, ["Date"]),
        ("septet", False, False, []),
        ("", True, True, ["Date"]),
        ("", False, True, []),
    ],
)
def test_lines_that_are_asked_for(server: str, date: bool, named: bool, lines: list[str]) -> None:
    got = date_and_server_fields(server)(date, named).decode()
    assert [re.sub(r"^Date: .*", "Date", line) for line in got.split("\r\n")] == [*lines, ""]


def test_date_can_be_left_to_somebody_else() -> None:
    assert date_and_server_fields("septet", dated=False)(True, True) == b"Server: septet\r\n"
    assert date_and_server_fields("", dated=False)(True, True) == b""


def test_date_changes_with_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only then: it is made once a second, whatever the clock does."""
    now = 784111777.0
    monkeypatch.setattr(subject, "time", lambda: now)
    date_and_server = date_and_server_fields("septet")
    first = date_and_server(True, True)
    assert first == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: septet\r\n"
    now += 0.9
    assert date_and_server(True, True) is first
    now += 0.1
    assert date_and_server(True, False) == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
    now -= 2
    assert date_and_server(True, False) == b"Date: Sun, 06 Nov 1994 08:49:36 GMT\r\n"
