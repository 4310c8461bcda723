"""Lists of trusted peers: how they are spelled, and whom they cover."""

import pytest

from septet.proxies.trust import Trust, parse_peers


@pytest.mark.parametrize(
    ("texts", "trusted", "others"),
    [
        (("127.0.0.1", "::1", "unix:"), ["127.0.0.1", "::1", "unix:"], ["127.0.0.2", "::2", "::", ""]),
        (("10.0.0.0/8",), ["10.0.0.0", "10.255.255.255"], ["11.0.0.0", "9.255.255.255", "::a00:0", "unix:"]),
        (("2001:db8::/32",), ["2001:db8::1", "2001:DB8:0::1"], ["2001:db9::", "32.1.13.184"]),
        (("192.0.2.1, 192.0.2.3",), ["192.0.2.1", "192.0.2.3"], ["192.0.2.2"]),
        (("10.0.0.0/8",), ["::ffff:10.1.2.3"], ["::ffff:11.1.2.3"]),
        (("fe80::/10",), ["fe80::1%eth0", "fe80::1"], ["fec0::%eth0"]),
        (("unix:",), ["unix:"], ["127.0.0.1", ""]),
        (("*",), ["192.0.2.1", "::1", "unix:", ""], []),
        (("none",), [], ["127.0.0.1", "unix:", ""]),
        (("none,10.0.0.1",), ["10.0.0.1"], ["127.0.0.1"]),
        ((), [], ["127.0.0.1", "unix:", ""]),
        (("0.0.0.0/0",), ["192.0.2.1"], ["::1", "unix:", ""]),
    ],
)
def test_who_is_trusted(texts: tuple[str, ...], trusted: list[str], others: list[str]) -> None:
    trust = Trust(texts)
    for _ in range(2):  # the second time from memory
        assert [peer for peer in trusted if not trust(peer)] == []
        assert [peer for peer in others if trust(peer)] == []


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("localhost", ""),
        ("", ""),
        ("127.0.0.1,", ""),
        ("127.0.0.1:80", ""),
        ("[::1]", ""),
        ("10.0.0", ""),
        ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("10.0.0.0/33", ""),
        ("010.0.0.1", ""),
        ("fe80::1%eth0", ""),
        ("unix:/run/app.sock", ""),
        ("127.0.0.1 ::1", ""),
        ("127.0.0.1, example.com", ""),
    ],
)
def test_what_is_no_list_of_peers(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"^must be an address, a network") as caught:
        parse_peers(text)
    assert hint in str(caught.value)


def test_addresses_are_remembered_in_bounded_number() -> None:
    trust = Trust(("10.0.0.0/8",))
    for number in range(3000):
        assert trust(f"10.0.{number >> 8}.{number & 255}")
    assert trust._remembered.cache_info().currsize <= 1024
