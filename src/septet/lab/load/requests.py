"""The bytes of the requests, made once; for each user of his own where `{user}` or cookies make them differ."""

from __future__ import annotations

from dataclasses import dataclass

from .plan import LoadError, Plan, Target, split

PLACE = "{user}"


@dataclass(frozen=True, slots=True)
class Requests:
    """What a user sends for each target, in their order."""

    keep: tuple[bytes, ...]  # on a connection that shall carry another request
    last: tuple[bytes, ...]  # on one that shall not


class Encoder:
    """Makes the requests of a plan. Raises LoadError at once for what HTTP does not allow in a head."""

    def __init__(self, plan: Plan) -> None:
        url, _ = split(plan.url)
        self._host = url.netloc.rpartition("@")[2]
        self._plan = plan
        self._targets = plan.all_targets()
        common = "".join(plan.headers)
        self._personal = PLACE in common or any(_is_personal(target) for target in self._targets)
        self._shared = self._encode(0, {})

    def requests_of(self, user: int, cookies: dict[bytes, bytes]) -> Requests:
        """What `user` sends now; the same object for all users when nothing in it is his own."""
        return self._encode(user, cookies) if self._personal or cookies else self._shared

    def _encode(self, user: int, cookies: dict[bytes, bytes]) -> Requests:
        close = self._plan.mode != "http10"
        return Requests(
            keep=tuple(self._request(target, user, cookies, close=False) for target in self._targets),
            last=tuple(self._request(target, user, cookies, close) for target in self._targets),
        )

    def _request(self, target: Target, user: int, cookies: dict[bytes, bytes], close: bool) -> bytes:
        version = "HTTP/1.0" if self._plan.mode == "http10" else "HTTP/1.1"
        body = target.body.replace(PLACE, str(user)).encode("utf-8", "surrogateescape")
        lines = [f"{target.method} {target.path} {version}", f"Host: {self._host}"]
        lines += [*self._plan.headers, *target.headers]
        if body or target.method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        if close:
            lines.append("Connection: close")
        lines = [line.replace(PLACE, str(user)) for line in lines]
        if " " in target.path or not all(line.isascii() and line.isprintable() for line in lines):
            raise LoadError("the path and headers may hold printable ASCII only; write other characters as %XX")
        head = "\r\n".join(lines).encode("ascii")
        if cookies:
            head += b"\r\nCookie: " + b"; ".join(b"%b=%b" % pair for pair in cookies.items())
        return head + b"\r\n\r\n" + body


def _is_personal(target: Target) -> bool:
    return any(PLACE in text for text in (target.path, target.body, *target.headers))
