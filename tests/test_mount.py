"""The spellings of `--static`, `--mount`, `--root-path` and `--static-cache-control`."""

import pytest

from septet.settings.mount import (
    ApplicationMount,
    Mount,
    check_cache_control,
    parse_application_mount,
    parse_mount,
    parse_root_path,
)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/=public", Mount("/", "public")),
        ("/static=public", Mount("/static/", "public")),
        ("/static/=public/", Mount("/static/", "public/")),
        ("/a/b=x=y", Mount("/a/b/", "x=y")),
        ("/static files=D", Mount("/static files/", "D")),
        ("/static%20files=D%20", Mount("/static files/", "D%20")),
        ("/bü=D", Mount("/bü/", "D")),
        ("/b%C3%BC=D", Mount("/bü/", "D")),
        ("/100%=D", Mount("/100%/", "D")),
    ],
)
def test_spelling_means_mount(text: str, mount: Mount) -> None:
    assert parse_mount(text) == mount


@pytest.mark.parametrize(
    "text", ["", "public", "static=public", "/static", "/static=", "=public", "/a=b\0c", "/a%00=b"]
)
def test_other_spelling_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be ROUTE=DIR"):
        parse_mount(text)


@pytest.mark.parametrize(
    "text",
    ["no-cache", "max-age=60", "public, max-age=31536000, immutable", "public,max-age=60", 'private="set-cookie, x"',
     'x="a \\" b"'],
)  # fmt: skip
def test_cache_directives(text: str) -> None:
    check_cache_control(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "max-age=", "max-age = 60", ",", "public,", "public max-age=60", "a\r\nb: c", "no-cache\n", 'x="', "é",
     'x="a"b', 'x="a\\"', "=60"],
)  # fmt: skip
def test_what_is_no_cache_directive_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be cache directives such as "):
        check_cache_control(text)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/api=shop.api:app", ApplicationMount("/api", "shop.api:app", "auto", False)),
        ("/a%20b/=a:b.c", ApplicationMount("/a b", "a:b.c", "auto", False)),
        ("/a=asgi:a:make()", ApplicationMount("/a", "a:make", "asgi", True)),
        ("/a=wsgi:b", ApplicationMount("/a", "wsgi:b", "auto", False)),
        ("/a/b=wsgi:wsgi:wsgi", ApplicationMount("/a/b", "wsgi:wsgi", "wsgi", False)),
    ],
)
def test_spelling_means_application(text: str, mount: ApplicationMount) -> None:
    assert parse_application_mount(text) == mount


@pytest.mark.parametrize(
    "text",
    ["", "a:b", "/a", "/a=", "/a=a", "a=a:b", "/=a:b", "//=a:b", "/a=a:b(1)", "/a=rsgi:a:b", "/a%00=a:b", "/a=a: b"],
)
def test_other_spelling_of_an_application_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must (be|have)"):
        parse_application_mount(text)


@pytest.mark.parametrize(("text", "path"), [("/a", "/a"), ("/a%20b", "/a b"), ("/a/b", "/a/b"), ("/ü", "/ü")])
def test_root_path(text: str, path: str) -> None:
    assert parse_root_path(text) == path


@pytest.mark.parametrize("text", ["", "/", "a", "/a/", "//a", "/a?b", "/a#b", "/a%00", "https://a/b", "/a%2F"])
def test_other_root_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a path"):
        parse_root_path(text)
