"""The extensions of ASGI that Septet implements, as `--asgi-extensions` spells them.

https://asgi.readthedocs.io/en/latest/extensions.html
"""

import re

_PREFIX = "http.response."

NAMES = ("early_hint", "trailers", "pathsend", "zerocopysend")

OFFERED = ("early_hint", "trailers")
"""The extensions that are offered by default: those that an application uses only on purpose.

The other two, path send and zero copy send, change answers of applications that do not ask for them. Where path send is
offered, Starlette's FileResponse uses it, and its GZipMiddleware then sends the file uncompressed: 1300 bytes instead
of 44. asgikit uses zero copy send in the same way, and Starlette's GZipMiddleware drops these messages.
"""

SYNTAX = f"none, or some of {', '.join(NAMES)} (or with {_PREFIX} before the name), separated by commas"


def parse_extensions(text: str) -> tuple[str, ...]:
    """Parse a value of `--asgi-extensions`; returns full names, such as `http.response.pathsend`.

    Raises ValueError, whose text ("must be ...") completes the sentence about the value.
    """
    words = [word.removeprefix(_PREFIX) for word in re.split(r"[,\s]+", text) if word]
    if words == ["none"]:
        return ()
    if not words or not set(words) <= set(NAMES):
        raise ValueError(f"must be {SYNTAX}")
    return tuple(_PREFIX + word for word in words)
