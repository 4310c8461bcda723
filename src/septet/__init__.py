"""Septet: a web server in which the Linux process model is a switch, and the laboratory that measures it.

septet.run(app, model="threaded", bind="127.0.0.1:8000")    serves until a signal comes
with septet.Server(app) as server: get(server.url)          serves on a thread, for tests and notebooks
asyncio.run(main(), loop_factory=septet.loop.EpollLoop)     event loops over poll, epoll and io_uring
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from septet.embedding import Server, run
    from septet.errors import Failed, SeptetError, UsageError

__all__ = ["Failed", "SeptetError", "Server", "UsageError", "run"]

__version__ = "0.1.0"

_HOMES = {
    "Server": "septet.embedding",
    "run": "septet.embedding",
    "Failed": "septet.errors",
    "SeptetError": "septet.errors",
    "UsageError": "septet.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use (PEP 562), so that `import septet.loop` does not import the server."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
