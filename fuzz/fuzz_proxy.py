"""Coverage-guided fuzzing of what proxies say: the PROXY protocol's header, and Forwarded and X-Forwarded-* fields.

Both are read from those who are trusted; but they pass on what clients sent, and a mistake here would let a client say
who it is. They are read or refused, and a header that is cut up is the same header.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

with atheris.instrument_imports(include=["septet"]):
    from septet.exchange import ProtocolError
    from septet.proxies.forwarded import hops, walk
    from septet.proxies.proxy_protocol import MAX_HEADER, MAX_LINE, SIGNATURE, Header, decode

NAMES = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
PREFIXES = (b"", b"PROXY TCP4 192.0.2.1 ", b"PROXY TCP6 ::1 ", SIGNATURE + b"\x21\x11", SIGNATURE + b"\x21\x21\x00")


def test_one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x80":
        read_fields(rest)
    else:
        read_header(PREFIXES[kind[0] % len(PREFIXES)] + rest)


def read_fields(data: bytes) -> None:
    """Lines whose first byte says which field it is."""
    fields = tuple((NAMES[line[0] % len(NAMES)], line[1:].strip(b" \t")) for line in data.split(b"\n") if line)
    try:
        walk(hops(fields), lambda address: address.startswith("1"))
    except ProtocolError:
        pass


def read_header(data: bytes) -> None:
    whole = outcome(data)
    assert not isinstance(whole, Header) or whole.length <= min(len(data), max(MAX_HEADER, MAX_LINE))
    for end in range(len(data)):
        part = outcome(data[:end])
        assert part is None or part == whole, f"after {end} bytes {part}, in the end {whole}"


def outcome(data: bytes) -> Header | str | None:
    try:
        return decode(data)
    except ProtocolError:
        return "refused"


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
