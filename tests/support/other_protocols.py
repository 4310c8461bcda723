"""Two protocols beside HTTP/1.1, to show that carriers know nothing of what they carry (`septet.protocol`).

`Echo` reads while it writes, which takes EITHER. `Sealed` is a cipher around HTTP/1.1, as TLS is: it changes every
byte, and so has to see those of files. A worse cipher would be hard to find.
"""

from septet.exchange import FileRegion, Want
from septet.protocol import CLOSE, EITHER, READ, WRITE, Phase, ServerExchange
from septet.session.http1 import Session

KEY = bytes(number ^ 0x5A for number in range(256))

_LISTENING = Phase("listening", READ, "keep_alive", idle=True)
_TALKING = Phase("talking", EITHER, "write", paced=False)
_FINISHING = Phase("finishing", WRITE, "write")
_OVER = Phase("over", CLOSE, None)


def sealed(data: bytes | memoryview) -> bytes:
    """Sealed, or opened again."""
    return bytes(data).translate(KEY)


class Echo:
    """Gives back what comes, and goes on receiving while the client does not read."""

    reads_files = False
    gone = lost = stopping = closes = may_have_unread_input = False
    unread = 0
    file = None
    delivery = None

    def __init__(self) -> None:
        self.phase = _LISTENING
        self.since: float | None = None
        self.output: bytes | memoryview = b""
        self.ended = False

    @property
    def exchange(self) -> ServerExchange:
        raise AssertionError("there is never anything to run")

    yields = True

    def take_turn(self) -> ServerExchange:
        raise AssertionError("there is never a turn")

    def receive(self, data: bytes) -> Want:
        self.ended = self.ended or not data
        self.output = bytes(self.output) + data
        return self._go_on()

    def wrote(self, count: int) -> Want:
        self.output = memoryview(self.output)[count:]
        return self._go_on()

    def _go_on(self) -> Want:
        if self.ended:
            self.phase = _FINISHING if self.output else _OVER
        else:
            self.phase = _TALKING if self.output else _LISTENING
        self.since = None
        return self.phase.want

    def read_file(self, data: bytes) -> Want:
        raise AssertionError("there is no file")

    def deadline(self, now: float) -> float | None:
        return None

    def waited(self, now: float) -> None:
        pass

    def expire(self) -> Want:
        raise AssertionError("there is no deadline")

    def drain(self) -> Want:
        return self.stop()

    def stop(self) -> Want:
        if self.phase is _LISTENING:
            self.phase = _OVER
        return self.phase.want

    def lose(self) -> Want:
        self.lost = True
        self.output, self.phase = b"", _OVER
        return CLOSE

    def half_close(self) -> bool:
        return False

    def close(self) -> None:
        pass


class Sealed:
    """HTTP/1.1 in a cipher. Where that would write, this one reads as well, as TLS has to."""

    reads_files = True
    delivery = None

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self._record: bytes | memoryview = b""
        self._inner_bytes = 0
        """How many bytes of the inner protocol's the record began with."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._inner, name, value)

    @property
    def phase(self) -> Phase:
        phase = self._inner.phase
        return phase._replace(want=EITHER) if phase.want is WRITE and self.file is None else phase

    @property
    def file(self) -> FileRegion | None:
        return None if self._record or self._inner.output else self._inner.file

    @property
    def output(self) -> bytes | memoryview:
        if not self._record and self._inner.output:
            self._seal(self._inner.output)
        return self._record

    def _seal(self, data: bytes | memoryview) -> None:
        self._record = sealed(data)
        self._inner_bytes = len(data)

    def receive(self, data: bytes) -> Want:
        self._inner.receive(sealed(data))
        return self.phase.want

    def wrote(self, count: int) -> Want:
        self._record = memoryview(self._record)[count:]
        if not self._record:
            self._inner.wrote(self._inner_bytes)
        return self.phase.want

    def read_file(self, data: bytes) -> Want:
        self._seal(data)
        return self.phase.want

    def lose(self) -> Want:
        self._record = b""
        return self._inner.lose()
