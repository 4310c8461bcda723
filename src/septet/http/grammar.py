"""Which bytes may stand where in an HTTP/1.1 message.

RFC 9110 section 5 and RFC 9112 sections 2-7. Everything is checked with the C methods of `bytes` or with one anchored
expression that cannot backtrack, so the cost is linear in any input. `strip()` without an argument, `splitlines()` and
bare `int()` are never used on received bytes: they accept more white space, line ends and digits than HTTP does, and
request smuggling exploits such differences.
"""

import re

CRLF = b"\r\n"

WHITESPACE = b" \t"
"""The bytes of optional white space, OWS (RFC 9110 section 5.6.3); for `strip`."""

_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

is_token = re.compile(_TCHAR + rb"+").fullmatch
"""Match token of RFC 9110 section 5.6.2: a method or the name of a field. Like the other `is_...`, it takes bytes and
returns a match, or None."""

is_digits = re.compile(rb"[0-9]{1,19}").fullmatch
"""Match the 1*DIGIT of Content-Length (RFC 9110 section 8.6); nineteen digits suffice for every number below 2**63."""

is_chunk_size = re.compile(rb"[0-9A-Fa-f]{1,16}").fullmatch
"""Match chunk-size of RFC 9112 section 7.1, with at most 16 hexadecimal digits (64 bits)."""

is_version = re.compile(rb"HTTP/([0-9])\.([0-9])").fullmatch
"""Match HTTP-version of RFC 9112 section 2.3: case-sensitive, one digit each. Groups: major, minor."""

_QUOTED = rb'"(?:[^\x00-\x08\x0A-\x1F"\\\x7F]|\\[^\x00-\x08\x0A-\x1F\x7F])*"'

is_chunk_extensions = re.compile(
    rb"(?:[ \t]*+;[ \t]*+%b++(?:[ \t]*+=[ \t]*+(?:%b++|%b))?)*" % (_TCHAR, _TCHAR, _QUOTED)
).fullmatch
"""Match chunk-ext of RFC 9112 section 7.1.1, what follows a chunk's size: names, with tokens or quoted strings as
values. The empty text matches, too.
"""

is_host = re.compile(
    rb"(?:(?:(?:[0-9A-Za-z\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})+"
    rb"|\[(?:[0-9A-Fa-f:.]++|[vV][0-9A-Fa-f]++\.[0-9A-Za-z\-._~!$&'()*+,;=:]++)\])(?::[0-9]{0,5})?)?"
).fullmatch
"""Match the value of Host, which is uri-host [ ":" port ] of RFC 9110 section 7.2, or empty. A port without a host
(":80") matches, too; callers that must refuse this (section 4.2.1) look for the colon themselves.
"""

split_absolute = re.compile(rb"((?i:https?))://([^/?]+)([^?]*)(\?.*)?").fullmatch
"""Match absolute-form of RFC 9112 section 3.2.2. Groups: scheme, authority, path, query with its question mark."""

match_coding = re.compile(
    rb"[, \t]*+(?:(%b++)((?:[ \t]*+;[ \t]*+%b++[ \t]*+=[ \t]*+(?:%b++|%b))*)[ \t]*+)?(,|\Z)"
    % (_TCHAR, _TCHAR, _TCHAR, _QUOTED)
).match
"""Match one element of a list of transfer-codings (RFC 9110 section 10.1.4) and what ends it. Groups: name, parameters,
comma (empty at the end). Empty elements before it are skipped (section 5.6.1.2)."""

BLANKED = bytes(0x20 if (byte < 0x20 and byte != 0x09) or byte == 0x7F else byte for byte in range(256))
"""A table for `translate` that replaces control bytes other than the tab by blanks. A field value that it changes holds
a byte that field-content excludes (RFC 9110 section 5.5). `translate` is faster with a table than with bytes to delete.
"""

TOKEN_RUN = _TCHAR + rb"*+"
TARGET_RUN = rb"[!\"$-~]*+"
"""A regular expression that matches as many bytes of a request-target as follow each other, perhaps none; TOKEN_RUN is
the same for a token. They check lines whose end has not come yet.
"""

TARGET_BYTES = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))
"""The bytes that a request-target may hold: visible ASCII without "#", as a fragment is never sent (RFC 9112 section
3.2)."""

TARGET_BLANKED = bytes(byte if byte in TARGET_BYTES else 0x20 for byte in range(256))
"""A table for `translate`, which replaces each byte that a request-target must not hold by a blank: a target that it
changes is malformed.
"""

MAX_LENGTH = 2**63
"""Lengths in bytes at or above this are refused, so that a length that we accept overflows no signed 64-bit integer, of
the kernel or of an application."""


def is_from_proxies(name: bytes) -> bool:
    """True if `name` (in lower case) is a field that only a proxy may send, because frameworks believe what it says
    about the client."""
    return name.startswith(b"x-forwarded-") or name in (b"forwarded", b"x-real-ip")
