"""The guestbook in one SQLite file: the store that needs nothing else.

SQLite lets one process write at a time, and every view writes, so all views wait in one queue anyway.
Three decisions follow:

- **One connection per process**, guarded by a mutex, rather than one per thread: threads would only wait for each
  other inside SQLite, and a model that makes a thread for every client would open the database for every client.
  It is opened by the first request and found by process id, since SQLite's connections must not be carried through
  a fork (https://www.sqlite.org/howtocorrupt.html, 2.6). A child never closes what it inherited: that would write.
- **The queue between processes is flock(2)** on a file beside the database. SQLite's own waiting is a series of
  sleeps of up to 100 ms, so the process that waits longest is not served first: with 64 processes the longest wait was
  measured two to four times as long, and beyond the time-out follows "database is locked". The kernel wakes the
  first in the queue, and skips a process that died. There is no time-out: a process that is stopped
  (SIGSTOP) within the 20 µs of a view keeps the others waiting until it goes on.
- **A view is one statement**, which is one transaction. In write-ahead mode with synchronous=NORMAL it does not wait
  for the disk: a power failure may cost the last views and remarks, a crash of the server costs nothing.
"""

import fcntl
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from types import TracebackType

from septet.examples.guestbook.book import REMARKS_KEPT, Remark, StoreUnavailable, Visit

# Only for programs that do not use our queue: the sqlite3 shell, a backup. Seconds.
BUSY_TIMEOUT_S = 10.0

# Rows are small, and each view copies one page to the log: 1 KiB was measured a sixth cheaper than SQLite's 4 KiB.
PAGE_SIZE = 1024

SCHEMA_VERSION = 1
SCHEMA = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE book (views INTEGER NOT NULL, edition INTEGER NOT NULL);
    INSERT INTO book VALUES (0, 0);
    CREATE TABLE remarks (id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, time_s INTEGER NOT NULL);
    PRAGMA user_version = {SCHEMA_VERSION};
    COMMIT;
"""

COUNT_VIEW = "UPDATE book SET views = views + 1 RETURNING views, edition"
PEEK = "SELECT views, edition FROM book"
LATEST = "SELECT name, text, time_s FROM remarks ORDER BY id DESC LIMIT ?"
ADD = "INSERT INTO remarks (name, text, time_s) VALUES (?, ?, ?)"
FORGET = "DELETE FROM remarks WHERE id <= (SELECT max(id) FROM remarks) - ?"
NEW_EDITION = "UPDATE book SET edition = edition + 1"


# SQLite and Python's module set themselves up at the first connection: here, before a server forks, and not in each
# child.
with closing(sqlite3.connect(":memory:")) as _first:
    _first.execute("SELECT 1").fetchall()


class SqliteStore:
    """`book.Store` on the file at `path`, which is made when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Other processes' entries are those inherited by a fork. They stay, so that nothing closes them here.
        self._by_process: dict[int, _Connection] = {}

    def count_view(self) -> Visit:
        with self._connection() as database:
            # fetchall, not fetchone: the statement commits when its last row has been taken.
            return Visit(*database.execute(COUNT_VIEW).fetchall()[0])

    def peek(self) -> Visit:
        with self._connection() as database:
            return Visit(*database.execute(PEEK).fetchall()[0])

    def latest(self, number: int) -> list[Remark]:
        with self._connection() as database:
            return [Remark(*row) for row in database.execute(LATEST, (number,)).fetchall()]

    def add(self, remark: Remark) -> None:
        # Inside, the connection's own context manager: it ends the transaction, by COMMIT or by ROLLBACK.
        with self._connection() as database, database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(ADD, (remark.name, remark.text, remark.time_s))
            database.execute(FORGET, (REMARKS_KEPT,))
            database.execute(NEW_EDITION)

    def close(self) -> None:
        connection = self._by_process.pop(os.getpid(), None)
        if connection is not None:
            connection.close()

    def _connection(self) -> "_Connection":
        pid = os.getpid()
        # setdefault decides between two threads that come first at the same time.
        return self._by_process.get(pid) or self._by_process.setdefault(pid, _Connection(self._path))


class OnTheLoop:
    """`book.AsyncStore` over SqliteStore, which is called on the event loop itself, and blocks it.

    A view was measured to take 12 µs of processor time. Handing it to a thread and taking the result back
    (asyncio.to_thread) costs the loop's own thread 15 to 24 µs and the process 35 to 50, so it would keep the loop from
    its other clients for longer than the work that it takes away.
    """

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def count_view(self) -> Visit:
        return self._store.count_view()

    async def peek(self) -> Visit:
        return self._store.peek()

    async def latest(self, number: int) -> list[Remark]:
        return self._store.latest(number)

    async def add(self, remark: Remark) -> None:
        self._store.add(remark)

    async def close(self) -> None:
        self._store.close()


class _Connection:
    """The connection of one process. In a `with` block no other thread, of this or another process, uses the book.

    Errors of SQLite and of the files leave the block as StoreUnavailable. It is a class, because a context manager made
    from a generator costs 1 µs more for every view.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._queue: int = -1  # descriptor of the file that is locked
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection:
        self._mutex.acquire()
        try:
            if self._queue < 0:
                self._queue = os.open(f"{self._path}-queue", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fcntl.flock(self._queue, fcntl.LOCK_EX)
            if self._database is None:
                self._database = _open(self._path)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self._database

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._queue >= 0:
                fcntl.flock(self._queue, fcntl.LOCK_UN)
        finally:
            self._mutex.release()
        if isinstance(error, (sqlite3.Error, OSError)):
            raise StoreUnavailable(f"the guestbook's file {self._path} cannot be used: {error}") from error

    def close(self) -> None:
        """Close the database, and the file by whose lock (flock(2)) processes queue for the database. The lock is held
        while the database is closed: the last connection that is closed copies SQLite's log into the database.
        """
        with self._mutex:
            if self._database is not None:
                fcntl.flock(self._queue, fcntl.LOCK_EX)
                self._database.close()
                self._database = None
            if self._queue >= 0:
                os.close(self._queue)
                self._queue = -1


def _open(path: Path) -> sqlite3.Connection:
    """Connect to the database at `path`, and make the tables if the file is new. The caller must hold the lock by which
    processes queue for the database: two processes that switch a new file to write-ahead mode at once get "database is
    locked", whatever the time-out.
    """
    # isolation_level None: transactions begin and end where this module says so.
    database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        if database.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
            database.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA)
        database.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        database.close()
        raise
    return database
