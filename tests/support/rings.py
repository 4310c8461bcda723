"""What only tests ask of a `Ring`: an operation that does nothing, and what is under way."""

from septet.pollers import _uring_abi as abi
from septet.pollers.ring import Callback, Ring

OP_NOP = 0
REGISTER_PBUF_STATUS = 26  # Linux 6.8


def nop(ring: Ring, callback: Callback) -> int:
    """Prepare an operation that completes at once with 0."""
    return ring._prepare(callback, OP_NOP, -1)


def in_flight(ring: Ring) -> int:
    """The number of operations with a completion to come."""
    return len(ring._callbacks)


def buffers_taken(ring: Ring) -> int:
    """The number of provided buffers that hold data which no callback has been given yet, by the kernel's own count.

    Raises:
        OSError: EINVAL, the kernel is older than Linux 6.8 and does not tell.
    """
    buffers = ring._buffers
    if buffers is None:
        return 0
    status = bytearray(40)  # struct io_uring_buf_status: buf_group, head, reserved
    status[:4] = buffers.group.to_bytes(4, "little")
    abi.register(ring._fd, REGISTER_PBUF_STATUS, abi.address(status), 1)
    head = int.from_bytes(status[4:8], "little")
    return len(buffers._entries) - (buffers._tail - head & 0xFFFF)
