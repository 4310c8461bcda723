"""What a server says of itself (`/status.json`), for tests of what shows it."""

from typing import Any

from septet.metrics.lanes import SERVER
from septet.metrics.reader import Reader
from septet.metrics.table import Table

ERROR = "NameError: name 'fastapp' is not defined, in shop/web.py, line 12"
FAILURE = (
    f"APP 'shop.web:app': importing shop.web failed: importing shop.orders.models failed: {ERROR}; generation 1 goes on"
)


def a_status() -> dict[str, Any]:
    table = Table()
    table.occupy(table.allot(), SERVER)
    reader = Reader(table, lambda: "ready")
    reader.describe((), model="epoll", app="shop.web:app")
    events = [{"at": 0, "text": f"worker {100 + number} ended by signal SIGKILL"} for number in range(11)]
    reader.events = [*events, {"at": 0, "text": f"the reload failed: {FAILURE}"}]
    reader.orders = lambda: {"last": {"failed": True, "kind": "reload", "at": 0, "text": FAILURE}}
    answered = {"status": 200, "outcome": "answered", "method": "GET", "at": 0}
    slow = [{"ms": 12.0, "target": f"/{number}"} | answered for number in range(8)]
    return reader.status() | {"slowest": slow}
