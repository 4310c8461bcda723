"""The parts of a request's time, in the order in which a request passes through them; pictures and tables follow it."""

from __future__ import annotations

from dataclasses import dataclass

LISTEN, BUFFER, THREAD, GIL = "listen", "buffer", "thread", "gil"
CPU, APPLICATION, WRITING, OTHER = "cpu", "application", "writing", "other"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a request's time."""

    key: str
    """The part's name in results.json."""
    short: str
    """The part's name within a bar and at the head of a column."""
    name: str
    """The part's name in the legend."""
    told: str
    """How sentences name the part: completes "a request waits ... ms", or "a request spends ... ms"."""
    meaning: str


PARTS = (
    Part(
        LISTEN,
        "listen queue",
        "in the listen queue",
        "in the listen queue",
        "from connecting until the server has accepted the connection; repeated SYNs of a full queue included",
    ),
    Part(
        BUFFER,
        "unread",
        "unread in the kernel's buffer",
        "unread in the kernel's buffer",
        "from then, or on a kept connection from sending, until the server has read the head",
    ),
    Part(
        THREAD,
        "thread",
        "waiting for a thread",
        "for a thread",
        "from then until the application is called",
    ),
    Part(
        GIL,
        "GIL",
        "waiting for the GIL",
        "for the GIL",
        "the thread that has the request, or that takes it next, waits for Python's global lock",
    ),
    Part(
        CPU,
        "CPU",
        "waiting for a CPU",
        "for a CPU",
        "that thread could run, and other threads or programs have the CPU",
    ),
    Part(
        APPLICATION,
        "application",
        "in the application",
        "in the application",
        "the application runs, or waits for what it has asked for itself: a database, a lock, a sleep, an await",
    ),
    Part(
        WRITING,
        "writing",
        "writing the answer",
        "in writing",
        "from the end of the application until the kernel has the last byte; of an answer that comes in several "
        "pieces, until the user has it",
    ),
    Part(
        OTHER,
        "other",
        "other: until the user has read it",
        "until the user has read it",
        "what is left: from then until the load generator has read the answer",
    ),
)
KEYS = tuple(part.key for part in PARTS)
