"""Tasks for requests: what an application that answers at once may see of another's, and what one that waits needs."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar
from typing import Any, cast
from weakref import ref

import pytest

from septet.loop import EpollLoop
from septet.models._tasks import Starter, _may_reuse_here, may_reuse

variable: ContextVar[str] = ContextVar("variable", default="unset")

Scene = Callable[[Starter], object]

with_spare_tasks = pytest.mark.skipif(
    not _may_reuse_here(), reason="under this Python each request has a task as asyncio makes it"
)


def run(*scenes: Scene) -> EpollLoop:
    """Each of these as a callback of a loop, and the loop until all tasks are done."""
    loop = EpollLoop()
    loop.set_debug(True)
    starter = Starter(loop)
    problems: list[object] = []
    loop.set_exception_handler(lambda loop, context: problems.append(context))
    try:
        for scene in scenes:
            loop.call_soon(scene, starter)
        loop.run_until_complete(all_done())
    finally:
        starter.close()
        loop.close()
    assert not problems
    return loop


async def all_done() -> None:
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    await asyncio.sleep(0)


@with_spare_tasks
def test_end_without_a_wait_needs_no_task() -> None:
    seen: list[int] = []

    async def work() -> None:
        seen.append(id(asyncio.current_task()))

    def scene(starter: Starter) -> None:
        for _ in range(3):
            assert starter.start(work()) is None
        assert asyncio.current_task() is None
        assert asyncio.all_tasks() == tasks_of_the_test()

    run(scene)
    assert len(set(seen)) == 1


@with_spare_tasks
def test_mark_of_a_request_leaves_a_context_as_new() -> None:
    """`apps.asgi.Cycle` marks the context of each request under `--request-timeout`."""
    seen: list[int] = []

    async def work() -> None:
        token = variable.set("marked")
        seen.append(id(asyncio.current_task()))
        variable.reset(token)

    def scene(starter: Starter) -> None:
        for _ in range(3):
            assert starter.start(work()) is None

    run(scene)
    assert len(set(seen)) == 1


def tasks_of_the_test() -> set["asyncio.Task[object]"]:
    return {task for task in asyncio.all_tasks() if "all_done" in repr(task)}


def test_task_stays_itself_over_its_waits() -> None:
    seen: list[object] = []

    async def work() -> None:
        task = asyncio.current_task()
        variable.set("mine")
        async with asyncio.timeout(20):
            await asyncio.sleep(0)
        await asyncio.gather(asyncio.sleep(0.001), asyncio.sleep(0))
        seen.append((asyncio.current_task() is task, task in asyncio.all_tasks(), variable.get()))

    def scene(starter: Starter) -> None:
        task = starter.start(work())
        assert task is not None
        assert task in asyncio.all_tasks()
        assert variable.get() == "unset"

    run(scene)
    assert seen == [(True, True, "mine")]


def test_time_out_at_the_first_wait() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timed out")
        await asyncio.sleep(0)
        seen.append("went on")

    run(lambda starter: starter.start(work()))
    assert seen == ["timed out", "went on"]


@with_spare_tasks
@pytest.mark.parametrize("stubborn", [False, True])
def test_cancellation_at_the_first_wait(stubborn: bool) -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if stubborn:
                await asyncio.sleep(0)
                return
            raise

    tasks: list[asyncio.Task[None] | None] = []

    def scene(starter: Starter) -> None:
        tasks.append(starter.start(work()))
        assert tasks[0] is not None
        tasks[0].cancel()

    run(scene)
    assert tasks[0] is not None
    assert tasks[0].cancelled() is not stubborn


@pytest.mark.parametrize("waits_for", ["a turn", "a future", "a task", "itself"])
def test_cancellation_before_the_first_wait(waits_for: str) -> None:
    """The application cancels its own task, and is told so where it then waits; what it waits for is cancelled, too."""
    seen: list[object] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("the task, too")
            raise

    async def work() -> None:
        own = asyncio.current_task()
        assert own is not None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(waits()) if waits_for == "a task" else None
        own.cancel("mine")
        try:
            if task is not None:
                await task
            elif waits_for == "a turn":
                await asyncio.sleep(0)
            else:
                await (own if waits_for == "itself" else future)
        except asyncio.CancelledError as error:
            seen.append(("cancelled", error.args if waits_for == "a turn" else ("mine",)))
            own.uncancel()
        except RuntimeError:
            seen.append("told that this cannot be")
            own.uncancel()
        await asyncio.sleep(0)
        seen.append("went on")

    def plain(starter: Starter) -> None:
        asyncio.get_running_loop().create_task(work())

    run(plain)
    expected, seen = seen, []
    assert "went on" in expected
    run(lambda starter: starter.start(work()))
    assert seen == expected


async def sets_a_variable() -> None:
    variable.set("another's")


async def is_remembered() -> None:
    kept.append(asyncio.current_task())


async def is_remembered_weakly() -> None:
    kept.append(ref(asyncio.current_task()))


async def is_waited_for() -> None:
    asyncio.current_task().add_done_callback(lambda task: kept.append("done"))  # type: ignore[union-attr]


async def is_cancelled() -> None:
    asyncio.current_task().cancel()  # type: ignore[union-attr]


async def is_cancelled_for_a_moment() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    task.uncancel()


async def takes_a_name() -> None:
    asyncio.current_task().set_name("another's")  # type: ignore[union-attr]


async def takes_an_attribute() -> None:
    asyncio.current_task().of_the_request = "another's"  # type: ignore[union-attr]


def own_context() -> Context:
    """What `get_context` of a task returns, which it has since Python 3.12."""
    return next(each for each in gc.get_referents(asyncio.current_task()) if isinstance(each, Context))


async def keeps_its_context() -> None:
    kept.append(own_context())


async def keeps_its_context_weakly() -> None:
    kept.append(ref(own_context()))


async def goes_on_in_its_context() -> None:
    asyncio.get_running_loop().call_soon(variable.set, "another's", context=own_context())


kept: list[object] = []


@with_spare_tasks
@pytest.mark.parametrize(
    "leaves_a_trace",
    [
        sets_a_variable,
        is_remembered,
        is_remembered_weakly,
        is_waited_for,
        is_cancelled,
        is_cancelled_for_a_moment,
        takes_a_name,
        takes_an_attribute,
        keeps_its_context,
        keeps_its_context_weakly,
        goes_on_in_its_context,
    ],
)
def test_nobody_meets_what_another_has_left(leaves_a_trace: Callable[[], Awaitable[None]]) -> None:
    """Neither variables nor the task itself: who looks for his task's things must not find another's."""
    kept.clear()
    seen: list[object] = []

    async def comes_next() -> None:
        task = asyncio.current_task()
        assert task is not None
        known = [one() if isinstance(one, ref) else one for one in kept]
        again = any(each is task or each is own_context() for each in known) or hasattr(task, "of_the_request")
        seen.append((variable.get(), task.cancelling(), again, task.get_name() == "another's"))
        await asyncio.sleep(0)  # where a cancellation would strike
        seen.append("went on" if variable.get() == "unset" else variable.get())

    def scene(starter: Starter) -> None:
        assert starter.start(leaves_a_trace()) is None  # type: ignore[arg-type]
        assert starter.start(comes_next()) is not None

    run(scene)
    assert seen == [("unset", 0, False, False), "went on"]
    if leaves_a_trace is is_waited_for:
        assert kept == ["done"]
    if leaves_a_trace is is_remembered:
        assert isinstance(kept[0], asyncio.Task)
        assert kept[0].done()


@with_spare_tasks
def test_equal_is_not_the_same() -> None:
    """What a request has put into a variable may change when that request is long over."""
    basket: ContextVar[list[str]] = ContextVar("basket")
    seen: list[object] = []
    mine: list[str] = []

    async def puts_its_own() -> None:
        basket.set(mine)

    async def comes_next() -> None:
        seen.append(basket.get() is mine)

    def scene(starter: Starter) -> None:
        assert starter.start(puts_its_own()) is None
        assert starter.start(comes_next()) is None

    token = basket.set([])  # in the context of which the starter gives copies
    try:
        run(scene)
    finally:
        basket.reset(token)
    assert seen == [False]


class Incomparable:
    """As an array is."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("deliberate: whether it is equal cannot be said")

    __hash__ = None  # type: ignore[assignment]


def test_values_of_variables_are_not_compared() -> None:
    array: ContextVar[Incomparable] = ContextVar("array")
    started: list[object] = []

    async def puts_its_own() -> None:
        array.set(Incomparable())

    def scene(starter: Starter) -> None:
        started.append(starter.start(puts_its_own()))
        started.append(starter.start(puts_its_own()))

    token = array.set(Incomparable())
    try:
        run(scene)
    finally:
        array.reset(token)
    assert len(started) == 2


def test_task_factory_of_the_application_is_asked() -> None:
    made: list[object] = []
    began: list[object] = []

    async def work() -> None:
        began.append(asyncio.current_task())

    def factory(loop: asyncio.AbstractEventLoop, coroutine: object, **how: object) -> "asyncio.Task[None]":
        task = asyncio.Task(coroutine, loop=loop, **how)  # type: ignore[arg-type, var-annotated]
        made.append(task)
        return task

    def scene(starter: Starter) -> None:
        asyncio.get_running_loop().set_task_factory(factory)  # type: ignore[arg-type]
        assert starter.start(work()) is made[0]

    run(scene)
    assert began == made


def test_task_factory_that_returns_no_task() -> None:
    """A request without a task would seem to have ended, and would be begun again and again."""

    async def work() -> None:
        raise AssertionError("it is closed before it begins")

    def scene(starter: Starter) -> None:
        asyncio.get_running_loop().set_task_factory(lambda loop, coroutine, **how: None)  # type: ignore[arg-type]
        request = work()
        with pytest.raises((TypeError, AttributeError)):  # the second is asyncio's own, in some versions
            starter.start(request)
        request.close()
        asyncio.get_running_loop().set_task_factory(None)

    run(scene)


@pytest.mark.parametrize(
    ("version", "implementation", "gil", "expected"),
    [
        ((3, 11), "cpython", True, True),
        ((3, 12), "cpython", True, True),
        ((3, 13), "cpython", True, True),
        ((3, 13), "cpython", False, False),
        ((3, 14), "cpython", True, False),
        ((3, 11), "pypy", True, False),
    ],
)
def test_spares_are_used_where_they_were_tried(
    version: tuple[int, int], implementation: str, gil: bool, expected: bool
) -> None:
    assert may_reuse(version, implementation, gil) is expected


def test_elsewhere_each_request_has_a_task() -> None:
    seen: list[object] = []

    async def work() -> None:
        seen.append(asyncio.current_task())
        variable.set("mine")

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        starter = Starter(loop, reuses=False)
        tasks = [starter.start(work()) for _ in range(2)]
        await asyncio.gather(*filter(None, tasks))
        assert seen == tasks
        assert len(set(tasks)) == 2
        assert variable.get() == "unset"
        starter.close()

    asyncio.run(scene())


class Unawaitable:
    """A request's coroutine, of which there is no memory to go on after its first wait."""

    def __init__(self, work: Any) -> None:
        self.send, self.throw, self.close = work.send, work.throw, work.close

    def __await__(self) -> Any:
        raise MemoryError("deliberate")


@with_spare_tasks
def test_what_keeps_a_task_from_going_on_is_raised_in_its_work() -> None:
    """It was lost with the task, and the application was told of its end by GeneratorExit."""
    raised: list[BaseException] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        except BaseException as error:
            raised.append(error)

    run(lambda starter: starter.start(cast(Any, Unawaitable(work()))))
    assert [type(error) for error in raised] == [MemoryError]
