"""Which bytes may stand where in an HTTP/1.1 message.

RFC 9110 section 5 and RFC 9112 sections 2-7. Everything is checked with the C methods of `bytes` or with
one anchored expression that cannot backtrack, so that the cost is linear in the input whatever the input.
`strip()` without an argument, `splitlines()` and bare `int()` are never used on the wire's bytes: their
ideas of white space, line ends and digits are wider than HTTP's, and request smuggling lives in the gap.
"""

import re

CRLF = b"\r\n"

WHITESPACE = b" \t"
"""OWS of RFC 9110 section 5.6.3."""

is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
"""token of RFC 9110 section 5.6.2: methods and field names."""

is_digits = re.compile(rb"[0-9]{1,19}").fullmatch
"""1*DIGIT of Content-Length; nineteen digits hold every number below 2**63."""

is_chunk_size = re.compile(rb"[0-9A-Fa-f]{1,16}").fullmatch
"""chunk-size of RFC 9112 section 7.1, bounded to 64 bits."""

is_version = re.compile(rb"HTTP/([0-9])\.([0-9])").fullmatch
"""HTTP-version of RFC 9112 section 2.3: case-sensitive, one digit each."""

is_host = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z\-._~!$&'()*+,;=%]*)(?::[0-9]{0,5})?").fullmatch
"""uri-host [ ":" port ] of RFC 9110 section 7.2; may be empty."""

split_absolute = re.compile(rb"(?i:https?)://([^/?]+)([^?]*)(\?.*)?").fullmatch
"""absolute-form of RFC 9112 section 3.2.2: authority, path, query."""

VALUE_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""field-content of RFC 9110 section 5.5: no control bytes but the tab."""

TARGET_BYTES = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))
"""request-target: visible ASCII; a fragment is never sent (RFC 9112 section 3.2)."""

MAX_LENGTH = 2**63
"""Lengths at or above this are refused: no peer's arithmetic shall overflow on what we accept."""
