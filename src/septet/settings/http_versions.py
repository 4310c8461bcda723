"""The versions of HTTP that a server speaks: `--http`, `--http2-cleartext`, and whether the library is installed."""

from importlib import import_module
from importlib.util import find_spec

from septet.errors import Failed

AUTO = "auto"
NAMES = {"h1": "http/1.1", "h2": "h2"}
"""The values of `--http`, each with the name of the same version of HTTP in ALPN (RFC 7301)."""

OLDEST = (4, 4)
"""The oldest version, (major, minor), of the package `h2` that is supported."""

SYNTAX = "auto, or h1, h2 or both, separated by a comma"


def parse_versions(text: str) -> tuple[str, ...]:
    """Parse a value of `--http`; () for `auto`. Raises ValueError, whose text ("must be ...") completes the sentence
    about the value."""
    if text == AUTO:
        return ()
    words = tuple(word.strip() for word in text.split(","))
    if not set(words) <= NAMES.keys() or len(set(words)) < len(words):
        raise ValueError(f"must be {SYNTAX}")
    return words


def lacking_library() -> str:
    """Return why the library for HTTP/2 cannot be used, in words; empty if it can."""
    if find_spec("h2") is None:
        return "the library h2 is not installed"
    found: str = import_module("h2").__version__
    if tuple(int(number) for number in found.split(".")[:2]) < OLDEST:
        return f"the library h2 is version {found}, but must be 4.4.1 or later"
    return ""


def versions_over_tls(http: str, http2_cleartext: bool) -> tuple[str, ...]:
    """Return the versions that clients of TLS are offered, the preferred one first, as ALPN names them. `http`: the
    value of `--http`. Raises Failed if HTTP/2 is asked for, by it or by `--http2-cleartext`, and the library cannot be
    used.
    """
    asked = parse_versions(http)
    if "h2" in asked or http2_cleartext:
        if lacking := lacking_library():
            by = f"--http is {http}" if "h2" in asked else "--http2-cleartext is on"
            raise Failed(f"{by}, and {lacking}: pip install 'septet[http2]'")
    elif not asked:
        return ("h2", "http/1.1") if not lacking_library() else ("http/1.1",)
    return tuple(NAMES[word] for word in asked or ("h2", "h1"))
