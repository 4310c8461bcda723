"""An application, by both interfaces, that forks children in a request and answers with what becomes of them."""

import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from support import journal
from support.apps_asgi import Receive, Scope, Send

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM, signal.SIGHUP, signal.SIGUSR1)


def _fork_in_handler(number: int, frame: object) -> None:
    child = os.fork()
    if child:
        threading.Thread(target=lambda: journal.write(f"a handler's child ended with {_status(child)}")).start()
    elif number == signal.SIGUSR2:
        sys.exit(7)


def _fork_in_thread() -> None:
    """A child that looks around, as soon as workers are there."""
    while not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text():
        time.sleep(0.01)
    time.sleep(0.2)  # they come one after the other
    journal.write(f"a thread's child {looks_around()}")


children_ended: list[int] = []

if os.environ.get("FORKS_IN_HANDLERS"):
    signal.signal(signal.SIGUSR1, _fork_in_handler)
    signal.signal(signal.SIGUSR2, _fork_in_handler)
if os.environ.get("FORKS_IN_THREAD"):
    threading.Thread(target=_fork_in_thread, daemon=True).start()
if os.environ.get("HEARS_OF_CHILDREN"):
    signal.signal(signal.SIGCHLD, lambda number, frame: children_ended.append(number))
if os.environ.get("FORKS_AT_IMPORT"):
    if child := os.fork():
        print("the child ended with", os.waitpid(child, 0)[1], file=sys.stderr)
    else:
        print("the child goes on", file=sys.stderr)


def _inherited() -> list[str]:
    """What a child has open beside files, and beside the two ends of the pipe by which it tells."""
    links = [_target(f"/proc/self/fd/{entry}") for entry in os.listdir("/proc/self/fd") if int(entry) > 2]
    pipes = {link for link in links if link.startswith("pipe:") and links.count(link) == 2}
    return [link for link in links if ":" in link and link not in pipes]


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # of the directory that is read
        return ""


def _default(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_DFL


def _status(child: int) -> str:
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def looks_around() -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        odd = [signal.Signals(number).name for number in SIGNALS if not _default(number)]
        blocked = [signal.Signals(number).name for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        told = {"open": _inherited(), "handled": odd, "blocked": blocked, "wakeup": signal.set_wakeup_fd(-1)}
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told_by_child:
        answer = told_by_child.read()
    return answer + " " + _status(child)


def exits() -> str:
    child = os.fork()
    if not child:
        sys.exit(7)
    return _status(child)


class Mute(SystemExit):
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise KeyboardInterrupt("deliberate")


def raises_what_is_mute() -> str:
    child = os.fork()
    if not child:
        raise Mute(7)
    return _status(child)


def is_told() -> str:
    """To end, while the server goes on."""
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    return _status(child)


def is_kept() -> str:
    """For longer than the request, and than the server."""
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    return str(child)


def is_heard_of() -> str:
    """How often the application's own handler of SIGCHLD has run."""
    before = len(children_ended)
    is_told()
    end = time.monotonic() + 5
    while len(children_ended) == before and time.monotonic() < end:
        time.sleep(0.01)
    return str(len(children_ended) - before)


def files() -> str:
    """What a child has open of deleted files on a disk, such as temporary ones."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        links = [_target(f"/proc/self/fd/{entry}") for entry in os.listdir("/proc/self/fd") if int(entry) > 2]
        os.write(writing, json.dumps([link for link in links if link.endswith("(deleted)")]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told_by_child:
        answer = told_by_child.read()
    _status(child)
    return answer


def all_open() -> str:
    """All that a child has open, beside the two ends of the pipe by which it tells, and the standard streams."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        entries = [entry for entry in os.listdir("/proc/self/fd") if int(entry) > 2]
        own = (reading, writing)
        links = [_target(f"/proc/self/fd/{entry}") for entry in entries if int(entry) not in own]
        os.write(writing, json.dumps([link for link in links if link not in ("", os.devnull)]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told_by_child:
        answer = told_by_child.read()
    _status(child)
    return answer


def _touch(number: int) -> int:
    return number + 1


def works_in_a_pool() -> str:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return str(sum(pool.map(_touch, range(4))))


def works_in_a_process() -> str:
    process = multiprocessing.get_context("fork").Process(target=_touch, args=(1,))
    process.start()
    process.join()
    return str(process.exitcode)


def is_interrupted() -> str:
    program = subprocess.Popen(["sleep", "60"])
    program.send_signal(signal.SIGINT)
    return str(program.wait())


DOES: dict[str, Callable[[], str]] = {
    "/" + does.__name__: does
    for does in (
        *(looks_around, exits, is_told, is_kept, works_in_a_pool, works_in_a_process, is_interrupted),
        *(is_heard_of, files, all_open, raises_what_is_mute),
    )
}


async def exits_in_a_task() -> str:
    """The child's exit status, if it ends. Its exception comes out of the event loop, not to the caller."""
    loop = asyncio.get_running_loop()
    forked: asyncio.Future[int] = loop.create_future()

    def fork() -> None:
        child = os.fork()
        if child == 0:
            raise SystemExit(9)
        forked.set_result(child)

    loop.call_soon(fork)
    return await asyncio.to_thread(_status, await forked)


async def in_a_thread(ends: Callable[[], str]) -> str:
    """The exit status of a child that a function in a thread of the executor forks."""

    def fork() -> str:
        child = os.fork()
        return _status(child) if child else ends()

    return await asyncio.to_thread(fork)


def _exit_with_7() -> str:
    sys.exit(7)


def runs_out() -> Iterator[bytes]:
    """Its child comes back when the Content-Length is reached: it raises, or gives more."""
    yield b"fine"
    for ends in ("raises", "gives more"):
        child = os.fork()
        if not child:
            if ends == "raises":
                sys.exit(7)
            yield b"too much"
            return
        journal.write(f"a child that {ends} ended with {_status(child)}")


def returns() -> int:
    """0 in the child, which goes on in the server's code unless the server sees to it."""
    return os.fork()


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/much":
        start_response("200 OK", [("Content-Length", "8000000")])
        return (bytes(1_000_000) for _ in range(8))
    if path == "/runs_out":
        start_response("200 OK", [("Content-Length", "4"), ("Connection", "close")])
        return runs_out()
    if path == "/waits":
        journal.pass_gate("waits")
    if path == "/returns":
        child = returns()
        body = _status(child) if child else "child"
    else:
        body = DOES[path]() if path in DOES else "fine"
    start_response("200 OK", [("Content-Length", str(len(body))), ("Connection", "close")])
    return [body.encode()]


async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        _refuse(scope["type"])
    path = scope["path"]
    if path == "/returns":
        child = returns()
        body = _status(child) if child else "child"
    elif path == "/exits_in_a_task":
        body = await exits_in_a_task()
    elif path == "/awaits":
        child = os.fork()
        if not child:
            await asyncio.sleep(0)
        body = _status(child)
    elif path == "/in_a_thread":
        body = " ".join([await in_a_thread(lambda: ""), await in_a_thread(_exit_with_7)])
    elif path == "/sends":
        child = os.fork()
        headers = [(b"content-length", b"200000"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not child:
            await send({"type": "http.response.body", "body": bytes(200_000), "more_body": True})
        _status(child)
        await send({"type": "http.response.body", "body": bytes(200_000)})
        return
    else:
        body = DOES[path]() if path in DOES else "fine"
    headers = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


def _refuse(kind: str) -> NoReturn:
    raise RuntimeError(f"deliberate: {kind} is not known here")
