"""The grammar's alphabets and expressions: each accepts the bytes that its RFC section names, and no others."""

import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.http import grammar

EVERY_BYTE = [bytes([byte]) for byte in range(256)]
TCHAR = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()

Match = Callable[[bytes], Any]


def test_token_is_made_of_tchar() -> None:
    assert [byte for byte in EVERY_BYTE if grammar.is_token(byte)] == [byte for byte in EVERY_BYTE if byte in TCHAR]


def test_what_is_not_field_content_is_blanked() -> None:
    """RFC 9110 section 5.5: visible characters, space, tab and obs-text; never NUL, CR, LF or another control."""
    allowed = {0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}
    assert {byte for byte in range(256) if bytes([byte]).translate(grammar.BLANKED) == bytes([byte])} == allowed


def test_target_bytes_are_visible_and_hold_no_fragment() -> None:
    assert set(grammar.TARGET_BYTES) == set(range(0x21, 0x7F)) - {ord("#")}


@pytest.mark.parametrize(
    ("match", "good", "bad"),
    [
        (grammar.is_token, "GET X-a_b!~ 0", "a:b a;b é a(b) a,"),
        (grammar.is_digits, "0 007 9223372036854775807", "+1 -1 1_0 0x1 1.0 ١ 12345678901234567890"),
        (grammar.is_chunk_size, "0 00 aF ffffffffffffffff", "+1 -1 1_0 0x1 g 10000000000000000 1h"),
        (grammar.is_chunk_extensions, ';a ;a=b ;a="b" ;a="\\"" ;a;b=c', '; ;; ;=a ;a= ;a="b ;a="b"c ;a="\\" a ;a;'),
        (grammar.is_version, "HTTP/1.1 HTTP/0.9 HTTP/2.0", "http/1.1 HTTP/1 HTTP/1.10 HTTP/11.1 HTTP/1,1 xHTTP/1.1"),
        (
            grammar.is_host,
            "a a.b:80 127.0.0.1 [::1] [::1]:80 a: A-b._~ %41 [v1.a:b]",
            "a:b a:123456 [::1 ::1 [g] a/b a@b a?b a#b a,b:c é [::1]x [] :80 % %4 [v.a]",
        ),
    ],
)
def test_expression(match: Match, good: str, bad: str) -> None:
    assert [word for word in good.split() if not match(word.encode())] == []
    assert [word for word in bad.split() if match(word.encode())] == []


@pytest.mark.parametrize("match", [grammar.is_token, grammar.is_digits, grammar.is_chunk_size, grammar.is_version])
def test_nothing_is_not_a_word(match: Match) -> None:
    assert not match(b"")


@given(
    word=st.from_regex(rb"[0-9A-Za-z]{1,16}", fullmatch=True),
    extra=st.sampled_from([b"\n", b"\r", b" ", b"\t", b"\0"]),
)
def test_white_space_beside_a_word_is_not_forgiven(word: bytes, extra: bytes) -> None:
    """`$` in an expression, and `int()`, would accept a line feed at the end."""
    for match in (grammar.is_token, grammar.is_digits, grammar.is_chunk_size, grammar.is_host):
        assert not match(word + extra)
        assert not match(extra + word)


def test_longest_number_of_digits_is_still_checked_for_size() -> None:
    """Nineteen digits can exceed 2**63 - 1; MAX_LENGTH bounds the number."""
    assert grammar.is_digits(b"9" * 19)
    assert int(b"9" * 19) > grammar.MAX_LENGTH
    assert len(str(grammar.MAX_LENGTH - 1)) == 19
