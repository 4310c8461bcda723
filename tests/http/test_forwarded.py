"""X-Forwarded-* and Forwarded: what they say about the client, and how far a chain of proxies is believed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet.exchange import Fields, ProtocolError
from septet.http.grammar import is_from_proxies
from septet.proxies.forwarded import MAX_HOPS, MAX_PARAMETERS, Hop, hops, select_kind, sole_hop, walk

PROXIES = {"192.0.2.1", "192.0.2.2", "2001:db8::1"}


def trusts(address: str) -> bool:
    return address in PROXIES


def fields(*lines: str) -> Fields:
    pairs = (line.partition(": ") for line in lines)
    return tuple((name.lower().encode(), value.encode("latin-1")) for name, _, value in pairs)


def said(*lines: str) -> Hop:
    return walk(hops(fields(*lines)), trusts)


CLIENT = ("203.0.113.9", 0)

NAMES = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded"]
VALUES = ["203.0.113.9", "192.0.2.1", "192.0.2.1, 192.0.2.2", "203.0.113.9:1", "203.0.113.09", "2001:db8::1",
          "unknown", "https", "HTTP", "wss", "gopher", "", ",", "https,https", "a.example", "443",
          "for=203.0.113.9", "\xb9.1.1.1"]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4), st.booleans())
def test_the_usual_case_is_told_as_by_the_whole_walk(lines: list[tuple[str, str]], everybody: bool) -> None:
    found = fields(*(f"{name}: {value}" for name, value in lines))
    sole = sole_hop(found)
    assert sole is None or sole == walk(hops(found), lambda address: everybody or trusts(address))


def test_the_usual_case() -> None:
    assert sole_hop(fields("X-Forwarded-For: 203.0.113.9")) == (CLIENT, None, None)
    both = fields("X-Forwarded-Proto: wss", "X-Forwarded-For: 203.0.113.9", "X-Real-Ip: 10.0.0.1")
    assert sole_hop(both) == (CLIENT, "https", None)
    for other in ("203.0.113.9, 192.0.2.1", "203.0.113.9:80", "unknown", "", "2001:db8::1"):
        assert sole_hop(fields(f"X-Forwarded-For: {other}")) is None


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("203.0.113.9", CLIENT),
        ("203.0.113.9, 192.0.2.1", CLIENT),
        ("203.0.113.9,192.0.2.1\t ,  192.0.2.2", CLIENT),
        ("10.0.0.1, 203.0.113.9", CLIENT),  # what the client wrote itself
        ("192.0.2.1, 203.0.113.9, 192.0.2.2", CLIENT),
        ("<script>, , nonsense, 203.0.113.9, 192.0.2.1", CLIENT),
        ("192.0.2.1, 192.0.2.2", ("192.0.2.1", 0)),  # a proxy asks on its own account
        (", ,203.0.113.9,,", CLIENT),
        ("203.0.113.9:4711", ("203.0.113.9", 4711)),
        ("2001:DB8:0::9", ("2001:db8::9", 0)),
        ("[2001:db8::9]", ("2001:db8::9", 0)),
        ("[2001:db8::9]:4711", ("2001:db8::9", 4711)),
        ("203.0.113.9, 2001:db8:0:0::1", CLIENT),
        ("::ffff:203.0.113.9", CLIENT),
        ("203.0.113.9, ::ffff:192.0.2.1", CLIENT),
        ("unknown", None),
        ("203.0.113.9, Unknown, 192.0.2.1", ("192.0.2.1", 0)),  # from here on the way is lost
        ("203.0.113.9, _hidden, 192.0.2.1", ("192.0.2.1", 0)),
        ("", None),
        (" , ", None),
    ],
)
def test_client_is_the_first_from_the_right_that_is_not_trusted(value: str, client: tuple[str, int] | None) -> None:
    assert said(f"X-Forwarded-For: {value}").node == client
    several = [f"X-Forwarded-For: {entry}" for entry in value.split(",")]
    assert said(*several).node == client


@pytest.mark.parametrize(
    "value",
    [
        "client.example",
        "203.0.113.256",
        "203.0.113",
        "203.0.113.09",
        "203.0.113.9:65536",
        "203.0.113.9:",
        "203.0.113.9:+1",
        "203.0.113.9/32",
        "[203.0.113.9]:x",
        "[2001:db8::9",
        "2001:db8::9]",
        "fe80::1%eth0",
        "1::2::3",
        '"203.0.113.9"',
        "203.0.113.9 192.0.2.1",
        "203.0.113.9;192.0.2.1",
        "_",
        "_a b",
        "\xb2",
    ],
)
def test_address_that_is_none_is_refused_where_it_counts(value: str) -> None:
    for line in (value, f"203.0.113.9, {value}", f"{value}, 192.0.2.1"):
        with pytest.raises(ProtocolError, match="X-Forwarded-For") as caught:
            said(f"X-Forwarded-For: {line}")
        assert caught.value.status == 400
    assert said(f"X-Forwarded-For: {value}, 203.0.113.9, 192.0.2.1").node == CLIENT


LISTS = {
    "X-Forwarded-For": ("192.0.2.1", ", "),
    "X-Forwarded-Proto": ("https", ","),
    "X-Forwarded-Host": ("shop.example", ","),
    "Forwarded": ("for=192.0.2.1", ", "),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("fields_of_one", [True, False])
def test_list_is_as_long_as_may_be_and_no_longer(name: str, fields_of_one: bool) -> None:
    """In one field or in several; empty entries count as well."""
    entry, comma = LISTS[name]

    def lines(count: int) -> list[str]:
        return [f"{name}: {comma.join([entry] * count)}"] if fields_of_one else [f"{name}: {entry}"] * count

    said(*lines(MAX_HOPS))
    with pytest.raises(ProtocolError, match=f"{name} of a proxy has more than {MAX_HOPS} entries") as caught:
        said(*lines(MAX_HOPS + 1))
    assert caught.value.status == 400
    with pytest.raises(ProtocolError, match="more than"):
        said(f"{name}: {',' * MAX_HOPS}{entry}")


def test_parameters_of_forwarded_are_bounded() -> None:
    many = ";".join(f"a{number}=b" for number in range(MAX_PARAMETERS - 1))
    assert said(f"Forwarded: for=192.0.2.1;{many}").node == ("192.0.2.1", 0)
    with pytest.raises(ProtocolError, match=f"more than {MAX_PARAMETERS} entries"):
        said(f"Forwarded: for=192.0.2.1;{many};c=d")


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("http", "http"),
        ("https", "https"),
        ("HTTPS", "https"),
        ("wss", "https"),
        ("ws", "http"),
        (" https ,https", "https"),
    ],
)
def test_scheme(value: str, scheme: str) -> None:
    assert said(f"X-Forwarded-Proto: {value}").scheme == scheme


@pytest.mark.parametrize("value", ["ftp", "on", "http s", "https;q=1", "https, http", "http,https", "\xe9"])
def test_scheme_that_makes_no_sense_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError, match="X-Forwarded-Proto"):
        said("X-Forwarded-For: 203.0.113.9", f"X-Forwarded-Proto: {value}")


def test_repeated_scheme_must_agree_with_itself() -> None:
    assert said("X-Forwarded-Proto: https", "X-Forwarded-Proto: https").scheme == "https"
    with pytest.raises(ProtocolError, match="X-Forwarded-Proto"):
        said("X-Forwarded-Proto: https", "X-Forwarded-Proto: http")


def test_lists_belong_together_entry_by_entry() -> None:
    """If each proxy appends to each list, the entry of the proxy next to the client counts."""
    lines = [
        "X-Forwarded-For: 10.0.0.1, 203.0.113.9, 192.0.2.1",
        "X-Forwarded-Proto: ftp, https, http",
        "X-Forwarded-Host: :, shop.example, inside:8000",
    ]
    assert said(*lines) == Hop(CLIENT, "https", b"shop.example")


@pytest.mark.parametrize(
    ("host", "port", "outcome"),
    [
        ("shop.example", None, "shop.example"),
        ("shop.example:8443", None, "shop.example:8443"),
        ("[2001:db8::9]:8443", None, "[2001:db8::9]:8443"),
        ("shop.example", "8443", "shop.example:8443"),
        ("[2001:db8::9]", "8443", "[2001:db8::9]:8443"),
        ("shop.example:8443", "9443", "shop.example:8443"),
        ("shop.example", "443", "shop.example"),
        ("shop.example", "80", "shop.example"),
    ],
)
def test_host_and_port(host: str, port: str | None, outcome: str) -> None:
    lines = [f"X-Forwarded-Host: {host}", *([f"X-Forwarded-Port: {port}"] if port else [])]
    assert said(*lines) == Hop(None, None, outcome.encode())


@pytest.mark.parametrize("value", ["a/b", "a b", ":80", "a@b", "shop.example, other.example", "a:b", "\xe9"])
def test_host_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError, match="X-Forwarded-Host"):
        said(f"X-Forwarded-Host: {value}")


@pytest.mark.parametrize("value", ["x", "65536", "-1", "1" * 5000, "\xb2"])
def test_port_that_is_none_is_refused_beside_a_host(value: str) -> None:
    with pytest.raises(ProtocolError, match="X-Forwarded-Port"):
        said("X-Forwarded-Host: a", f"X-Forwarded-Port: {value}")
    assert said(f"X-Forwarded-Port: {value}") == Hop(None, None, None)


# RFC 7239


@pytest.mark.parametrize(
    ("value", "hop"),
    [
        ("for=203.0.113.9", Hop(CLIENT, None, None)),
        ("For=203.0.113.9;PROTO=HTTPS;by=203.0.113.43;host=a", Hop(CLIENT, "https", b"a")),
        ('for="203.0.113.9:4711"; proto="https" ; host="a:8443"', Hop(("203.0.113.9", 4711), "https", b"a:8443")),
        (r'for="203\.0.113.9"', Hop(CLIENT, None, None)),
        ('for="[2001:db8:cafe::17]:4711"', Hop(("2001:db8:cafe::17", 4711), None, None)),
        ('for="[2001:db8:cafe::17]:_port"', Hop(("2001:db8:cafe::17", 0), None, None)),
        ('for=203.0.113.9;proto=https, for="[2001:db8::1]";proto=http', Hop(CLIENT, "https", None)),
        ("for=203.0.113.9, for=192.0.2.1;proto=https", Hop(CLIENT, None, None)),  # of the proxies' own connection
        ("for=10.0.0.1;host=forged, for=203.0.113.9;host=a", Hop(CLIENT, None, b"a")),
        ("for=nonsense, for=203.0.113.9", Hop(CLIENT, None, None)),
        ("for=unknown;proto=https", Hop(None, "https", None)),
        ("for=203.0.113.9, for=_hidden;host=a, for=192.0.2.1", Hop(("192.0.2.1", 0), None, b"a")),
        ('for="_a.b-c:_d"', Hop(None, None, None)),
        ('secret="a,b;c=\\"d\\"", for=203.0.113.9', Hop(CLIENT, None, None)),
        (", for=203.0.113.9 ,, ;", Hop(CLIENT, None, None)),
        ("for=203.0.113.9;;proto=http;", Hop(CLIENT, "http", None)),
        ('for=203.0.113.9;extra=""', Hop(CLIENT, None, None)),
        ("proto=https", Hop(None, "https", None)),
        ("", Hop(None, None, None)),
    ],
)
def test_forwarded(value: str, hop: Hop) -> None:
    assert said(f"Forwarded: {value}") == hop


def test_forwarded_in_several_fields() -> None:
    assert said("Forwarded: for=10.0.0.1", "Forwarded: for=203.0.113.9", "Forwarded: for=192.0.2.1").node == CLIENT


@pytest.mark.parametrize(
    "value",
    [
        "203.0.113.9",
        "for",
        "for=",
        "=203.0.113.9",
        "for =203.0.113.9",
        "for= 203.0.113.9",
        "for=203.0.113.9:4711",  # a colon is quoted
        "for=[2001:db8::1]",
        'for="2001:db8::1"',  # an IPv6 address is bracketed
        'for="203.0.113.9',
        'for="203.0.113.9"x',
        'for="203.0.113.9\\',
        "for=203.0.113.9;for=203.0.113.10",
        "for=203.0.113.9;For=203.0.113.9",
        "for=203.0.113.9 proto=https",
        "for=client.example",
        'for=""',
        'for=203.0.113.9;proto=""',
        "for=203.0.113.9;proto=gopher",
        'for=203.0.113.9;host=""',
        'for=203.0.113.9;host="a/b"',
        "for=203.0.113.9, for=192.0.2.1, \x7f",
        "for=203.0.113.9;\xe9=1",
    ],
)
def test_forwarded_that_makes_no_sense_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError, match="Forwarded") as caught:
        said(f"Forwarded: {value}")
    assert caught.value.status == 400


@given(st.lists(st.sampled_from([*'",;=\\ \t', "for=", "1.2.3.4", "proto=https", "[::1]", "_x", "\xff"]), max_size=40))
def test_nothing_but_its_own_error_comes_out(pieces: list[str]) -> None:
    for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"):
        with suppress(ProtocolError):
            said(f"{name}: {''.join(pieces)}")


@given(st.lists(st.ip_addresses(), min_size=1, max_size=5), st.integers(0, 5))
def test_both_ways_of_writing_say_the_same(addresses: list[object], trusted: int) -> None:
    ours = {str(address) for address in addresses[-trusted:]}
    written = [f'for="[{address}]"' if ":" in str(address) else f"for={address}" for address in addresses]
    walked = [
        walk(hops(fields(line)), ours.__contains__).node
        for line in ("X-Forwarded-For: " + ",".join(map(str, addresses)), "Forwarded: " + ",".join(written))
    ]
    assert walked[0] == walked[1]


# Which fields they are


@pytest.mark.parametrize("name", ["forwarded", "x-forwarded-for", "x-forwarded-client-cert", "x-real-ip"])
def test_fields_of_proxies(name: str) -> None:
    assert is_from_proxies(name.encode())


@pytest.mark.parametrize("name", ["host", "x-forwarded", "forwarded-for", "x-real-ipv6", "from"])
def test_fields_of_anybody(name: str) -> None:
    assert not is_from_proxies(name.encode())


BOTH = fields("Forwarded: for=203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-User: a", "X-Real-Ip: 203.0.113.9")


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("either", [b"x-forwarded-proto", b"x-forwarded-user", b"x-real-ip"]),
        ("x-forwarded", [b"x-forwarded-proto", b"x-forwarded-user", b"x-real-ip"]),
        ("forwarded", [b"forwarded", b"x-real-ip"]),
    ],
)
def test_only_one_kind_counts(kind: str, kept: list[bytes]) -> None:
    assert [name for name, _ in select_kind(BOTH, kind)] == kept


def test_forwarded_counts_where_it_is_alone() -> None:
    alone = BOTH[:1] + BOTH[2:]  # X-Forwarded-User says nothing of the client's address
    assert select_kind(alone, "either") == alone
    assert select_kind(alone, "x-forwarded") == alone[1:]
