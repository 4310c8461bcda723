"""What a user does with Set-Cookie (RFC 6265): he keeps the pair, and sends it with every request from then on.

He visits one server only, so of the attributes none matters to him but a Max-Age that takes the cookie back.
"""

from __future__ import annotations

from collections.abc import Iterable


def take(cookies: dict[bytes, bytes], values: Iterable[bytes]) -> None:
    """Put what the values of Set-Cookie say into a user's cookies."""
    for text in values:
        pair, *attributes = [part.strip() for part in text.split(b";")]
        name, _, value = pair.partition(b"=")
        ages = [each.partition(b"=")[2] for each in attributes if each.lower().startswith(b"max-age=")]
        if any(age.startswith((b"0", b"-")) for age in ages):
            cookies.pop(name, None)
        else:
            cookies[name] = value
