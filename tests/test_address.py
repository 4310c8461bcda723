"""The spellings of `--bind`: what they mean, how the ready line shows them, and what is said about the others."""

import pytest

from septet.net.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("127.0.0.1:8000", Address("tcp", host="127.0.0.1", port=8000), "http://127.0.0.1:8000"),
        ("localhost:0", Address("tcp", host="localhost", port=0), "http://localhost:0"),
        ("my_service-1.local:65535", Address("tcp", host="my_service-1.local", port=65535), None),
        ("[::1]:80", Address("tcp", host="::1", port=80), "http://[::1]:80"),
        ("[::]:80", Address("tcp", host="::", port=80), "http://[::]:80"),
        ("[::ffff:10.0.0.1]:80", Address("tcp", host="::ffff:10.0.0.1", port=80), None),
        ("[fe80::1%eth0]:80", Address("tcp", host="fe80::1%eth0", port=80), None),
        ("unix:/run/app.sock", Address("unix", path="/run/app.sock"), "unix:/run/app.sock"),
        ("unix:app:1.sock", Address("unix", path="app:1.sock"), "unix:app:1.sock"),
        ("unix:@app", Address("unix", path="@app"), "unix:@app"),
        ("unix:/run/app.sock?mode=660", Address("unix", path="/run/app.sock", mode=0o660), "unix:/run/app.sock"),
        ("unix:a?user=root&mode=0600&group=0", Address("unix", path="a", mode=0o600, uid=0, gid=0), "unix:a"),
        ("fd://3", Address("fd", fd=3), "fd://3"),
        ("http://localhost:80", Address("tcp", host="localhost", port=80, tls=False), "http://localhost:80"),
        ("HTTPS://[::1]:443/", Address("tcp", host="::1", port=443, tls=True), "https://[::1]:443"),
        ("fd://web.socket", Address("fd", name="web.socket"), "fd://web.socket"),
    ],
)
def test_spelling_means_address(text: str, address: Address, shown: str | None) -> None:
    assert parse_address(text) == address
    assert shown is None or str(address) == shown


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "HOST:PORT, .*, http://HOST:PORT, https://HOST:PORT, unix:PATH or fd://N"),
        ("8000", "did you mean 127.0.0.1:8000, or 0.0.0.0:8000"),
        (":8000", "did you mean 127.0.0.1:8000, or 0.0.0.0:8000"),
        ("localhost", "did you mean localhost:8000?"),
        ("https://localhost", "did you mean localhost:8000?"),
        ("https://unix:x.sock", "HOST:PORT"),
        ("::1:8000", r"did you mean \[::1\]:8000\?"),
        ("[::1]", "HOST:PORT"),
        ("[::1:80", "HOST:PORT"),
        ("[localhost]:80", "HOST:PORT"),
        ("a b:80", "HOST:PORT"),
        ("localhost:", "port from 0 to 65535"),
        ("localhost:http", "port from 0 to 65535"),
        ("localhost:65536", "port from 0 to 65535"),
        ("localhost:-1", "port from 0 to 65535"),
        ("localhost:٨٠", "port from 0 to 65535"),
        ("localhost:" + "9" * 5000, "port from 0 to 65535"),
        ("unix:", "1 to 107 bytes"),
        ("unix:/" + "é" * 54, "1 to 107 bytes"),
        ("unix:/a\0b", "1 to 107 bytes"),
        ("unix:a?", r"unix:PATH\?mode=660&user=USER&group=GROUP"),
        ("unix:a?mode=", "and the mode octal"),
        ("unix:a?mode=999", "and the mode octal"),
        ("unix:a?mode=660&mode=600", "at most once"),
        ("unix:a?rights=660", r"unix:PATH\?mode=660"),
        ("unix:a?mode=660?b", "and the mode octal"),
        ("unix:a?user=no_such_user", "there is no user 'no_such_user' here"),
        ("unix:a?group=no_such_group", "there is no group 'no_such_group' here"),
        ("unix:@a?mode=660", "an abstract socket has no file"),
        ("fd://", "fd://N"),
        ("fd://-x", "fd://N"),
        ("fd://3x", "or its name in LISTEN_FDNAMES"),
        ("fd://2147483648", "fd://N"),
    ],
)
def test_other_spelling_is_refused_with_what_is_allowed(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"^must be .*{hint}"):
        parse_address(text)
