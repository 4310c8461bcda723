"""The output queue of a session: bytes and parts of files that are not sent yet, in order.

An application may give output faster than its client takes it, as far as the process model allows. What it gives while
other output is unsent goes to the end of the queue. A base class of `Session`, which creates the attributes.
"""

from collections import deque

from septet.exchange import FileRegion, Part, Want
from septet.protocol import CLOSE, WRITE, Phase
from septet.session.phases import ANSWER, OVER

JOINED_BYTES = 65536
"""Bytes. Small output is joined into pieces of about this size, so that each send(2) is worth its cost; larger output
is not copied."""


class OutputQueue:
    """Output that was not sent yet, in the order `output`, `file`, `later`; and the connection's phase, which depends
    on whether there is any output.
    """

    __slots__ = ("file", "later", "lost", "output", "phase", "since")

    output: bytes | memoryview
    file: FileRegion | None
    """A part of a file that is to be sent to the client once all of `output` has been sent; None if there is none."""
    later: deque[bytes | bytearray | FileRegion] | None
    """Bytes and parts of files that are to be sent to the client once `output` and `file` have been sent, in this
    order; None, as is usual, if there are none.
    """
    phase: Phase
    since: float | None
    """When the phase began, in seconds on the clock of `deadline`; None until `deadline` is called in the phase."""
    lost: bool

    def _flushed(self) -> Want:
        """Called when all output has been sent: enter the next phase, and return what the connection wants in it.
        `Session` implements it.
        """
        raise NotImplementedError

    def _enter(self, phase: Phase) -> Want:
        """Enter a phase, so that its time begins, and return what the connection wants in it."""
        self.phase = phase
        self.since = None
        return phase.want

    def wrote(self, count: int) -> Want:
        output = self.output
        if output:
            if count < len(output):
                self.output = memoryview(output)[count:]
                return WRITE
            self.output = b""
            if self.file is not None:
                return WRITE
            return self._flushed() if self.later is None else self._next_queued(self.later)
        assert self.file is not None
        return self._wrote_file(self.file, count)

    def read_file(self, data: bytes) -> Want:
        raise AssertionError("a file goes by sendfile(2)")

    def _wrote_file(self, file: FileRegion, count: int) -> Want:
        if not count:  # The file is shorter than it was: what was promised cannot be kept.
            return self.lose()
        file.offset += count
        file.count -= count
        if file.count:
            return WRITE
        self.file = None
        return self._flushed() if self.later is None else self._next_queued(self.later)

    def _next_queued(self, later: "deque[bytes | bytearray | FileRegion]") -> Want:
        """Take the first items from the queue `later`: bytes become `output`, and a part of a file becomes `file`; both
        are taken if they come in this order. Returns WRITE.
        """
        if not isinstance(later[0], FileRegion):
            self.output = bytes(later.popleft())  # type: ignore[arg-type]
        if later and isinstance(later[0], FileRegion):
            self.file = later.popleft()  # type: ignore[assignment]
        if not later:
            self.later = None
        return WRITE

    def _queue(self, data: bytes, body: Part) -> Want:
        """Append `data` to the queue, and then `body` if it is a FileRegion; a body in memory is part of `data`
        already. Returns what the connection wants next.
        """
        if self.lost:
            return CLOSE
        if self.file is not None or self.later is not None or len(self.output) > JOINED_BYTES:
            self._enqueue(data, body)
            return WRITE
        self.output = bytes(self.output) + data if self.output else data
        if type(body) is not bytes and isinstance(body, FileRegion) and body.count:
            self.file = body
        elif not self.output:
            return self._flushed()
        self.phase = ANSWER
        self.since = None
        return WRITE

    def _enqueue(self, data: bytes, body: Part) -> None:
        """Append `data` to `later`, and then `body` if it is a FileRegion; a body in memory is part of `data` already.
        Small pieces in memory are joined, since an application may give very many.
        """
        later = self.later
        if later is None:
            later = self.later = deque()
        last = later[-1] if later else None
        if isinstance(last, bytearray) and len(last) + len(data) <= JOINED_BYTES:
            last += data
        elif data:
            later.append(bytearray(data) if len(data) < JOINED_BYTES else data)
        if isinstance(body, FileRegion) and body.count:
            later.append(body)
        if not later:
            self.later = None

    @property
    def in_memory(self) -> int:
        """Bytes of unsent output that are held in memory; parts of files do not count."""
        return len(self.output) + sum(len(item) for item in self.later or () if not isinstance(item, FileRegion))

    def lose(self) -> Want:
        self.lost = True
        self.output = b""
        self.file = self.later = None
        return self._enter(OVER)
