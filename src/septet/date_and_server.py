"""The Date and Server lines of an answer, made once a second."""

from collections.abc import Callable
from email.utils import formatdate
from time import time


def date_and_server_fields(server: str, dated: bool = True) -> Callable[[bool, bool], bytes]:
    """A function that gives the lines, the Date if its first and the Server if its second argument is true.

    RFC 9110 sections 6.6.1 and 10.2.4. An empty `server` leaves its line out, and so does `dated` that is false: for a
    server behind another that dates answers.
    """
    server_line = f"Server: {server}\r\n".encode("ascii") if server else b""
    until = 0
    date_line = b""
    both = b""

    def date_and_server(date: bool, named: bool) -> bytes:
        nonlocal until, date_line, both
        now = time()
        if not until - 1 <= now < until:
            date_line = b"" if not dated else f"Date: {formatdate(now, usegmt=True)}\r\n".encode("ascii")
            both = date_line + server_line
            until = int(now) + 1
        if date and named:
            return both
        return (date_line if date else b"") + (server_line if named else b"")

    return date_and_server
