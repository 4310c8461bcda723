"""The fixture applications in a process that the limit of a user's processes applies to, RLIMIT_NPROC of getrlimit(2).

It does not apply to root, nor to whoever has one of two capabilities. So a server that is root becomes a user of which
there is no other process; it keeps root's way with files. USR1 sets the limit of the process to nothing, and USR2 puts
it back: from outside, that takes a capability too. Not to be imported by a test.
"""

import ctypes
import os
import resource
import signal
import struct
from types import FrameType

from support import apps_asgi, apps_wsgi

_VERSION_3 = 0x20080522  # of the structures in capget(2)
_SYS_ADMIN, _SYS_RESOURCE = 21, 24  # capabilities(7)

_libc = ctypes.CDLL(None, use_errno=True)


def _drop_capabilities(*dropped: int) -> None:
    header = ctypes.create_string_buffer(struct.pack("Ii", _VERSION_3, 0))
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; twice 32 bits each
    if _libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    kept = 0xFFFFFFFF & ~sum(1 << capability for capability in dropped)
    words = struct.unpack("6I", sets)
    sets.raw = struct.pack("6I", *(word & kept for word in words[:3]), *words[3:])
    if _libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


if os.getuid() == 0:
    os.setresuid(1_000_000 + os.getpid(), 0, 0)
    _drop_capabilities(_SYS_ADMIN, _SYS_RESOURCE)

_, HARD = resource.getrlimit(resource.RLIMIT_NPROC)


def _set_limit(number: int, frame: FrameType | None) -> None:
    resource.setrlimit(resource.RLIMIT_NPROC, (0 if number == signal.SIGUSR1 else HARD, HARD))


signal.signal(signal.SIGUSR1, _set_limit)
signal.signal(signal.SIGUSR2, _set_limit)

wsgi, asgi = apps_wsgi.app, apps_asgi.app
