"""Two servers' answers to the same visit, field by field.

What is a server's own is left out (Date, Server, the connection's fields). How a body ends is compared by its sense: a
Content-Length of the peer's is the application's, and must be there; where the peer sends chunks, a server may know the
length. That is a remark, not a fault.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from real_apps.applications import Scrub
from real_apps.visit import Observation

OWN_FIELDS = frozenset({"date", "server", "connection", "keep-alive"})
FRAMING = frozenset({"content-length", "transfer-encoding"})

_ALWAYS: Scrub = (
    (rb"\w{3}, \d\d[ -]\w{3}[ -]\d{4} \d\d:\d\d:\d\d GMT", b"<date>"),
    (rb"(127\.0\.0\.1|localhost):\d+", b"<host>"),
)
_SHOWN = 60


class Difference(NamedTuple):
    """`remark`: it is worth a line, and no fault."""

    text: str
    remark: bool = False


def differences(ours: Sequence[Observation], theirs: Sequence[Observation], scrub: Scrub) -> list[Difference]:
    """What another server's client would notice, in the order of the answers."""
    found = []
    if [each.what for each in ours] != [each.what for each in theirs]:
        found.append(Difference(f"{len(ours)} answers, the peer gave {len(theirs)}: {_first_other(ours, theirs)}"))
    for our, their in zip(ours, theirs, strict=False):
        if our.what == their.what:
            found += [Difference(f"{our.what}: {text}", remark) for text, remark in _compare(our, their, scrub)]
    return found


def _first_other(ours: Sequence[Observation], theirs: Sequence[Observation]) -> str:
    for our, their in zip(ours, theirs, strict=False):
        if our.what != their.what:
            return f"{our.what}, not {their.what}"
    longer = max(ours, theirs, key=len)
    return f"{longer[min(len(ours), len(theirs))].what} is the first without a counterpart"


def _compare(our: Observation, their: Observation, scrub: Scrub) -> list[Difference]:
    found = []
    if our.status != their.status:
        found.append(Difference(f"status {our.status}, the peer's is {their.status}"))
    mine, peers = _fields(our, scrub), _fields(their, scrub)
    found += [
        Difference(f"{name}: {_shown(mine.get(name))}, the peer's: {_shown(peers.get(name))}")
        for name in sorted(mine.keys() | peers.keys())
        if mine.get(name) != peers.get(name)
    ]
    found += _framing(our, their, scrub)
    our_body, their_body = _scrubbed(our.body, scrub), _scrubbed(their.body, scrub)
    if our_body != their_body:
        found.append(Difference(f"another body: {_around_difference(our_body, their_body)}"))
    return found


def _fields(observation: Observation, scrub: Scrub) -> dict[str, list[str]]:
    """By name; a repeated field's values in their order, which counts (RFC 9110, section 5.3)."""
    fields: dict[str, list[str]] = {}
    for name, value in observation.fields:
        name = name.lower()
        if name not in OWN_FIELDS | FRAMING:
            line = _scrubbed(f"{name}: {value}".encode("latin-1"), scrub).decode("latin-1")
            fields.setdefault(name, []).append(line.removeprefix(f"{name}: "))
    return fields


def _framing(our: Observation, their: Observation, scrub: Scrub) -> list[Difference]:
    """The length is compared where it is not that of a body with something random in it."""
    mine, peers = _ending(our), _ending(their)
    if mine == peers:
        return []
    if not peers.isdigit():
        mine, peers = (("a length" if ending.isdigit() else ending or "nothing") for ending in (mine, peers))
        return [Difference(f"framed by {mine}, the peer's by {peers}", remark=True)]
    if not mine.isdigit():
        return [Difference(f"framed by {mine or 'nothing'}, but the application says Content-Length: {peers}")]
    random = _scrubbed(their.body, scrub) != their.body
    return [] if random else [Difference(f"Content-Length {mine}, the peer's is {peers}")]


def _ending(observation: Observation) -> str:
    """The value of Content-Length, else `chunked`, else nothing."""
    fields = {name.lower(): value for name, value in observation.fields}
    return fields.get("content-length") or fields.get("transfer-encoding") or ""


def _scrubbed(text: bytes, scrub: Scrub) -> bytes:
    for expression, placeholder in (*_ALWAYS, *scrub):
        text = re.sub(expression, placeholder, text)
    return text


def _shown(values: list[str] | None) -> str:
    return "missing" if values is None else ", ".join(values)[: 2 * _SHOWN]


def _around_difference(ours: bytes, theirs: bytes) -> str:
    at = next((index for index, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    if at is None:
        return f"{len(ours)} bytes, the peer's has {len(theirs)}"
    start = max(0, at - _SHOWN // 3)
    return f"{ours[start : at + _SHOWN]!r}, the peer's {theirs[start : at + _SHOWN]!r}"
