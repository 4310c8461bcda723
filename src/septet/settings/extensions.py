"""The extensions of ASGI that Septet implements, as `--asgi-extensions` spells them.

https://asgi.readthedocs.io/en/latest/extensions.html
"""

import re

_PREFIX = "http.response."

NAMES = ("early_hint", "trailers", "pathsend", "zerocopysend")

OFFERED = ("early_hint", "trailers")
"""By default: what an application uses only when it means to.

The other two change how applications answer that know nothing of the server. Where path send is offered, Starlette's
FileResponse uses it, and its GZipMiddleware then sends the file as it is: 1300 bytes instead of 44. asgikit does the
like with zero copy send, whose messages Starlette's GZipMiddleware drops.
"""

SYNTAX = f"none, or some of {', '.join(NAMES)} (or with {_PREFIX} before the name), separated by commas"


def parse_extensions(text: str) -> tuple[str, ...]:
    """The full names, such as `http.response.pathsend`, that `text` spells. Raises ValueError, "must be ..."."""
    words = [word.removeprefix(_PREFIX) for word in re.split(r"[,\s]+", text) if word]
    if words == ["none"]:
        return ()
    if not words or not set(words) <= set(NAMES):
        raise ValueError(f"must be {SYNTAX}")
    return tuple(_PREFIX + word for word in words)
