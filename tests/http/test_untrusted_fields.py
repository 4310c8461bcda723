"""Which untrusted fields the application sees, from a trusted peer and from others."""

import dataclasses

import pytest

from septet.exchange import ProtocolError, Request
from septet.http.request_head import parse_request
from septet.proxies.filter import REMEMBERED_BYTES, REMEMBERED_CLIENTS, UntrustedFieldFilter
from septet.proxies.request_id import RequestId

PROXY, STRANGER = "192.0.2.1", "203.0.113.9"


def trusts(peer: str) -> bool:
    return peer in (PROXY, "unix:")


def request(*lines: str, line: str = "GET / HTTP/1.1", host: str = "Host: inside:8000") -> Request:
    return parse_request([each.encode("latin-1") for each in (line, *([host] if host else []), "A: b", *lines)])


PLAIN = ((b"host", b"inside:8000"), (b"a", b"b"))

FORWARDED = (
    "X-Forwarded-For: 203.0.113.9",
    "x-forwarded-proto: https",
    "X-Forwarded-Host: shop.example",
    "X-Real-IP: 203.0.113.9",
    "X-Forwarded-Whatever: x",
)


def test_request_without_doubtful_fields_has_none() -> None:
    assert request("X-Forwarded: a", "Via: b").untrusted_fields == ()


def test_doubtful_fields_are_set_aside() -> None:
    """Without a filter they are dropped."""
    found = request(*FORWARDED, "X_Y: z", "Forwarded: for=203.0.113.9")
    assert found.fields == PLAIN
    assert len(found.untrusted_fields) == len(FORWARDED) + 2
    assert (found.scheme, found.client) == ("http", None)


def test_doubtful_fields_are_held_to_the_grammar() -> None:
    for line in ("X-Forwarded-For : a", "X-Forwarded-For: a\x00", "X_Y: a\x01"):
        for _ in range(2):
            with pytest.raises(ProtocolError):
                request(line)


@pytest.mark.parametrize("peer", [STRANGER, ""])
def test_strangers_are_not_believed(peer: str) -> None:
    with_trusted = UntrustedFieldFilter(trusts)(request(*FORWARDED, "Forwarded: for=10.0.0.1;proto=https"), peer)
    assert (with_trusted.fields, with_trusted.scheme, with_trusted.client) == (PLAIN, "http", None)


def test_stranger_may_talk_nonsense() -> None:
    with_trusted = UntrustedFieldFilter(trusts)(request("X-Forwarded-Proto: x", 'Forwarded: "'), STRANGER)
    assert with_trusted.fields == PLAIN


@pytest.mark.parametrize("peer", [PROXY, "unix:"])
def test_proxies_are_believed(peer: str) -> None:
    with_trusted = UntrustedFieldFilter(trusts)(request(*FORWARDED), peer)
    assert (with_trusted.client, with_trusted.scheme) == ((STRANGER, 0), "https")
    named = dict(with_trusted.fields)
    assert len(named) == len(with_trusted.fields)
    assert (named[b"host"], named[b"a"], named[b"x-forwarded-for"]) == (b"shop.example", b"b", b"203.0.113.9")
    assert {b"x-real-ip", b"x-forwarded-whatever"} <= named.keys()


def test_proxies_must_make_sense() -> None:
    with pytest.raises(ProtocolError):
        UntrustedFieldFilter(trusts)(request("X-Forwarded-Proto: gopher"), PROXY)


def test_host_is_kept_where_nothing_is_said_of_it() -> None:
    with_trusted = UntrustedFieldFilter(trusts)(request("X-Forwarded-Proto: https"), PROXY)
    assert with_trusted.fields == (*PLAIN, (b"x-forwarded-proto", b"https"))


def test_host_is_added_where_there_is_none() -> None:
    with_trusted = UntrustedFieldFilter(trusts)(request("X-Forwarded-Host: a", line="GET / HTTP/1.0", host=""), PROXY)
    assert with_trusted.fields[0] == (b"host", b"a")


def test_everything_else_stays_as_it_was() -> None:
    changed = {"fields", "untrusted_fields", "scheme", "client"}
    unchanged = {field.name for field in dataclasses.fields(Request)} - changed - {"derived"}
    for line in ("POST /a?b HTTP/1.1", "GET http://inside:8000 HTTP/1.1", "OPTIONS * HTTP/1.0"):
        found = request(*FORWARDED, "Content-Length: 3", "Connection: close", "Expect: 100-continue", line=line)
        found.derived = {}  # one that later requests share is copied
        with_trusted = UntrustedFieldFilter(trusts)(found, PROXY)
        assert {name: getattr(with_trusted, name) for name in unchanged} == {
            name: getattr(found, name) for name in unchanged
        }
        assert {name for name in changed if getattr(with_trusted, name) == getattr(found, name)} == set()


def test_what_was_found_out_is_kept_for_each_kind_of_peer() -> None:
    filter_untrusted, found = UntrustedFieldFilter(trusts), request(*FORWARDED)
    found.derived = {}  # as in a request that serves later ones
    believed, gone = filter_untrusted(found, PROXY), filter_untrusted(found, STRANGER)
    assert filter_untrusted(found, "unix:") is believed
    assert filter_untrusted(found, STRANGER) is gone
    assert gone.client is None
    assert UntrustedFieldFilter(lambda peer: False)(found, PROXY).client is None


@pytest.mark.parametrize(
    ("trusted_headers", "client"),
    [("either", "203.0.113.9"), ("x-forwarded", "203.0.113.9"), ("forwarded", "203.0.113.10")],
)
def test_fields_of_one_kind_only(trusted_headers: str, client: str) -> None:
    found = request("Forwarded: for=203.0.113.10", "X-Forwarded-For: 203.0.113.9")
    with_trusted = UntrustedFieldFilter(trusts, trusted_headers)(found, PROXY)
    assert with_trusted.client == (client, 0)
    assert len(with_trusted.fields) == len(PLAIN) + 1  # the other kind comes from who knows where


def test_clients_are_remembered_in_bounded_number() -> None:
    filter_untrusted = UntrustedFieldFilter(trusts)
    for number in range(3000):
        for _ in range(2):
            filter_untrusted(request(f"X-Forwarded-For: 10.0.{number >> 8}.{number & 255}"), PROXY)
    assert len(filter_untrusted._cache) <= REMEMBERED_CLIENTS
    long = "X-Forwarded-A: " + "a" * REMEMBERED_BYTES
    filter_untrusted._cache.clear()
    for _ in range(3):
        assert filter_untrusted(request(long), PROXY).client is None
    assert not filter_untrusted._cache


# Names with underscores

UNDERSCORED = ("X_A: 1", "X_Forwarded_For: 10.0.0.1", "X-Forwarded_Proto: https", "x_real_ip: 10.0.0.1")


@pytest.mark.parametrize("peer", [PROXY, STRANGER])
def test_names_with_underscores_are_dropped(peer: str) -> None:
    with_trusted = UntrustedFieldFilter(trusts)(request(*UNDERSCORED), peer)
    assert (with_trusted.fields, with_trusted.client, with_trusted.scheme) == (PLAIN, None, "http")


@pytest.mark.parametrize("peer", [PROXY, STRANGER])
def test_names_with_underscores_are_refused(peer: str) -> None:
    with pytest.raises(ProtocolError, match="underscore") as caught:
        UntrustedFieldFilter(trusts, underscores="refuse")(request("X_A: 1"), peer)
    assert caught.value.status == 400


@pytest.mark.parametrize("peer", [PROXY, STRANGER])
def test_names_with_underscores_are_allowed_unless_they_look_like_a_proxys(peer: str) -> None:
    with_trusted = UntrustedFieldFilter(trusts, underscores="allow")(request(*UNDERSCORED, "x_a: 2"), peer)
    assert with_trusted.fields == (*PLAIN, (b"x_a", b"1"), (b"x_a", b"2"))
    assert (with_trusted.client, with_trusted.scheme) == (None, "http")


def test_untrusted_field_among_repeated_lengths() -> None:
    """The places of fields are those of the section as it came, also where two lengths become one."""
    for _ in range(2):
        found = request("Content-Length: 3", "X-Forwarded-For: 203.0.113.9", "C: d", "Content-Length: 3")
        assert found.fields == (*PLAIN, (b"content-length", b"3"), (b"c", b"d"))
        assert found.untrusted_fields == ((b"x-forwarded-for", b"203.0.113.9"),)
        assert (found.content_length, found.has_body) == (3, True)


def test_id_leaves_untrusted_fields_to_the_filter() -> None:
    found, _ = RequestId(b"x-request-id", trusts)(request(*FORWARDED), PROXY)
    assert UntrustedFieldFilter(trusts)(found, PROXY).client == (STRANGER, 0)


def test_same_names_say_nothing_of_other_values() -> None:
    for value, kept in (("keep-alive", True), ("close", False), ("keep-alive", True)):
        assert request(f"Connection: {value}").keep_alive is kept
    with pytest.raises(ProtocolError):
        request(host="Host: a b")
