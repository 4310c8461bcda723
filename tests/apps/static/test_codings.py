"""Precompressed files (RFC 9110 section 12.5.3): which one is sent, and with which fields."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.apps.static.codings import SUFFIXES, Accepted

Get = Callable[..., Any]

ALL = (b"br", b"zstd", b"gzip", b"identity")


@pytest.mark.parametrize(
    ("value", "best"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("deflate", "identity"),
        ("*", "br"),
        ("*;q=0.5, gzip", "gzip"),
        ("br;q=0, *", "zstd"),
        ("br;q=0.2, gzip;q=0.3", "gzip"),
        ("br ; q=0.200 ,\tgzip;Q=0.3", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.000", "identity"),
        ("identity;q=0, gzip", "gzip"),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("*;q=0, identity", "identity"),
        ("identity;q=0, *;q=0.1", "br"),
        ("gzip;q=2", "identity"),
        ("gzip;q=-1", "identity"),
        ("gzip;q=0.1234", "identity"),
        ("gzip;q=", "identity"),
        ("gzip;level=9", "identity"),
        ("g zip", "identity"),
        ("gzip;q=\xb2", "identity"),
        ("\xff, gzip", "gzip"),
    ],
)
def test_best(value: str | None, best: str | None) -> None:
    accepted = Accepted(None if value is None else value.encode("latin-1"))
    assert accepted.best(ALL) == (None if best is None else best.encode())


def test_longest_field() -> None:
    assert Accepted(b"x," * 30000 + b"gzip").best(ALL) == b"identity"


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*ALL, b"*"]), st.integers(0, 1000)))
def test_nothing_is_better_than_the_best(weights: dict[bytes, int]) -> None:
    value = b", ".join(b"%b;q=%d.%03d" % (name, *divmod(weight, 1000)) for name, weight in weights.items())
    best = Accepted(value).best(ALL)
    star = weights.get(b"*", 0)
    told = {name: weights.get(name, star) for name in ALL}
    if best is not None and not (best == b"identity" and not weights.keys() & {b"identity", b"*"}):
        assert told[best] == max(told.values()) > 0
    else:
        assert max(told.values()) == 0


# As a client meets them


@pytest.fixture
def coded(tree: Path) -> Path:
    """a.txt in all codings, each with content of its own, as old as the file itself."""
    for suffix in SUFFIXES.values():
        write_as_old(tree / f"public/a.txt{suffix.decode()}", b"coded" + suffix)
    return tree / "public"


def write_as_old(path: Path, content: bytes, younger_s: float = 0) -> None:
    """Write a file as old as a.txt beside it."""
    path.write_bytes(content)
    modified = (path.parent / "a.txt").stat().st_mtime_ns + int(younger_s * 10**9)
    os.utime(path, ns=(modified, modified))


@pytest.mark.parametrize(("accepts", "coding"), [("br", "br"), ("zstd", "zstd"), ("gzip", "gzip"), ("*", "br")])
def test_coded_file(get: Get, coded: Path, accepts: str, coding: str) -> None:
    answer = get("/static/a.txt", f"Accept-Encoding: {accepts}")
    assert (answer.status, answer.body) == (200, b"coded" + SUFFIXES[coding.encode()])
    assert answer.fields["content-encoding"] == coding
    assert answer.fields["content-type"] == "text/plain; charset=utf-8"
    assert int(answer.fields["content-length"]) == len(answer.body)
    told = get("/static/a.txt", f"Accept-Encoding: {accepts}", method="HEAD")
    assert (told.fields, told.body) == (answer.fields, b"")


def test_file_itself(get: Get, coded: Path) -> None:
    answer = get("/static/a.txt")
    assert (answer.body, "content-encoding" in answer.fields) == (b"a text", False)


def test_every_representation_says_that_there_are_others(get: Get, coded: Path) -> None:
    for accepts in ("br", "zstd", "gzip", "identity", "deflate", "*;q=0"):
        assert get("/static/a.txt", f"Accept-Encoding: {accepts}").fields["vary"] == "accept-encoding"
    assert "vary" not in get("/static/index.html", "Accept-Encoding: gzip").fields


def test_every_representation_has_a_tag_of_its_own(get: Get, coded: Path) -> None:
    codings = ("br", "zstd", "gzip", "identity")
    tags = {coding: get("/static/a.txt", f"Accept-Encoding: {coding}").fields["etag"] for coding in codings}
    assert len(set(tags.values())) == len(codings)
    for coding, tag in tags.items():
        for accepts in codings:
            answer = get("/static/a.txt", f"Accept-Encoding: {accepts}", f"If-None-Match: {tag}")
            assert answer.status == (304 if accepts == coding else 200)
            assert answer.fields["vary"] == "accept-encoding"


def test_nothing_acceptable(get: Get, coded: Path) -> None:
    assert get("/static/a.txt", "Accept-Encoding: identity;q=0, deflate").status == 406
    assert get("/static/index.html", "Accept-Encoding: *;q=0").status == 406


def test_older_than_the_file(get: Get, coded: Path) -> None:
    """It was made of an older state of the file. Vary stays, because a newer one may be there later."""
    for suffix in SUFFIXES.values():
        write_as_old(coded / f"a.txt{suffix.decode()}", b"old", younger_s=-0.001)
    answer = get("/static/a.txt", "Accept-Encoding: br, zstd, gzip")
    assert (answer.body, answer.fields["vary"]) == (b"a text", "accept-encoding")
    write_as_old(coded / "a.txt.gz", b"new", younger_s=0.001)
    assert get("/static/a.txt", "Accept-Encoding: br, zstd, gzip").body == b"new"


def test_index(get: Get, tree: Path) -> None:
    write_as_old(tree / "public/index.html.br", b"coded")
    answer = get("/static/", "Accept-Encoding: br")
    assert (answer.body, answer.fields["content-type"]) == (b"coded", "text/html; charset=utf-8")


def test_coded_alone(get: Get, coded: Path) -> None:
    """Under its own name it is an ordinary file; without the original it is not sent for it."""
    answer = get("/static/a.txt.gz", "Accept-Encoding: gzip")
    assert (answer.fields["content-type"], "content-encoding" in answer.fields) == ("application/gzip", False)
    (coded / "a.txt").unlink()
    assert get("/static/a.txt", "Accept-Encoding: gzip").status == 404


def test_what_is_no_coded_file(get: Get, tree: Path) -> None:
    """A directory, a link that leads out, and a FIFO, with the right names."""
    (tree / "public/a.txt.br").mkdir()
    (tree / "public/a.txt.zst").symlink_to(tree / "secret.txt")
    os.mkfifo(tree / "public/a.txt.gz")
    answer = get("/static/a.txt", "Accept-Encoding: br, zstd, gzip")
    assert (answer.body, "vary" in answer.fields) == (b"a text", False)


def test_large_coded_file(get: Get, tree: Path) -> None:
    content = b"c" * 100_000
    write_as_old(tree / "public/a.txt.gz", content)
    assert get("/static/a.txt", "Accept-Encoding: gzip").body == content
