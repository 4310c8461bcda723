"""Byte ranges: parses the parts of a file that a client asks for, and frames several in one answer (RFC 9110 section
14).

A set of ranges costs its sender a few bytes and could cost the server much more. So there are at most `MAX_RANGES` of
them, ranges that overlap or touch are merged, and no step costs more than sorting that many numbers.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_RANGES = 64
"""Most ranges in one request; Apache allows 200. RFC 9110 section 14.2 lets a server refuse many small or overlapping
ones."""

_HUGE = 10**18
"""Stands for any number of more than 18 digits: a position beyond the end of every file."""

_bytes_unit = re.compile(rb"[bB][yY][tT][eE][sS]=(.*)").fullmatch
_spec = re.compile(rb"[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*").fullmatch


class Spec(NamedTuple):
    """One range as the client asked for it: bytes `first` to `last`, both included; or with `first` None, the last
    `last` bytes."""

    first: int | None
    last: int


class Span(NamedTuple):
    """One part of a file: the bytes from `start` up to `stop`, which is not included."""

    start: int
    stop: int

    def content_range(self, size: int) -> bytes:
        """Return the value of Content-Range for this part of a file of `size` bytes (RFC 9110 section 14.4)."""
        return b"bytes %d-%d/%d" % (self.start, self.stop - 1, size)


Piece = bytes | Span
"""A part of an answer: bytes, or a part of the file."""


def read_ranges(value: bytes) -> tuple[Spec, ...] | None:
    """Parse a Range field; None if it must be ignored: another unit, or a malformed set. Empty if there are more than
    MAX_RANGES: then the answer is 416, as for a set that cannot be satisfied (RFC 9110 section 15.5.17).
    """
    matched = _bytes_unit(value)
    if not matched:
        return None
    if matched[1].count(b",") >= MAX_RANGES:
        return ()
    specs = []
    for element in matched[1].split(b","):
        if not element.strip(b" \t"):
            continue  # section 5.6.1.2: empty elements are ignored
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
    """Return `digits` as a number; _HUGE for more than 18 digits, because `int` takes quadratic time for long ones."""
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= 18 else _HUGE


def select(specs: tuple[Spec, ...], size: int) -> list[Span]:
    """Return the parts of a file of `size` bytes that answer these ranges. Parts that overlap or touch are merged.

    They are in the order in which they were asked for (RFC 9110 section 15.3.7.2), a merged one in the place of its
    first. Empty if no range can be satisfied.
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
    """Return the part of a file of `size` bytes that a range asks for; None if it cannot be satisfied (RFC 9110 section
    14.1.2).
    """
    if spec.first is None:
        return Span(max(0, size - spec.last), size) if spec.last and size else None
    return Span(spec.first, min(spec.last + 1, size)) if spec.first < size else None


class Multipart:
    """The body of a multipart/byteranges response (RFC 9110 section 14.6): part headers, parts of the file, closing
    boundary.

    It holds no data of the file: `pieces` yields a `Span` for each part, and the caller reads those bytes. `size` is
    the length of the whole file in bytes.
    """

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
        """Length of the body in bytes."""

    def pieces(self) -> Iterator[Piece]:
        """Yield the body in order: bytes to be sent as they are, and a `Span` for each part of the file."""
        for head, span in zip(self._heads, self._spans, strict=True):
            yield head
            yield span
        yield self._end
