"""A WSGI application that journals each request, and answers it when the gate that its query names is open."""

from collections.abc import Callable, Iterable
from typing import Any

from support import journal


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    journal.write("begun")
    journal.pass_gate(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"done"]
