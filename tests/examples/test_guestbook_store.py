"""Both stores by both interfaces: the same tests; and exact counts whoever counts, in threads, processes and loops."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from septet.examples.guestbook.book import REMARKS_KEPT, AsyncStore, Remark, Store, StoreUnavailable, Visit
from septet.examples.guestbook.store import open_async_store, open_store
from support.processes import open_descriptors
from support.redis_server import RedisServer

PROCESSES = 4
THREADS = 8
VIEWS = 50  # by each thread


def remark(number: int) -> Remark:
    return Remark(f"visitor {number}", f"remark {number}\n漢字 🎉", 1_700_000_000 + number)


class Blocking:
    """An AsyncStore as a Store, so that one test body serves both."""

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._runner = asyncio.Runner()

    def count_view(self) -> Visit:
        return self._runner.run(self._store.count_view())

    def peek(self) -> Visit:
        return self._runner.run(self._store.peek())

    def latest(self, number: int) -> list[Remark]:
        return self._runner.run(self._store.latest(number))

    def add(self, remark: Remark) -> None:
        self._runner.run(self._store.add(remark))

    def close(self) -> None:
        self._runner.run(self._store.close())
        self._runner.close()


def open_blocking(url: str) -> Store:
    return open_store({"GUESTBOOK_STORE": url})


def open_on_a_loop(url: str) -> Store:
    return Blocking(open_async_store({"GUESTBOOK_STORE": url}))


OPENERS = [pytest.param(open_blocking, id="blocking"), pytest.param(open_on_a_loop, id="async")]
Opener = Callable[[str], Store]


@pytest.mark.parametrize("opener", OPENERS)
def test_views_and_remarks(store_url: str, opener: Opener) -> None:
    store = opener(store_url)
    assert store.peek() == Visit(0, 0)
    assert [store.count_view() for _ in range(3)] == [Visit(1, 0), Visit(2, 0), Visit(3, 0)]
    assert store.latest(20) == []
    for number in range(3):
        store.add(remark(number))
    assert store.peek() == Visit(3, 3)
    assert store.latest(2) == [remark(2), remark(1)]
    store.close()


@pytest.mark.parametrize("opener", OPENERS)
def test_what_was_stored_is_there_for_the_next_server(store_url: str, opener: Opener) -> None:
    first = opener(store_url)
    first.count_view()
    first.add(remark(1))
    first.close()
    second = opener(store_url)
    assert second.count_view() == Visit(2, 1)
    assert second.latest(20) == [remark(1)]
    second.close()


def test_a_closed_store_opens_again(store_url: str) -> None:
    store = open_blocking(store_url)
    assert store.count_view().views == 1
    store.close()
    store.close()
    assert store.count_view().views == 2
    store.close()


def test_old_remarks_are_forgotten(store_url: str) -> None:
    store = open_blocking(store_url)
    for number in range(REMARKS_KEPT + 5):
        store.add(remark(number))
    kept = store.latest(2 * REMARKS_KEPT)
    assert len(kept) == REMARKS_KEPT
    assert (kept[0], kept[-1]) == (remark(REMARKS_KEPT + 4), remark(5))
    store.close()


def count_in_threads(store: Store) -> None:
    errors: list[BaseException] = []

    def count() -> None:
        try:
            for _ in range(VIEWS):
                store.count_view()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def count_in_tasks(url: str) -> None:
    """As many tasks at once as there would be threads."""

    async def count() -> None:
        store = open_async_store({"GUESTBOOK_STORE": url})

        async def visitor() -> None:
            for _ in range(VIEWS):
                await store.count_view()

        await asyncio.gather(*(visitor() for _ in range(THREADS)))
        await store.close()

    asyncio.run(count())


def in_processes(work: Callable[[], None]) -> list[int]:
    """The exit statuses of PROCESSES forked children that do `work`."""
    pids = []
    for _ in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)  # as the forking models end their children: nothing is closed
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def test_threads_of_forked_processes_count_exactly(store_url: str) -> None:
    store = open_blocking(store_url)
    assert in_processes(lambda: count_in_threads(store)) == [0] * PROCESSES
    assert store.peek().views == PROCESSES * THREADS * VIEWS
    store.close()


def test_tasks_of_forked_processes_count_exactly(store_url: str) -> None:
    assert in_processes(lambda: count_in_tasks(store_url)) == [0] * PROCESSES
    store = open_blocking(store_url)
    assert store.peek().views == PROCESSES * THREADS * VIEWS
    store.close()


def test_a_store_used_before_a_fork_serves_parent_and_children(store_url: str) -> None:
    store = open_blocking(store_url)
    store.count_view()
    assert in_processes(lambda: count_in_threads(store)) == [0] * PROCESSES
    count_in_threads(store)
    assert store.peek().views == 1 + (PROCESSES + 1) * THREADS * VIEWS
    store.close()


def test_threads_that_end_leave_nothing_open(store_url: str) -> None:
    store = open_blocking(store_url)
    count_in_threads(store)
    before = open_descriptors(os.getpid())
    for _ in range(3):
        count_in_threads(store)
    assert open_descriptors(os.getpid()) <= before + 16  # a pool may still grow to its bound
    store.close()
    assert open_descriptors(os.getpid()) < before


def test_event_loops_that_end_leave_nothing_open(store_url: str) -> None:
    """As under the models that block: a loop of each thread, or of each client. Nothing tells the application."""
    store = open_async_store({"GUESTBOOK_STORE": store_url})
    run_in_thread(store.count_view)
    before = open_descriptors(os.getpid())
    for _ in range(20):
        run_in_thread(store.count_view)
    # A loop that leaves something open leaves 20 here; what is older may be collected meanwhile, or opened.
    assert open_descriptors(os.getpid()) <= before + 5
    assert asyncio.run(peek_and_close(store)).views == 21


async def peek_and_close(store: AsyncStore) -> Visit:
    visit = await store.peek()
    await store.close()
    return visit


def run_in_thread(work: Callable[[], Coroutine[Any, Any, Visit]]) -> None:
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()


def test_a_redis_that_is_away_is_unavailable_until_it_is_back() -> None:
    with RedisServer() as server:
        stores = [open_blocking(server.url), open_on_a_loop(server.url)]
        for store in stores:
            store.count_view()
        server.stop()
        for store in stores:
            for use in (store.count_view, lambda store=store: store.add(remark(1))):
                with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{server.port}"):
                    use()
        server.restart()
        assert [store.count_view().views for store in stores] == [1, 2]
        for store in stores:
            store.close()


def test_a_password_is_not_told_to_the_log() -> None:
    with RedisServer() as server:
        url = server.url.replace("redis://", "redis://somebody:secret@")
        server.stop()
        with pytest.raises(StoreUnavailable) as caught:
            open_blocking(url).count_view()
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "book").write_bytes(b"something else entirely\n" * 100)
    store = open_blocking(f"sqlite:///{tmp_path}/book")
    with pytest.raises(StoreUnavailable, match="not a database"):
        store.count_view()
    store.close()


def test_a_directory_that_has_gone_makes_the_file_unavailable(tmp_path: Path) -> None:
    directory = tmp_path / "away"
    directory.mkdir()
    store = open_blocking(f"sqlite:///{directory}/book")
    directory.rmdir()
    with pytest.raises(StoreUnavailable, match="No such file"):
        store.count_view()
