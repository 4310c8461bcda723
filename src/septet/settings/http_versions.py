"""The versions of HTTP that a server speaks: `--http`, `--http2-cleartext`, and whether the library is installed."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from septet.errors import Failed

if TYPE_CHECKING:
    from septet.settings.config import Config

AUTO = "auto"
NAMES = {"h1": "http/1.1", "h2": "h2"}
"""The names of the option, and those of ALPN (RFC 7301) for the same."""

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


def is_installed() -> bool:
    """True if the library for HTTP/2 is there: the extra septet[http2]."""
    return find_spec("h2") is not None


def versions_over_tls(config: "Config") -> tuple[str, ...]:
    """Return the versions that clients of TLS are offered, the preferred one first, as ALPN names them. Raises Failed
    if HTTP/2 is asked for and the library is lacking."""
    words = parse_versions(config.http) or (("h2", "h1") if is_installed() else ("h1",))
    asked = f"--http is {config.http}" if "h2" in words else "--http2-cleartext is on" if config.http2_cleartext else ""
    if asked and not is_installed():
        raise Failed(f"{asked}, and the library h2 is not installed: pip install 'septet[http2]'")
    return tuple(NAMES[word] for word in words)
