"""What a fork is taken for, and what it does to signals, where a signal handler of the application forks meanwhile."""

import os
import select
import subprocess
import sys

BEGIN = """
import os, signal
parent, once = os.getpid(), [True]

def handler(number, frame):
    child = os.fork()
    if child:
        print("the handler's child ended with", os.waitpid(child, 0)[1], flush=True)
    elif "exit" in globals():
        os._exit(0)

hook = {"__name__": "logging", "once": once, "signal": signal}  # code that is not the application's
exec("def strike():\\n if once:\\n  once.pop()\\n  signal.raise_signal(signal.SIGUSR1)", hook)
"""

DURING_A_FORK_OF_THE_SERVER = """
from septet import forked
from septet.processes.application_signals import guard_handlers
forked.mark_as_server()
signal.signal(signal.SIGUSR1, handler)
guard_handlers()
os.register_at_fork(before=hook["strike"])
child = forked.fork()
if child:
    os.waitpid(child, 0)
print("it goes on as the server" if not forked.by_application else "it goes on")
"""

DURING_A_FORK_OF_THE_APPLICATION = """
os.register_at_fork(after_in_parent=hook["strike"])
from septet import forked
forked.set_signal_handler(signal.SIGTERM, lambda number, frame: None)
signal.signal(signal.SIGUSR1, handler)
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
print("blocked:", *signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""

A_DAEMON = """
import sys
from septet import forked, streams
forked.mark_as_server()
streams.secure()
if os.fork():
    os._exit(0)
print("a child writes as before", file=sys.stderr)
null = os.open(os.devnull, os.O_RDWR)
os.dup2(null, 1)
os.dup2(null, 2)
sys.stdin.read()
"""


def output(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_child_of_a_handler_during_a_fork_of_the_server_is_the_application_s() -> None:
    said = output(DURING_A_FORK_OF_THE_SERVER)
    assert said == ["the handler's child ended with 0", *["it goes on as the server"] * 2]


def test_signals_arrive_after_a_fork_within_a_fork() -> None:
    assert output("exit = True\n" + DURING_A_FORK_OF_THE_APPLICATION)[-1] == "blocked:"


def test_daemon_keeps_no_pipe_that_is_standard_error() -> None:
    """Its reader, such as the runtime of a container, sees the end of the server."""
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", BEGIN + A_DAEMON], **how) as started:
        assert started.stderr is not None
        poll = select.poll()
        poll.register(started.stderr, select.POLLIN)
        assert poll.poll(60_000)
        assert os.read(started.stderr.fileno(), 1000) == b"a child writes as before\n"
        assert poll.poll(10_000), "it is open still"
        assert os.read(started.stderr.fileno(), 1000) == b""


EXITS = """
from septet import forked

class Mute(SystemExit):
    def __getattribute__(self, name):
        raise KeyboardInterrupt("deliberate")

class Unreadable(SystemExit):
    @property
    def code(self):
        raise KeyboardInterrupt("deliberate")

for error in (None, SystemExit(), SystemExit(None), SystemExit(0), SystemExit(7), SystemExit(263), SystemExit(True),
              SystemExit("deliberate"), SystemExit([]), ValueError("deliberate"), Mute(7), Unreadable()):
    child = os.fork()
    if not child:
        os.close(2)
        forked.exit_child(error)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_status_of_a_child_is_what_python_would_give_it() -> None:
    """Also with an exception that raises when it is asked for its status, or what it is: that has not ended well."""
    assert output(EXITS) == ["0", "0", "0", "0", "7", "7", "1", "1", "1", "1", "1", "1"]


LETS_GO = """
import socket
from septet import forked

class CannotClose:
    def __init__(self, error):
        self.error = error

    def close_in_child(self):
        raise self.error

class Closes:
    closed = False

    def close_in_child(self):
        self.closed = True

forked.mark_as_server()
forked.set_signal_handler(signal.SIGTERM, lambda number, frame: None)
things = [*(CannotClose(OSError(9, "deliberate")) for _ in range(9)), *(CannotClose(MemoryError()) for _ in range(9))]
things += [Closes() for _ in range(9)]
for thing in things:
    forked.register(thing)
pairs = [socket.socketpair() for _ in range(9)]
forked.sockets.update(one for one, _ in pairs)
os.close(pairs[4][0].fileno())  # by the application, which has mistaken its number
child = os.fork()
if not child:
    kept = [one for one, _ in pairs if one.fileno() >= 0]
    print(all(thing.closed for thing in things[18:]), kept, signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True)
    os._exit(0)
os.waitpid(child, 0)
pairs[4][0].detach()
"""


def test_child_lets_go_of_the_rest_when_something_cannot_be_closed() -> None:
    assert output(LETS_GO) == ["True [] set()"]
