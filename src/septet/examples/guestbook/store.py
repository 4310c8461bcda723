"""The choice of a store by the variable GUESTBOOK_STORE.

`sqlite:///PATH` (three slashes and a relative path, four and an absolute one), or `redis://HOST:PORT/DB`. Empty or not
set: the file guestbook.sqlite3 in the working directory. A wrong value raises when the application is imported, before
anything is served. A store that cannot be reached raises `book.StoreUnavailable` at each request, since it may return.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from septet.errors import Failed, UsageError
from septet.examples.guestbook.book import AsyncStore, Store
from septet.examples.guestbook.sqlite_store import OnTheLoop, SqliteStore

VARIABLE = "GUESTBOOK_STORE"
DEFAULT_URL = "sqlite:///guestbook.sqlite3"
SQLITE_PREFIX = "sqlite:///"
REDIS_PREFIXES = ("redis://", "rediss://")


def open_store(environment: Mapping[str, str] = os.environ) -> Store:
    """Make the store that GUESTBOOK_STORE names. It connects later, in the process that serves.

    Raises UsageError for a value that names no store, and Failed if the package for Redis is not installed.
    """
    url = environment.get(VARIABLE) or DEFAULT_URL
    if not url.startswith(REDIS_PREFIXES):
        return SqliteStore(database_path(url))
    with _redis_package():
        from septet.examples.guestbook.redis_store import RedisStore
    return RedisStore(redis_url(url))


def open_async_store(environment: Mapping[str, str] = os.environ) -> AsyncStore:
    """Make the store that GUESTBOOK_STORE names, for an application on an event loop; see `open_store`."""
    url = environment.get(VARIABLE) or DEFAULT_URL
    if not url.startswith(REDIS_PREFIXES):
        return OnTheLoop(SqliteStore(database_path(url)))
    with _redis_package():
        from septet.examples.guestbook.redis_store import AsyncRedisStore
    return AsyncRedisStore(redis_url(url))


def database_path(url: str) -> Path:
    """Return the absolute path that `sqlite:///PATH` means now: a server may change its working directory later.

    Raises UsageError for another URL, and for a path that is a directory, or is in one that cannot be written to.
    """
    name = url.removeprefix(SQLITE_PREFIX)
    if name == url or name in ("", ":memory:"):
        raise _not_allowed(url)
    path = Path(name).absolute()
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{VARIABLE}: {url!r}: no file can be written at {path}; its directory must exist")
    return path


def redis_url(url: str) -> str:
    """Return the URL itself, if it is redis[s]://[USER:PASSWORD@]HOST[:PORT][/DB]; raises UsageError if it is not.

    The client would quietly take database 0 for a database that is not a number.
    """
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0 and (parts.path in ("", "/") or parts.path[1:].isdecimal()):
            return url
    except ValueError:  # the port is not a number, or the IPv6 address is not one
        pass
    raise _not_allowed(url)


def _not_allowed(url: str) -> UsageError:
    return UsageError(f"{VARIABLE}: {url!r} names no store; allowed are sqlite:///PATH and redis://HOST:PORT/DB")


@contextmanager
def _redis_package() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise Failed(f"{VARIABLE} asks for Redis, but its client is missing: pip install 'septet[redis]'") from None
