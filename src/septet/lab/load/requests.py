"""The bytes of the requests, made once; for each user of his own where `{user}` or cookies make them differ."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from .cookies import Jar
from .plan import PLACE, LoadError, Plan, Target, merged, split


@dataclass(frozen=True, slots=True)
class Requests:
    """What a user sends for each target, in their order."""

    keep: tuple[bytes, ...]  # on a connection that shall carry another request
    last: tuple[bytes, ...]  # on one that shall not


class Encoder:
    """Makes the requests of a plan. Raises LoadError at once for what HTTP does not allow in a head."""

    def __init__(self, plan: Plan) -> None:
        url, _ = split(plan.url)
        self._ours = [f"Host: {url.netloc.rpartition('@')[2]}"]
        if url.username is not None:  # RFC 7617
            pair = unquote_to_bytes(url.username) + b":" + unquote_to_bytes(url.password or "")
            self._ours.append(f"Authorization: Basic {b64encode(pair).decode()}")
        self._plan = plan
        self._targets = plan.all_targets()
        common = "".join(plan.headers)
        self._personal = PLACE in common or any(_is_personal(target) for target in self._targets)
        self._shared = self._encode(0, None)

    def requests_of(self, user: int, cookies: Jar | None = None) -> Requests:
        """What `user` sends now; the same object for all users when nothing in it is his own."""
        return self._encode(user, cookies) if self._personal or cookies else self._shared

    def _encode(self, user: int, cookies: Jar | None) -> Requests:
        close = self._plan.mode != "http10"
        return Requests(
            keep=tuple(self._request(target, user, cookies, close=False) for target in self._targets),
            last=tuple(self._request(target, user, cookies, close) for target in self._targets),
        )

    def _request(self, target: Target, user: int, cookies: Jar | None, close: bool) -> bytes:
        version = "HTTP/1.0" if self._plan.mode == "http10" else "HTTP/1.1"
        body = target.body.replace(PLACE, str(user)).encode("utf-8", "surrogateescape")
        path = target.path.replace(PLACE, str(user))
        ours = self._ours.copy()
        if body or target.method in ("POST", "PUT", "PATCH"):
            ours.append(f"Content-Length: {len(body)}")
        if close:
            ours.append("Connection: close")
        headers = _in_order(tuple(ours), merged(self._plan.headers, target.headers))
        lines = [f"{target.method} {path} {version}", *(header.replace(PLACE, str(user)) for header in headers)]
        if " " in target.path or not all(line.isascii() and line.isprintable() for line in lines):
            raise LoadError("the path and headers may hold printable ASCII only; write other characters as %XX")
        head = "\r\n".join(lines).encode("ascii")
        if cookies and (pairs := cookies.header(path.encode("ascii"))):
            head += b"\r\nCookie: " + pairs
        return head + b"\r\n\r\n" + body


def _in_order(ours: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """Host first (RFC 9110 section 7.2), then what was asked for, then the rest of ours that was not asked for."""
    kept = merged(ours, asked)[: -len(asked) or None]
    hosts = [header for header in (*kept, *asked) if header.lower().startswith("host:")]
    return (*hosts, *(header for header in (*asked, *kept) if header not in hosts))


def _is_personal(target: Target) -> bool:
    return any(PLACE in text for text in (target.path, target.body, *target.headers))
