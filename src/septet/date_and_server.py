"""The Date and Server lines of an answer, formatted once a second."""

from collections.abc import Callable
from time import gmtime, time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(seconds: float) -> str:
    """Return an instant, in seconds since 1970, as an HTTP-date (IMF-fixdate, RFC 9110 section 5.6.7). Raises
    OverflowError, OSError or ValueError for an instant outside of the calendar. (This does not use `email.utils`,
    because importing it would load 9 modules more at each start.)
    """
    year, month, day, hour, minute, second, weekday, _, _ = gmtime(seconds)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def date_and_server_fields(server: str, dated: bool = True) -> Callable[[bool, bool], bytes]:
    """Return a function that gives the two lines as bytes, each with CRLF: Date if its first argument is true, Server
    if its second is. Any thread may call it; within one second it returns the same bytes object.

    server: the product name in the Server line; "": there is no Server line. dated: False: there is no Date line, for a
    server behind another one that adds it. RFC 9110 sections 6.6.1 and 10.2.4.
    """
    server_line = f"Server: {server}\r\n".encode("ascii") if server else b""
    since = until = 0.0
    date_line = b""
    both = b""

    def date_and_server(date: bool, named: bool) -> bytes:
        nonlocal since, until, date_line, both
        now = time()
        if not since <= now < until:
            date_line = b"" if not dated else f"Date: {http_date(now)}\r\n".encode("ascii")
            both = date_line + server_line
            since = float(int(now))
            until = since + 1.0
        if date and named:
            return both
        return (date_line if date else b"") + (server_line if named else b"")

    return date_and_server
