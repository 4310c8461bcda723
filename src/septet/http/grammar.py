"""Which bytes may stand where in an HTTP/1.1 message.

RFC 9110 section 5 and RFC 9112 sections 2-7. Everything is checked with the C methods of `bytes` or with one anchored
expression that cannot backtrack, so the cost is linear in any input. `strip()` without an argument, `splitlines()` and
bare `int()` are never used on received bytes: they accept more white space, line ends and digits than HTTP does, and
request smuggling exploits such differences.
"""

import re

CRLF = b"\r\n"

WHITESPACE = b" \t"
"""OWS of RFC 9110 section 5.6.3."""

_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

is_token = re.compile(_TCHAR + rb"+").fullmatch
"""token of RFC 9110 section 5.6.2: methods and field names."""

is_digits = re.compile(rb"[0-9]{1,19}").fullmatch
"""1*DIGIT of Content-Length; nineteen digits suffice for every number below 2**63."""

is_chunk_size = re.compile(rb"[0-9A-Fa-f]{1,16}").fullmatch
"""chunk-size of RFC 9112 section 7.1, bounded to 64 bits."""

is_version = re.compile(rb"HTTP/([0-9])\.([0-9])").fullmatch
"""HTTP-version of RFC 9112 section 2.3: case-sensitive, one digit each."""

_QUOTED = rb'"(?:[^\x00-\x08\x0A-\x1F"\\\x7F]|\\[^\x00-\x08\x0A-\x1F\x7F])*"'

is_chunk_extensions = re.compile(
    rb"(?:[ \t]*+;[ \t]*+%b++(?:[ \t]*+=[ \t]*+(?:%b++|%b))?)*" % (_TCHAR, _TCHAR, _QUOTED)
).fullmatch
"""chunk-ext of RFC 9112 section 7.1.1: names, with tokens or quoted strings for values."""

is_host = re.compile(
    rb"(?:(?:(?:[0-9A-Za-z\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})+"
    rb"|\[(?:[0-9A-Fa-f:.]++|[vV][0-9A-Fa-f]++\.[0-9A-Za-z\-._~!$&'()*+,;=:]++)\])(?::[0-9]{0,5})?)?"
).fullmatch
"""uri-host [ ":" port ] of RFC 9110 section 7.2, or empty. The caller refuses a port without a host (section 4.2.1)."""

split_absolute = re.compile(rb"((?i:https?))://([^/?]+)([^?]*)(\?.*)?").fullmatch
"""absolute-form of RFC 9112 section 3.2.2: scheme, authority, path, query."""

match_coding = re.compile(
    rb"[, \t]*+(?:(%b++)((?:[ \t]*+;[ \t]*+%b++[ \t]*+=[ \t]*+(?:%b++|%b))*)[ \t]*+)?(,|\Z)"
    % (_TCHAR, _TCHAR, _TCHAR, _QUOTED)
).match
"""One element of a list of transfer-codings (RFC 9110 section 10.1.4) and what ends it. Groups: name, parameters, comma
(empty at the end). Empty elements before it are skipped (section 5.6.1.2)."""

BLANKED = bytes(0x20 if (byte < 0x20 and byte != 0x09) or byte == 0x7F else byte for byte in range(256))
"""A table for `translate` that replaces control bytes other than the tab by blanks. A field value that it changes holds
a byte that field-content excludes (RFC 9110 section 5.5). `translate` is faster with a table than with bytes to delete.
"""

TOKEN_RUN = _TCHAR + rb"*+"
TARGET_RUN = rb"[!\"$-~]*+"
"""As many bytes of a token, or of a request-target, as there are; for `match`."""

TARGET_BYTES = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))
"""request-target: visible ASCII; a fragment is never sent (RFC 9112 section 3.2)."""

MAX_LENGTH = 2**63
"""Lengths at or above this are refused, so that what we accept overflows no 64-bit arithmetic behind us."""


def is_from_proxies(name: bytes) -> bool:
    """Whether a field is one that only a proxy may send, because frameworks believe what it says about the client."""
    return name.startswith(b"x-forwarded-") or name in (b"forwarded", b"x-real-ip")
