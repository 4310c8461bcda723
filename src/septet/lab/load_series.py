"""Files that `septet load` writes while a run lasts: a series of its seconds, and a log of latency histograms.

Both are made from the event "second" of the load generator (see `load.seconds`): what was counted in a second, or in
the part of one that belongs to one phase of the run, by all of its processes together.
"""

from __future__ import annotations

import base64
import datetime
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from septet.errors import Failed
from septet.lab.load import Histogram, unpacked

Piece = dict[str, Any]
MEASURED = ("measured", "after")
"""Phases of a run (see `load.seconds`) whose latencies, together, are those of the run's figures."""

COMPRESSED_COOKIE, COOKIE = 0x1C849304 | 0x10, 0x1C849303 | 0x10
"""The first 32 bits of an HdrHistogram in encoding V2, compressed and not compressed; 0x10 says that counts have a
variable length.
"""
HEADER = struct.Struct(">iiiiqqd")
"""The header of an encoded histogram, for `struct`: cookie, bytes of counts, index of the first bucket, significant
digits, lowest and highest value, unit.
"""
DIGITS = 2
"""Significant digits of the encoded histogram. With two, HdrHistogram has the same buckets as `Histogram`: 128 from
each power of two to the next.
"""
HIGHEST_US = (1 << 40) - 1


@contextmanager
def written(series: Path | None, hdr: Path | None) -> Iterator[Callable[[str, dict[str, Any]], None]]:
    """Open the files for `septet load --series` and `--hdr` (None: not wanted), and yield a function that writes to
    them: it is to be called with each event of the load generator.

    Raises Failed for a file that cannot be written, before anything is sent.
    """
    with ExitStack() as stack:
        writers: list[Callable[[Piece], None]] = []
        for path, kind in ((series, SeriesFile), (hdr, HdrLog)):
            if path is not None:
                try:
                    file = stack.enter_context(path.open("w"))
                except OSError as error:
                    raise Failed(f"{path} cannot be written: {error.strerror}") from None
                writers.append(kind(file).write)

        def receive(event: str, details: dict[str, Any]) -> None:
            for write in writers if event == "second" else ():
                write(details)

        yield receive


class SeriesFile:
    """A file of JSON, one line for each second and phase; docs/reference/results.md has its keys."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._first_ns: int | None = None

    def write(self, piece: Piece) -> None:
        first_ns = self._first_ns = self._first_ns or piece["begun_ns"]
        latency = unpacked(piece["latency"]).summary()
        line = {
            "from_s": round((piece["begun_ns"] - first_ns) / 1e9, 3),
            "to_s": round((piece["ended_ns"] - first_ns) / 1e9, 3),
            "phase": piece["phase"],
            "processes": piece.get("processes", 1),
            "offered": piece["due"],
            "carried": piece["answers"],
            "errors": piece["errors"],
            "no_free_connection": piece["no_free_connection"],
            "under_way": piece["under_way"],
            "latency_us": latency,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class HdrLog:
    """A log of HdrHistogram's format 1.3, with an interval for each second of the measured time. Latencies are in
    microseconds.

    Together the intervals have exactly the latencies of the run's figures.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._first_ns: int | None = None

    def write(self, piece: Piece) -> None:
        if piece["phase"] not in MEASURED:
            return
        if self._first_ns is None:
            self._first_ns = piece["begun_ns"]
            self._head(time.time() - (time.monotonic_ns() - self._first_ns) / 1e9)
        histogram = unpacked(piece["latency"])
        begin_s, length_s = ((each - self._first_ns) / 1e9 for each in (piece["begun_ns"], piece["ended_ns"]))
        text = base64.b64encode(encoded(histogram)).decode()
        # The maximum of an interval is told in milliseconds.
        self._file.write(f"{begin_s:.3f},{length_s - begin_s:.3f},{histogram.max_us / 1000:.3f},{text}\n")
        self._file.flush()

    def _head(self, start_s: float) -> None:
        when = datetime.datetime.fromtimestamp(start_s, datetime.UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
        self._file.write(
            "#[Latencies in microseconds; Interval_Max in milliseconds]\n"
            "#[Histogram log format version 1.3]\n"
            f"#[StartTime: {start_s:.3f} (seconds since epoch), {when}]\n"
            f"#[BaseTime: {start_s:.3f} (seconds since epoch)]\n"
            '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
        )


def encoded(histogram: Histogram) -> bytes:
    """Return a histogram in HdrHistogram's encoding V2, compressed."""
    counts = b"".join(_runs(histogram.counts))
    whole = HEADER.pack(COOKIE, len(counts), 0, DIGITS, 1, HIGHEST_US, 1.0) + counts
    packed = zlib.compress(whole)
    return struct.pack(">ii", COMPRESSED_COOKIE, len(packed)) + packed


def _runs(counts: list[int]) -> Iterator[bytes]:
    """Yield the encoded counts, up to the last one above 0. A count above 0 is one number; a run of zeros is one
    negative number, which says how many zeros there are.
    """
    zeros = 0
    for count in counts:
        if not count:
            zeros += 1
            continue
        if zeros:
            yield _number(-zeros)
        zeros = 0
        yield _number(count)


def _number(value: int) -> bytes:
    """Return an integer as ZigZag LEB128 of 64 bits: seven bits in each byte, the lowest first; a ninth byte has the
    last eight.
    """
    rest = (value << 1) ^ (value >> 63)
    found = bytearray()
    while rest > 0x7F and len(found) < 8:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)
