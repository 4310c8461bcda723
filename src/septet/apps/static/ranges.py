"""Byte ranges: which parts of a file a client asks for, and how several are sent at once (RFC 9110 section 14).

A set of ranges costs its sender a few bytes and could cost the server much more: so there are at most `MAX_RANGES` of
them, what overlaps or touches is sent once, and nothing here takes longer than sorting so many numbers.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_RANGES = 64
"""In one request; Apache stops at 200. Section 14.2 lets a server refuse many small or overlapping ones."""

_HUGE = 10**18
"""Any number of more digits: a position beyond the end of every file."""

_bytes_unit = re.compile(rb"[bB][yY][tT][eE][sS]=(.*)").fullmatch
_spec = re.compile(rb"[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*").fullmatch


class Spec(NamedTuple):
    """One range as it was asked for: from `first` to `last`, both included, or without `first` the `last` bytes."""

    first: int | None
    last: int


class Span(NamedTuple):
    """One part of a file: the bytes from `start` up to `stop`, which is not included."""

    start: int
    stop: int

    def content_range(self, size: int) -> bytes:
        """The value of Content-Range for this part of `size` bytes (section 14.4)."""
        return b"bytes %d-%d/%d" % (self.start, self.stop - 1, size)


Piece = bytes | Span
"""Something to send: bytes as they are, or a part of the file."""


def read_ranges(value: bytes) -> tuple[Spec, ...] | None:
    """The ranges that a Range field asks for; None for what is to be ignored: another unit, or a malformed set.

    Of too many nothing is left, so that the answer is 416 as for a set that cannot be satisfied (section 15.5.17).
    """
    matched = _bytes_unit(value)
    if not matched:
        return None
    if matched[1].count(b",") >= MAX_RANGES:
        return ()
    specs = []
    for element in matched[1].split(b","):
        if not element.strip(b" \t"):
            continue  # section 5.6.1.2: empty elements of a list do not count
        spec = _read_spec(element)
        if spec is None:
            return None
        specs.append(spec)
    return tuple(specs) or None


def _read_spec(element: bytes) -> Spec | None:
    matched = _spec(element)
    if not matched:
        return None
    first, last, suffix = matched.groups()
    if suffix is not None:
        return Spec(None, _number(suffix))
    spec = Spec(_number(first), _number(last) if last else _HUGE)
    return spec if spec.first is None or spec.first <= spec.last else None


def _number(digits: bytes) -> int:
    """`int` would take quadratic time for what a client can send."""
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= 18 else _HUGE


def select(specs: tuple[Spec, ...], size: int) -> list[Span]:
    """The parts of a file of `size` bytes that are to be sent: without overlaps, none that touches another.

    They come in the order in which they were asked for (section 15.3.7.2), a merged one in the place of its first.
    Empty when nothing can be satisfied.
    """
    wanted = [span for spec in specs if (span := _span(spec, size)) is not None]
    merged: list[tuple[int, Span]] = []
    for span, place in sorted((span, place) for place, span in enumerate(wanted)):
        if merged and span.start <= merged[-1][1].stop:
            before, last = merged.pop()
            place, span = min(place, before), Span(last.start, max(last.stop, span.stop))
        merged.append((place, span))
    return [span for _, span in sorted(merged)]


def _span(spec: Spec, size: int) -> Span | None:
    """None for what cannot be satisfied (section 14.1.2)."""
    if spec.first is None:
        return Span(max(0, size - spec.last), size) if spec.last and size else None
    return Span(spec.first, min(spec.last + 1, size)) if spec.first < size else None


class Multipart:
    """The frame around several parts: multipart/byteranges (section 14.6), with a boundary that no file can foresee."""

    def __init__(self, boundary: bytes, media_type: bytes, spans: list[Span], size: int) -> None:
        self.content_type = b"multipart/byteranges; boundary=" + boundary
        self._spans = spans
        self._heads = [
            b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
            % (boundary, media_type, span.content_range(size))
            for span in spans
        ]
        self._end = b"\r\n--%b--\r\n" % boundary
        self.length = sum(map(len, self._heads)) + sum(stop - start for start, stop in spans) + len(self._end)
        """Bytes of the whole."""

    def pieces(self) -> Iterator[Piece]:
        """All that is to be sent."""
        for head, span in zip(self._heads, self._spans, strict=True):
            yield head
            yield span
        yield self._end
