"""Descriptors and modules that a loop needs, and forked children (in processes of their own)."""

import asyncio
import os
import subprocess
import sys

import septet.loop
from septet.loop import PollLoop


def python(script: str, backend: str) -> str:
    """The output of a script in a new process, which must succeed."""
    command = [sys.executable, "-W", "error", "-c", script, backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


FORKED_WHILE_IDLE = """if True:
    import asyncio, os, sys, threading, septet.loop
    loop = septet.loop.new_event_loop(sys.argv[1])
    loop.run_until_complete(asyncio.sleep(0.001))  # it has waited: all its descriptors are there
    pid = os.fork()
    if pid == 0:
        try:
            loop.run_forever()
        except RuntimeError as exc:
            print(exc, flush=True)
        loop.close()
        print(septet.loop.run(asyncio.sleep(0.001, "own"), backend=sys.argv[1]), flush=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    other = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
    loop.call_soon(other.start)
    loop.run_forever()
    other.join()
    loop.close()
    print(pid != os.getpid(), os.getpid())
"""


def test_forked_child_is_told_and_the_parent_undisturbed(backend: str) -> None:
    """After the child has closed its copy, the parent's loop is still woken by another thread."""
    refusal, own, parent = python(FORKED_WHILE_IDLE, backend).splitlines()
    assert refusal == f"this event loop belongs to process {parent.split()[1]}: make a new one after fork()"
    assert own == "own"


FORKED_WHILE_RUNNING = """if True:
    import asyncio, os, sys, septet.loop
    async def main():
        async def serve(reader, writer):
            writer.write(await reader.read(100))
            writer.close()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        pid = os.fork()
        if pid == 0:
            septet.loop.run(asyncio.sleep(0.001), backend=sys.argv[1])
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"still here")
        print((await reader.read(100)).decode())
        writer.close()
        await writer.wait_closed()
        server.close()
    septet.loop.run(main(), backend=sys.argv[1])
"""


def test_fork_from_a_running_loop(backend: str) -> None:
    assert python(FORKED_WHILE_RUNNING, backend) == "still here\n"


SUBPROCESS_UNDER_ANOTHER_POLICY = """if True:
    import asyncio, sys, septet.loop
    if sys.version_info < (3, 14):  # from then on asyncio's loops ask no policy
        class Policy(asyncio.AbstractEventLoopPolicy):  # as uvloop's is
            def __init__(self): self.loop = None
            def get_event_loop(self): return self.loop
            def set_event_loop(self, loop): self.loop = loop
            def new_event_loop(self): return asyncio.SelectorEventLoop()
        asyncio.set_event_loop_policy(Policy())
    async def main():
        for number in (1, 2):
            process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
            print(*await process.communicate(b"%d" % number), process.returncode)
    septet.loop.run(main(), backend=sys.argv[1])
"""


def test_subprocess_under_a_policy_that_watches_no_children(backend: str) -> None:
    """An application that calls `uvloop.install`, as many do, has subprocesses under our loops, too."""
    assert python(SUBPROCESS_UNDER_ANOTHER_POLICY, backend) == "b'1' None 0\nb'2' None 0\n"


FORKED_WITH_HANDLERS = """if True:
    import asyncio, os, signal, sys, septet.loop
    async def main():
        heard = []
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.append, 1)
        pid = os.fork()
        if pid == 0:
            files = [os.memfd_create("mine") for _ in range(10)]  # which get the numbers of what was closed
            signal.raise_signal(signal.SIGUSR1)
            os._exit(sum(os.fstat(file).st_size for file in files))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), heard)
    septet.loop.run(main(), backend=sys.argv[1])
"""


def test_signal_in_a_forked_child_is_written_nowhere(backend: str) -> None:
    """Neither to the loop of the parent, nor to the child's file that has the number of its wake-up descriptor."""
    assert python(FORKED_WITH_HANDLERS, backend) == "0 []\n"


FORKED_BESIDE_A_DUE_TIMER = """if True:
    import os, sys, time, septet.loop
    loop = septet.loop.new_event_loop(sys.argv[1])
    parent, children = os.getpid(), []
    def tick():
        os.write(1, b"tick in the parent\\n" if os.getpid() == parent else b"tick in the child\\n")
    def before():
        time.sleep(0.05)  # the timer is due when the child is forked, in the next turn
        loop.call_soon(lambda: children.append(os.fork()))
    loop.call_later(0.01, tick)
    loop.call_later(0.2, loop.stop)
    loop.call_soon(before)
    try:
        loop.run_forever()
    except RuntimeError:
        os._exit(os.getpid() == parent)
    print(os.waitpid(children[0], 0)[1])
"""


def test_child_that_returns_into_a_turn_runs_no_timer_of_its_parent(backend: str) -> None:
    assert python(FORKED_BESIDE_A_DUE_TIMER, backend) == "tick in the parent\n0\n"


async def _nothing() -> None:
    pass


def test_loop_leaves_no_descriptor_behind(backend: str) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for wait_s in (0, 0.001):
        septet.loop.run(asyncio.sleep(wait_s), backend=backend)
    septet.loop.new_event_loop(backend).close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_poll_loop_that_never_waits_has_no_descriptor() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    loop = PollLoop()
    loop.run_until_complete(_nothing())
    assert sorted(os.listdir("/proc/self/fd")) == before
    loop.close()
    loop.close()


def test_ctypes_is_loaded_for_io_uring_alone() -> None:
    script = "import sys, septet.loop; septet.loop.new_event_loop(sys.argv[1]).close(); print('ctypes' in sys.modules)"
    assert python(script, "poll") == "False\n"
    assert python(script, "epoll") == "False\n"
