"""The PROXY protocol: every header that a proxy may write is read, and nothing else is."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.exchange import ProtocolError
from septet.proxies.proxy_protocol import MAX_HEADER, MAX_LINE, Endpoints, Header, decode
from support.proxy_headers import LOCAL, OVER_TLS, SIGNATURE, TCP4, TCP6, UDP4, UNIX, UNSPEC, binary, line, tcp

IPV4 = struct.pack("!4s4sHH", bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]), 4711, 443)
ENDS = Endpoints(("192.0.2.1", 4711), ("192.0.2.2", 443))

AGREED = b"123456789", 0xE3069283
"""The check value of CRC-32C that its catalogues give."""


def crc32c(data: bytes) -> int:
    """CRC-32C by polynomial division of all bits at once, unlike the decoder."""
    reflected = int.from_bytes(bytes(int(f"{byte:08b}"[::-1], 2) for byte in data))
    value = (reflected << 32) ^ (0xFFFFFFFF << 8 * len(data))
    while value.bit_length() > 32:
        value ^= 0x11EDC6F41 << (value.bit_length() - 33)
    return int(f"{value ^ 0xFFFFFFFF:032b}"[::-1], 2)


def summed(header: bytes) -> bytes:
    """`header`, which ends in a checksum of zeros, with the correct checksum."""
    return header[:-4] + crc32c(header).to_bytes(4)


GOOD: dict[str, tuple[bytes, Endpoints | None, bool]] = {
    "v1 TCP4": (line("192.0.2.1", "192.0.2.2"), ENDS, False),
    "v1 TCP6": (line("2001:DB8::1", "::", 0, 65535), Endpoints(("2001:db8::1", 0), ("::", 65535)), False),
    "v1 mapped": (line("::ffff:192.0.2.1", "::ffff:c000:202"), ENDS, False),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None, False),
    "v1 UNKNOWN with anything": (b"PROXY UNKNOWN " + b"\xff" * (MAX_LINE - 16) + b"\r\n", None, False),
    "v2 TCP4": (tcp("192.0.2.1", "192.0.2.2"), ENDS, False),
    "v2 TCP6": (tcp("2001:db8::1", "::1"), Endpoints(("2001:db8::1", 4711), ("::1", 443)), False),
    "v2 mapped": (tcp("::ffff:192.0.2.1", "::ffff:192.0.2.2"), ENDS, False),
    "v2 UDP": (binary(IPV4, family=UDP4), None, False),
    "v2 UNSPEC": (binary(), None, False),
    "v2 UNSPEC over TLS": (binary(b"", OVER_TLS), None, True),
    "v2 AF_UNIX": (
        binary(b"/run/client".ljust(108, b"\0") + b"/run/app.sock".ljust(108, b"\0"), family=UNIX),
        Endpoints(None, ("/run/app.sock", None)),
        False,
    ),
    "v2 LOCAL": (binary(command=LOCAL), None, False),
    "v2 LOCAL with a block that means nothing": (binary(b"\xff" * 99, family=0xFF, command=LOCAL), None, False),
    "v2 over TLS": (tcp("192.0.2.1", "192.0.2.2", (0x02, b"shop.example"), OVER_TLS, (0xE0, b"")), ENDS, True),
    "v2 SSL vector without TLS": (tcp("192.0.2.1", "192.0.2.2", (0x20, b"\x02" + bytes(4))), ENDS, False),
    "v2 SSL vector without anything": (tcp("192.0.2.1", "192.0.2.2", (0x20, b"")), ENDS, False),
    "v2 checksum": (summed(tcp("192.0.2.1", "192.0.2.2", OVER_TLS, (0x03, bytes(4)))), ENDS, True),
    "v2 as long as may be": (
        tcp("192.0.2.1", "192.0.2.2", (0x04, bytes(MAX_HEADER - 16 - 12 - 3))),
        ENDS,
        False,
    ),
}

BAD: dict[str, bytes] = {
    "HTTP": b"GET / HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01\x02\x00",
    "a bare CRLF": b"\r\n\r\nGET",
    "v1 in lower case": b"proxy TCP4 ",
    "v1 without a family": b"PROXY \r\n",
    "v1 with a tab": b"PROXY\tTCP4",
    "v1 two spaces": b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 space at the end": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
    "v1 another family": b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 UNKNOWNS": b"PROXY UNKNOWNS\r\n",
    "v1 bare LF": b"PROXY UNKNOWN\nGET / HTTP/1.1\r\n",
    "v1 bare CR": b"PROXY UNKNOWN \r \r\n",
    "v1 too few words": b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    "v1 too many words": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    "v1 leading zero of an address": b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    "v1 three numbers": b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
    "v1 number above 255": b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
    "v1 families mixed": b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
    "v1 IPv4 in TCP6": b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1 zone": b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
    "v1 brackets": b"PROXY TCP6 [::1] [::1] 1 2\r\n",
    "v1 two double colons": b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
    "v1 port above 65535": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    "v1 leading zero of a port": b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
    "v1 sign of a port": b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
    "v1 too long": b"PROXY UNKNOWN " + b"x" * MAX_LINE,
    "v2 wrong signature": SIGNATURE[:11] + b"\r",
    "v2 version 1": SIGNATURE + b"\x11\x11\0\x0c" + IPV4,
    "v2 version 3": SIGNATURE + b"\x31\x11\0\x0c" + IPV4,
    "v2 unknown command": SIGNATURE + b"\x22\x11\0\x0c" + IPV4,
    "v2 unknown family": binary(IPV4, family=0x41),
    "v2 unknown transport": binary(IPV4, family=0x13),
    "v2 block too short": binary(IPV4[:-1], family=TCP4),
    "v2 IPv4 block for IPv6": binary(IPV4, family=TCP6),
    "v2 no block": binary(family=UNIX),
    "v2 too long": SIGNATURE + b"\x21\x11" + struct.pack("!H", MAX_HEADER - 15),
    "v2 vector cut in its head": binary(IPV4 + b"\x04\0", family=TCP4),
    "v2 vector cut in its value": binary(IPV4 + b"\x04\0\x02x", family=TCP4),
    "v2 vector of UNSPEC cut": binary(b"\x04\0\x02x", family=UNSPEC),
    "v2 wrong checksum": tcp("192.0.2.1", "192.0.2.2", (0x03, b"\xde\xad\xbe\xef")),
    "v2 checksum of another length": tcp("192.0.2.1", "192.0.2.2", (0x03, bytes(5))),
}


def test_check_value_of_the_checksum() -> None:
    data, value = AGREED
    assert crc32c(data) == value


@pytest.mark.parametrize("name", GOOD)
def test_header_is_read_when_its_last_byte_has_come(name: str) -> None:
    data, endpoints, secure = GOOD[name]
    assert [decode(data[:length]) for length in range(len(data))] == [None] * len(data)
    for tail in (b"", b"GET / HTTP/1.1\r\n\r\n", SIGNATURE):
        expected = Header(len(data), endpoints, secure, local="LOCAL" in name)
        assert decode(data + tail) == decode(bytearray(data + tail)) == expected


def test_who_is_named() -> None:
    """Without LOCAL the bytes come from a client, and these headers do not name it."""
    unnamed = [name for name, (data, _, _) in GOOD.items() if not decode(data).names_client]  # type: ignore[union-attr]
    assert [name for name in GOOD if any(word in name for word in ("UNKNOWN", "UDP", "UNSPEC", "UNIX"))] == unnamed


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_is_refused_at_once_and_for_good(name: str) -> None:
    data = BAD[name]
    verdicts = [verdict(data[:length]) for length in range(len(data) + 1)]
    assert verdicts == sorted(verdicts, key=["more", "refused"].index)
    assert verdicts[-1] == "refused"
    assert verdict(data + b"GET / HTTP/1.1\r\n\r\n") == "refused"


def verdict(data: bytes) -> str:
    try:
        return "more" if decode(data) is None else "read"
    except ProtocolError as error:
        return "refused" if error.status == 400 and "PROXY protocol" in str(error) else repr(error)


def test_what_never_ends_is_refused_within_the_bounds() -> None:
    assert verdict(b"PROXY UNKNOWN".ljust(MAX_LINE, b" ")) == "refused"
    assert verdict(SIGNATURE + b"\x20\x00\xff\xff") == "refused"


ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(
    lambda address: address.ipv4_mapped is None  # type: ignore[union-attr]
)
PORTS = st.integers(0, 65535)
VECTORS = st.lists(st.tuples(st.integers(0, 255).filter(lambda kind: kind not in (0x03, 0x20)), st.binary(max_size=99)))


@given(st.data(), ADDRESSES, PORTS, PORTS, VECTORS, st.binary())
def test_what_a_proxy_writes_is_what_is_read(
    data: st.DataObject,
    source: ipaddress.IPv4Address | ipaddress.IPv6Address,
    source_port: int,
    destination_port: int,
    vectors: list[tuple[int, bytes]],
    tail: bytes,
) -> None:
    destination = data.draw(ADDRESSES.filter(lambda address: address.version == source.version))
    ends = Endpoints((str(source), source_port), (str(destination), destination_port))
    text = line(str(source), str(destination), source_port, destination_port)
    ports = {"source_port": source_port, "destination_port": destination_port}
    packed = tcp(str(source), str(destination), *vectors, **ports)
    assert decode(text + tail) == Header(len(text), ends)
    if len(packed) <= MAX_HEADER:
        assert decode(packed + tail) == Header(len(packed), ends)


BEGINNINGS = [b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11", tcp("::1", "::")]


@given(st.sampled_from(BEGINNINGS), st.binary())
def test_nothing_but_its_own_error_comes_out(start: bytes, rest: bytes) -> None:
    for data in (start + rest, start[:-1] + rest):
        assert verdict(data) in ("more", "read", "refused")


UNFINISHED = [
    b"PROXY X",
    b"PROXY TCP5",
    b"PROXY TCP4\n",
    b"PROXY  ",
    b"PROXY TCP4 :",
    b"PROXY TCP4 1.2.3.4.",
    b"PROXY TCP4 256",
    b"PROXY TCP4 1.2.3 ",
    b"PROXY TCP4 1.2.3.4\n",
    b"PROXY TCP4 1.2.3.4\r",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 x",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 65536",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 00",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 ",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
    b"PROXY TCP6 g",
    b"PROXY TCP6 1:2:3:4:5:6:7:8:",
    b"PROXY TCP6 1::2::",
    b"PROXY TCP6 ::1 ::1 -",
    b"PROXY UNKNOWNS",
    b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN \n",
    b"PROXY UNKNOWN \rx",
    SIGNATURE + b"\x11",
    SIGNATURE + b"\x22",
    SIGNATURE + b"\x21\x41",
    SIGNATURE + b"\x21\x13",
]


@pytest.mark.parametrize("data", UNFINISHED)
def test_what_can_no_longer_become_a_header_is_refused_before_its_end(data: bytes) -> None:
    assert verdict(data) == "refused"
    assert verdict(data[:-1]) == "more"
