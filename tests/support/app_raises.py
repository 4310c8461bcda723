"""Applications that let out what is no Exception, or give what is no content: at /NAME, and answer anything else."""

import asyncio
import gc


class Own(BaseException):
    """Of no library's."""


class Unspeakable(Exception):
    """Whoever asks what it is gets another one."""

    def __str__(self) -> str:
        raise RuntimeError("deliberate")

    __repr__ = __str__


class UnspeakableBase(BaseException):
    def __str__(self) -> str:
        raise SystemExit("deliberate")

    __repr__ = __str__


class Disguised(Exception):
    """Whoever asks of which class it is gets another one."""

    @property
    def __class__(self):
        raise KeyboardInterrupt("deliberate")


def _group() -> BaseException:
    return BaseExceptionGroup("deliberate", [KeyboardInterrupt(), SystemExit(3), ValueError("deliberate")])


RAISED = {
    "cancelled": asyncio.CancelledError,
    "generator-exit": GeneratorExit,
    "system-exit": SystemExit,
    "keyboard-interrupt": KeyboardInterrupt,
    "stop-iteration": StopIteration,
    "stop-async-iteration": StopAsyncIteration,
    "own": Own,
    "unspeakable": Unspeakable,
    "unspeakable-base": UnspeakableBase,
    "disguised": Disguised,
    "group": _group,
    "exit-with-a-list": lambda: SystemExit([Unspeakable()]),
    "memory": MemoryError,
    "blocking": BlockingIOError,
    "broken-pipe": BrokenPipeError,
    "os-error": lambda: OSError(9, "Bad file descriptor"),
}

SPLIT = ["text", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ninjected"]


def recurse():
    recurse()


class Iterable:
    """Raises where it is told to."""

    def __init__(self, where: str, kind) -> None:
        self.where, self.kind, self.parts = where, kind, iter((b"fi", b"ne"))

    def _raise_at(self, where: str) -> None:
        if self.where == where:
            raise self.kind()

    def __iter__(self):
        self._raise_at("iter")
        return self

    def __len__(self):
        self._raise_at("len")
        raise TypeError("it has no length")

    def __next__(self):
        self._raise_at("next")
        part = next(self.parts)
        if part == b"ne":
            self._raise_at("second")
        return part

    def close(self):
        self._raise_at("close")

    def __del__(self):
        self._raise_at("del")


PLACES = ("iter", "len", "next", "second", "close", "del")


class Text(str):
    def encode(self, *arguments):
        raise KeyboardInterrupt("deliberate")


def wsgi(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    if name in RAISED:
        raise RAISED[name]()
    if name == "recursion":
        recurse()
    if name == "headers":
        start_response("200 OK", [("X", Text("deliberate"))])
    if name == "status":
        start_response(Text("200 OK"), [])
    if "." in name:
        place, kind = name.split(".")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Iterable(place, RAISED[kind])
    if name.startswith("write-"):
        write = start_response("200 OK", [("Content-Length", "4")])
        write(b"fi")
        raise RAISED[name.removeprefix("write-")]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return SPLIT if name == "split" else [b"fine"]


async def asgi(scope, receive, send):
    name = scope["path"].strip("/")
    if name == "recursion":
        recurse()
    if name.startswith("waits-"):
        await asyncio.sleep(0.001)
        raise RAISED[name.removeprefix("waits-")]()
    if name.startswith("task-"):
        _leave_behind(RAISED[name.removeprefix("task-")])
    if name in RAISED:
        raise RAISED[name]()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if name.startswith("begun-"):
        await send({"type": "http.response.body", "body": b"fi", "more_body": True})
        await asyncio.sleep(0)
        raise RAISED[name.removeprefix("begun-")]()
    await send({"type": "http.response.body", "body": "text" if name == "split" else b"fine"})
    if name.startswith("after-"):
        while (await receive())["type"] != "http.disconnect":
            pass
        raise RAISED[name.removeprefix("after-")]()


_kept = set()


def _leave_behind(kind) -> None:
    """A task, a callback, a timer and a future that nobody looks after."""

    async def task() -> None:
        raise kind()

    def call() -> None:
        raise kind()

    loop = asyncio.get_running_loop()
    _kept.add(asyncio.ensure_future(task()))
    loop.call_soon(call)
    loop.call_later(0.001, call)
    future = loop.create_future()
    if kind not in (StopIteration,):
        future.set_exception(kind())
    del future
    loop.call_later(0.005, gc.collect)
