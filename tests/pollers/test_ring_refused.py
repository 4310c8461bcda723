"""io_uring that is forbidden, or inherited through fork: real refusals, each in a process of its own."""

import errno
import subprocess
import sys

import pytest

from septet.pollers._unavailable import RingUnavailable, _sentence, unavailable
from septet.pollers.ring import Ring, obstacle

# A seccomp filter as container engines install it: io_uring_setup(2) is answered with an error number.
FORBID = """
import ctypes, struct
def forbid(code, syscall=425):
    LD_NR, JEQ, RET = 0x20, 0x15, 0x06
    ERRNO, ALLOW = 0x00050000 | code, 0x7FFF0000
    program = b"".join(
        struct.pack("HBBI", *each)
        for each in [(LD_NR, 0, 0, 0), (JEQ, 0, 1, syscall), (RET, 0, 0, ERRNO), (RET, 0, 0, ALLOW)]
    )
    code = ctypes.create_string_buffer(program)
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(fprog)), 0, 0) == 0
"""


def python(script: str) -> str:
    """The output of a script in a new process, which must succeed."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_obstacle_here(ring: Ring) -> None:
    assert obstacle() is None


@pytest.mark.parametrize(("code", "reason"), [(errno.EPERM, "forbidden by a security filter"), (errno.ENOSYS, "6.1")])
@pytest.mark.parametrize("syscall", [425, 427])
def test_filter_is_named(ring: Ring, code: int, reason: str, syscall: int) -> None:
    """425 is io_uring_setup(2), 427 io_uring_register(2): both have to be permitted."""
    said = python(f"{FORBID}\nforbid({code}, {syscall})\nfrom septet.pollers.ring import obstacle\nprint(obstacle())")
    assert reason in said
    assert "epoll" in said


def test_loop_is_refused_with_the_same_sentence(ring: Ring) -> None:
    said = python(
        f"{FORBID}\nforbid({errno.EPERM})\nimport septet.loop\n"
        "try: septet.loop.new_event_loop('io_uring')\n"
        "except OSError as exc: print(type(exc).__name__, exc.errno, exc)"
    )
    assert said.startswith("RingUnavailable 1 io_uring is forbidden by a security filter")


@pytest.mark.parametrize("room", [0, 1, 2])
def test_too_few_descriptors_left(ring: Ring, room: int) -> None:
    """A ring takes three: its own, and a copy by each of Python's two maps. A failure gives back what it took."""
    said = python(
        "import os, resource\nfrom septet.pollers.ring import obstacle\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({room} + 3, {room} + 3))\nprint(obstacle())\n"
        f"for _ in range({room}): os.dup(0)"
    )
    assert said == "io_uring cannot be set up: Too many open files\n"


@pytest.mark.parametrize(
    ("code", "switch", "cure"),
    [
        (errno.EPERM, "2", "kernel.io_uring_disabled=0"),
        (errno.EPERM, "1", "kernel.io_uring_group"),
        (errno.EPERM, "0", "--security-opt"),
        (errno.EPERM, "", "--security-opt"),
        (errno.ENOSYS, "", "choose epoll"),
        (errno.EINVAL, "0", "upgrade"),
        (errno.EOPNOTSUPP, "0", "upgrade"),
        (errno.ENOMEM, "0", "RLIMIT_MEMLOCK"),
    ],
)
def test_every_refusal_has_its_cure(code: int, switch: str, cure: str) -> None:
    assert cure in _sentence(code, switch)


def test_refusal_is_an_oserror_whose_text_is_the_sentence() -> None:
    refusal = unavailable(errno.ENOMEM)
    assert isinstance(refusal, RingUnavailable)
    assert isinstance(refusal, OSError)
    assert refusal.errno == errno.ENOMEM
    assert str(refusal).startswith("io_uring may not lock enough memory")


def test_forked_child_cannot_reach_its_parents_ring(ring: Ring) -> None:
    """It gets an error, and can make a ring of its own; the parent's ring is not affected."""
    said = python(
        """if True:
        import os
        from septet.pollers.ring import Ring
        from septet.pollers import WRITABLE
        seen = []
        reading, writing = os.pipe()
        ring = Ring()
        def poll(ring, callback):
            return ring.poll_add(writing, WRITABLE, callback)
        poll(ring, lambda *completion: seen.append("first"))
        pid = os.fork()
        if pid == 0:
            for attempt in (lambda: poll(ring, print), lambda: ring.wait(0)):
                try:
                    attempt()
                except RuntimeError as exc:
                    print(exc, flush=True)
            ring.close()
            with Ring() as own:
                poll(own, lambda *completion: print("own", *completion, flush=True))
                own.wait()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        poll(ring, lambda *completion: seen.append("second"))
        ring.wait()
        print(seen)
        ring.close()
        """
    ).splitlines()
    refusal = "this ring is closed, or was inherited through fork(): make a new one in each process"
    assert said == [refusal, refusal, "own 4 0 b''", "['first', 'second']"]
